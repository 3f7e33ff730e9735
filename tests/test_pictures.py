"""Tests of common/data/pictures.py: fingerprints, unreadable pictures, and runs on pictures."""

import re
from unittest.mock import Mock

import common.compare.__main__ as compare
from common.data import images, pictures
from common.load import load_run
from common.plotting import show_latent_space
from common.program.errors import UserError

import numpy as np
import pytest
from PIL import Image
from small_pictures import BLUE, check_error, load, numbered, paint, save
from support import SCRIPTS, call, edit_json, snapshot


def test_fingerprints_differ_if_and_only_if_the_images_differ(tmp_path):
    save(tmp_path, numbered(7))
    first = load(tmp_path)
    assert load(tmp_path).fingerprint == first.fingerprint
    assert load(tmp_path, image_size="24x24").fingerprint != first.fingerprint
    save(tmp_path, "3.png", paint((91, 90, 90)))
    assert load(tmp_path).fingerprint != first.fingerprint


@pytest.mark.parametrize("length", [0, 200, None])
def test_a_picture_that_cannot_be_read_is_named(length, tmp_path, monkeypatch):
    save(tmp_path, numbered(7, "jpg"))
    save(tmp_path, "bad.jpg", paint(size=(100, 90)))
    if length is None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)  # it has more than twice as many
    (tmp_path / "bad.jpg").write_bytes((tmp_path / "bad.jpg").read_bytes()[:length])
    check_error(tmp_path, tmp_path / "bad.jpg", "1 picture ", "--skip-unreadable")


def spoil(folder):
    """Write 30 pictures to each of three classes, and make 13 unreadable. Return these files."""
    for number, name in enumerate(("a", "b", "c")):
        for i in range(1, 31):
            tone = 80 * number + i
            save(folder / name, f"{i}.png", paint((tone, tone, tone), (8, 8)))
    headers = [folder / "a" / f"{i}.png" for i in (1, 2, 30)]
    pixels = [folder / "b" / f"{i}.png" for i in range(10, 20)]
    for file in headers:
        file.write_text("<html>")
    for file in pixels:
        file.write_bytes(file.read_bytes()[:-30])
    return headers + pixels


def test_unreadable_pictures_are_reported_together(tmp_path):
    bad = spoil(tmp_path)
    with pytest.raises(UserError) as error:
        load(tmp_path)
    first, *lines, more, advice = str(error.value).splitlines()
    assert "13 pictures" in first
    assert [line.split(": ")[0] for line in lines] == [str(file) for file in bad[:10]]
    assert "3" in more
    assert "--skip-unreadable" in advice


def test_unreadable_pictures_can_be_skipped(tmp_path, monkeypatch):
    """Compare with a folder that never had them. Every 7th readable picture is held out."""
    monkeypatch.setattr(pictures, "BATCH", 4)
    bad = spoil(tmp_path / "all")
    spoil(tmp_path / "some")
    for file in bad:
        (tmp_path / "some" / file.relative_to(tmp_path / "all")).unlink()
    data, expected = load(tmp_path / "all", skip_unreadable=True), load(tmp_path / "some")
    assert data.fingerprint == expected.fingerprint
    assert (data.unreadable, expected.unreadable) == (13, 0)
    assert (len(data.train_images), len(data.test_images)) == (66, 11)
    assert any("13" in note for note in data.notes)
    assert load(tmp_path / "some", skip_unreadable=True).notes == expected.notes


def test_classes_and_sets_without_readable_pictures(tmp_path):
    spoil(tmp_path)
    for file in (tmp_path / "b").iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    data = load(tmp_path, skip_unreadable=True)
    assert data.class_names == ("a", "c")
    assert np.bincount([*data.train_labels, *data.test_labels]).tolist() == [27, 30]
    for file in (tmp_path / "c").iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    data = load(tmp_path, skip_unreadable=True)
    assert (data.class_names, data.train_labels) == ((), None)
    (tmp_path / "a").rename(tmp_path / "train")
    (tmp_path / "b").rename(tmp_path / "test")
    with pytest.raises(UserError, match="33 pictures"):  # c is not used
        load(tmp_path, skip_unreadable=True)


def test_pictures_that_do_not_fit_in_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "free_memory", lambda: 50)
    save(tmp_path, "x.png")
    check_error(tmp_path, "memory", "--image-size")


@pytest.mark.slow
def test_a_run_without_unreadable_pictures_is_loaded_again(tmp_path, capsys, short_epochs):
    spoil(tmp_path / "faces")
    flags = ("--images", tmp_path / "faces", "--batch-size", 30, "--output-dir", tmp_path / "out")
    assert call("mmd", *flags, "--epochs", 1) == 2
    error = capsys.readouterr().err
    assert "13 pictures" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
    assert call("mmd", *flags, "--epochs", 1, "--skip-unreadable") == 0
    assert re.search("^Data: .*13", capsys.readouterr().out, re.M)
    run = load_run(tmp_path / "out" / "faces" / "mmd")
    assert run.settings["unreadable_pictures"] == 13
    assert run.settings["flags"]["skip_unreadable"] is True
    assert run.data().unreadable == 13
    assert call(compare.main, run.folder.parent, "--iw-samples", 2) == 0
    assert "| coverage " in capsys.readouterr().out
    for file in (tmp_path / "faces" / "b").iterdir():  # Without them, the images are the same
        if load_or_none(file) is None:
            file.unlink()
    for i in (1, 2, 30):
        (tmp_path / "faces" / "a" / f"{i}.png").unlink()
    assert call("mmd", *flags, "--epochs", 2) == 0

    def make_old(settings):  # as runs were before the flag
        del settings["unreadable_pictures"], settings["flags"]["skip_unreadable"]

    edit_json(run.folder / "settings.json", make_old)
    assert load_run(run.folder).data().unreadable == 0


def load_or_none(file):
    """Return the pixels of a picture, or None if it cannot be decoded."""
    try:
        with Image.open(file) as image:
            return np.asarray(image)
    except OSError:
        return None


@pytest.mark.slow
def test_a_run_on_pictures_from_training_to_comparison(tmp_path, capsys, short_epochs, monkeypatch):
    photos, rng = tmp_path / "my photos, größer", np.random.default_rng(0)
    for i in range(70):
        image = paint(tuple(map(int, rng.integers(0, 256, 3))), (40 + i, 40))
        save(photos, f"{i:02}.{'jpg' if i % 2 else 'png'}", image)
    (photos / "notes.txt").write_text("no picture")
    out, name = tmp_path / "out", "my_photos_größer"
    flags = ("--images", photos, "--image-size", 8, "--batch-size", 30, "--output-dir", out)
    for model in SCRIPTS:
        assert call(model, *flags, "--epochs", 1) == 0
    output, errors = capsys.readouterr()
    assert not errors
    assert len(re.findall("^Data: ", output, re.M)) == 2 * 3  # size, skipped files, split
    assert "MMD-VAE on my photos, größer" in output
    run = load_run(out / name / "mmd")
    mean = run.encode(run.data().test_images)
    assert run.decode(mean).shape == (10, 8, 8, 3)
    assert not show_latent_space(mean, None, (), "").axes[0].legend_
    assert len(list(run.folder.glob("*.png"))) == 8

    assert call(compare.main, out / name, "--iw-samples", 2) == 0
    table = capsys.readouterr().out
    assert "| coverage " in table
    assert not re.search(r"^\| (15|silhouette|Fréchet|classes|sure)", table, re.M)

    with monkeypatch.context() as patch:
        patch.setattr("mmd_cvae.train_step", Mock(side_effect=OSError(5, "Oh", "there")))
        assert call("mmd", *flags, "--epochs", 2) == 2
    error = capsys.readouterr().err
    assert "epoch 1 of 2" in error
    assert "--dataset" not in error  # the command to resume must not add it to --images

    assert call("mmd", *flags, "--epochs", 2) == 0
    assert not capsys.readouterr().err
    before = snapshot(out)
    picture, fingerprint = Image.open(photos / "20.png").copy(), run.data().fingerprint
    save(photos, "20.png", paint(BLUE))
    assert call("mmd", *flags, "--epochs", 3) == 2
    assert "changed" in capsys.readouterr().err
    with pytest.raises(UserError, match="changed"):
        run.data()
    assert snapshot(out) == before
    save(photos, "20.png", picture)
    photos.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="--data-dir"):
        run.data()
    assert run.data(tmp_path / "moved").fingerprint == fingerprint


def test_too_few_pictures_are_refused_before_anything_is_written(tmp_path, capsys):
    save(tmp_path / "few", numbered(27), paint(size=(8, 8)))
    words = ("--images", tmp_path / "few", "--output-dir", tmp_path / "out", "--batch-size")
    assert call("mmd", *words, 20) == 2
    assert "3" in capsys.readouterr().err  # images for testing
    save(tmp_path / "few", "27.png", paint(size=(8, 8)))
    assert call("mmd", *words, 25) == 2
    assert "--batch-size 25" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
