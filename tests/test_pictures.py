"""Tests of common/data/pictures.py and images.py: folders of pictures, and their sizes."""

import re
import unicodedata
from unittest.mock import Mock

import common.compare.__main__ as compare
from common.data import images, pictures
from common.data.images import choose_size, fit, read_split
from common.data.sources import load_dataset, path_name
from common.load import load_run
from common.plotting import show_latent_space
from common.program.errors import UserError
from common.program.flags import image_size

import numpy as np
import pytest
from PIL import Image
from support import SCRIPTS, call, snapshot

RED, GREEN, BLUE = (220, 20, 30), (10, 200, 40), (20, 40, 210)


def paint(color=RED, size=(30, 20), mode="RGB"):
    """Return a picture (width, height) of one colour with a white upper left quarter."""
    image = Image.new("RGB", size, color)
    image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 2))
    return image.quantize(8) if mode == "P" else image.convert(mode)


def save(folder, names, image=None, **kwargs):
    """Save a picture under one name, or under several."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [names] if isinstance(names, str) else names:
        (image or paint()).save(folder / name, **kwargs)


def numbered(n, suffix="png"):
    return [f"{i}.{suffix}" for i in range(n)]


def load(folder, **kwargs):
    return load_dataset(None, images=str(folder), **kwargs)


def all_images(data):
    return np.concatenate([data.train_images.numpy(), data.test_images])


def check_error(folder, *words):
    """Check that loading a folder raises a UserError with these words, and changes nothing."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError) as error:
        load(folder)
    assert all(str(word) in str(error.value) for word in words), error.value
    assert len(str(error.value).splitlines()) <= 2
    assert sorted(folder.rglob("*")) == before


TRANSPARENT = paint(size=(28, 28)).convert("RGBA")
TRANSPARENT.putalpha(Image.new("L", (28, 28), 0))
SIXTEEN_BITS = Image.fromarray(np.full((28, 28), 128 * 257, np.uint16))
KINDS = {  # file name: the picture, and the colour of the centre of its lower half
    "a.jpg": (paint(RED, (28, 28)), RED),
    "b.png": (paint(GREEN, (28, 28)), GREEN),
    "c.bmp": (paint(BLUE, (28, 28)), BLUE),
    "d.gif": (paint(RED, (28, 28), "P"), RED),
    "e.webp": (paint(BLUE, (28, 28)), BLUE),
    "f.jpeg": (paint(GREEN, (28, 28), "CMYK"), GREEN),
    "g.png": (TRANSPARENT, (255, 255, 255)),
    "h.png": (SIXTEEN_BITS, (128, 128, 128)),
    "i.png": (paint((255, 255, 255), (28, 28), "1"), (255, 255, 255)),
    "j.png": (paint((90, 90, 90), (28, 28), "LA"), (90, 90, 90)),
    "k.PNG": (paint(BLUE, (28, 28), "P"), BLUE),
    "l": (paint(RED, (28, 28)), RED),
    "m.png": (paint((90, 90, 90), (28, 28), "L"), (90, 90, 90)),
    "n.png": (paint(RED, (28, 28)), RED),
}


def test_pictures_of_every_kind_are_read_in_the_order_of_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "BATCH", 3)
    for name, (image, _) in KINDS.items():
        save(tmp_path, name, image, format="PNG" if name == "l" else None)
    data = load(tmp_path)
    assert (data.image_shape, data.class_names, data.train_labels) == ((28, 28, 3), (), None)
    assert data.title == tmp_path.name
    colors = np.array([color for _, color in KINDS.values()])
    held_out = np.arange(len(KINDS)) % 7 == 6
    assert np.abs(data.train_images.numpy()[:, 21, 14] - colors[~held_out]).max() < 45
    assert np.abs(data.test_images[:, 21, 14] - colors[held_out]).max() < 45
    assert len(data.notes) == 1  # about the split


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "16"])
def test_images_are_grey_if_all_pictures_are_grey(mode, tmp_path):
    image = SIXTEEN_BITS if mode == "16" else paint((80, 80, 80), (28, 28), mode)
    save(tmp_path, numbered(8), image)
    data = load(tmp_path)
    assert data.image_shape == (28, 28, 1)
    assert {"1": 255, "16": 128}.get(mode, 80) in data.train_images.numpy()[:, 21, 14, 0]
    save(tmp_path, "9.png", paint(GREEN, (28, 28)))
    with_color = all_images(load(tmp_path))
    assert with_color.shape == (9, 28, 28, 3)
    np.testing.assert_array_equal(with_color[:7, ..., 0], all_images(data)[:7, ..., 0])


def test_pictures_are_turned_by_exif_and_gifs_give_their_first_frame(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be displayed a quarter turn to the right
    save(tmp_path, numbered(7, "jpg"), paint(size=(40, 24)), exif=exif)
    data = load(tmp_path)
    assert data.image_shape == (40, 24, 3)
    image = data.train_images.numpy()[0]
    assert image[5, 18].min() > 240 > image[5, 5].min()  # the white quarter
    frames = [paint(c, (40, 24), "P") for c in (GREEN, RED)]
    save(tmp_path / "gif", numbered(7, "gif"), frames[0], save_all=True, append_images=frames[1:])
    assert load(tmp_path / "gif").train_images.numpy()[0, 20, 30].argmax() == 1


def test_classes_are_the_sub_folders_with_pictures(tmp_path):
    for name in ("-b %", "c.d"):
        save(tmp_path / name, numbered(7))
    for form, names in (("NFC", numbered(4)), ("NFD", ["4.png", "5.png", "6.png"])):
        save(tmp_path / unicodedata.normalize(form, "Äpfel"), names)  # one class
    save(tmp_path / "c.d" / "deeper", "x.png")
    save(tmp_path, "loose.png")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    save(tmp_path / ".hidden", "x.png")
    (tmp_path / "c.d" / "link.png").symlink_to("nowhere")
    data = load(tmp_path)
    assert data.class_names == ("-b %", "c.d", "Äpfel")
    assert np.bincount(data.train_labels).tolist() == [6, 6, 6]
    assert np.bincount(data.test_labels).tolist() == [1, 1, 1]
    assert "4" in data.notes[1]  # files skipped: one deeper, a loose one, the text and the link


def test_folders_train_and_test_are_the_split(tmp_path):
    for part, color, n in (("train", RED, 5), ("test", GREEN, 3)):
        for name in ("a", "b"):
            save(tmp_path / part / name, numbered(n), paint(color, (28, 28)))
    data = load(tmp_path)
    assert (data.class_names, data.notes) == (("a", "b"), ())
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5
    assert data.test_labels.tolist() == [0] * 3 + [1] * 3
    assert data.test_images[0, 21, 14].argmax() == 1
    save(tmp_path, "loose.png")
    save(tmp_path / "val" / "a", "0.png")
    assert "2" in load(tmp_path).notes[0]  # files skipped
    (tmp_path / "test" / "a").rename(tmp_path / "test" / "A")
    check_error(tmp_path, "'A' and 'a'", "Rename")
    for file in (tmp_path / "test").rglob("*.png"):
        file.rename(tmp_path / "test" / f"{file.parent.name}{file.name}")
    check_error(tmp_path, "train", "test", "classes")
    for file in (tmp_path / "test").glob("*.png"):
        file.unlink()
    check_error(tmp_path, tmp_path / "test", "no pictures")


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
    check_error(tmp_path, tmp_path / "bad.jpg")


def test_unusable_folders_are_refused_with_a_reason(tmp_path, monkeypatch):
    check_error(tmp_path, tmp_path, "no pictures")
    check_error(tmp_path / "nowhere", tmp_path / "nowhere", "--images")
    (tmp_path / "notes.txt").write_text("x")
    check_error(tmp_path, "no pictures")
    save(tmp_path / "deep" / "a" / "b", "x.png")
    save(tmp_path / "deep" / "a" / "c", "x.png")
    check_error(tmp_path / "deep", "deeper", "train and test")
    monkeypatch.setattr(images, "free_memory", lambda: 50)
    save(tmp_path / "more", "x.png")
    check_error(tmp_path / "more", "memory", "--image-size")


def test_names_are_safe_in_paths():
    names = {"Mein Obst": "Mein_Obst", "50 %": "50_", "-dash": "dash", "..": "images", "%": "_"}
    names |= {"a/b": "a_b", "äöü": "äöü", "x" * 300: "x" * 80, "ä" * 300: "ä" * 40}
    assert [*map(path_name, names)] == [*names.values()]


# Sizes ------------------------------------------------------------------------


def test_images_keep_their_size_or_get_the_nearest_valid_one():
    expected = {(28, 20): (28, 20), (30, 17): (32, 16), (5, 5): (8, 8), (2, 900): (8, 256)}
    for stored, size in (expected | {(600, 300): (256, 128)}).items():
        found, notes = choose_size({stored}, None)
        assert found == size
        assert bool(notes) == (stored != size)
        assert all(f"{size[0]} x {size[1]}" in note for note in notes)
    assert choose_size({(28, 28)}, "64x48")[0] == (64, 48)
    assert choose_size({(28, 28), (32, 32)}, "32x32")[0] == (32, 32)
    assert choose_size({(28, 28), (32, 32)}, None)[0] == (64, 64)


def test_the_flag_image_size_accepts_multiples_of_4():
    assert image_size("64") == image_size("64X64") == "64x64"
    assert image_size("8x256") == "8x256"
    for bad in ("", "x", "28x", "x28", "30", "4", "260", "64x64x3", "-8", "8.0", "²x8"):
        with pytest.raises(Exception, match="multiples of 4"):
            image_size(bad)


def test_images_are_scaled_without_aliasing_and_cropped_to_the_centre():
    stripes = np.zeros((400, 800), np.uint8)
    stripes[:, ::2] = 255  # too fine for the result, so they must become grey
    stripes[:, :200] = stripes[:, 600:] = 0  # cropped
    small = fit(Image.fromarray(stripes), (40, 40), 1)
    assert small.shape == (40, 40, 1)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 4
    wide = fit(paint(size=(300, 100)), (20, 60), 3)
    np.testing.assert_array_equal(wide[15, 30], RED)
    assert wide[4, 14].min() == 255


@pytest.mark.parametrize("size", [1, 3, 10, 50])
def test_a_stream_is_split_in_the_same_way_for_any_batch_size(size):
    x = np.random.default_rng(0).integers(0, 256, (50, 8, 12, 3), np.uint8)
    batches = [(x[i : i + size], np.arange(50)[i : i + size]) for i in range(0, 50, size)]
    whole = read_split(batches, 50, (8, 12, 3))
    train, test = read_split(batches, 50, (8, 12, 3), hold_out=True)
    every = np.arange(50)
    expected = [every > -1, every % 7 < 6, every % 7 == 6]
    for part, chosen in zip([*whole, train, test], expected, strict=True):
        np.testing.assert_array_equal(part[0], x[chosen])
        np.testing.assert_array_equal(part[1], every[chosen])
    for n in (49, 51):
        with pytest.raises((IndexError, ValueError)):
            read_split(batches, n, (8, 12, 3))


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
