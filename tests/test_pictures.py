"""common/data/pictures.py and images.py: folders of pictures, sizes, what is refused."""

import os
import re
import unicodedata

import common.compare.__main__ as compare
from common.data import images, pictures
from common.data.images import choose_size, fit, read_split
from common.data.sources import load_dataset, path_name
from common.load import load_run
from common.plotting import show_latent_space
from common.program.errors import UserError
from common.program.flags import image_size
from common.trained import Trained

import numpy as np
import pytest
from PIL import Image
from support import SCRIPTS, call, snapshot

RED, GREEN, BLUE = (220, 20, 30), (10, 200, 40), (20, 40, 210)


def paint(color=RED, size=(30, 20), mode="RGB"):
    """A picture (width, height): a colour, with a white upper left quarter."""
    image = Image.new("RGB", size, color)
    image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 2))
    return image.quantize(8) if mode == "P" else image.convert(mode)


def save(folder, name, image=None, **how):
    folder.mkdir(parents=True, exist_ok=True)
    (image or paint()).save(folder / name, **how)


def load(folder, **kwargs):
    return load_dataset(None, images=str(folder), **kwargs)


def all_images(data):
    return np.concatenate([data.train_images.numpy(), data.test_images])


def check_error(folder, *words, **kwargs):
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError) as error:
        load(folder, **kwargs)
    for word in words:
        assert str(word) in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
    assert sorted(folder.rglob("*")) == before


def alpha():
    image = paint(size=(28, 28)).convert("RGBA")
    image.putalpha(Image.new("L", (28, 28), 0))  # all of it shows what is behind
    return image


SIXTEEN = Image.fromarray(np.full((28, 28), 128 * 257, np.uint16))
KINDS = {  # file name: the picture, what it is in the middle of the lower half
    "a.jpg": (paint(RED, (28, 28)), RED),
    "b.png": (paint(GREEN, (28, 28)), GREEN),
    "c.bmp": (paint(BLUE, (28, 28)), BLUE),
    "d.gif": (paint(RED, (28, 28), "P"), RED),
    "e.webp": (paint(BLUE, (28, 28)), BLUE),
    "f.jpeg": (paint(GREEN, (28, 28), "CMYK"), GREEN),
    "g.png": (alpha(), (255, 255, 255)),
    "h.png": (SIXTEEN, (128, 128, 128)),
    "i.png": (paint((90, 90, 90), (28, 28), "1"), None),
    "j.png": (paint((90, 90, 90), (28, 28), "LA"), (90, 90, 90)),
    "k.PNG": (paint(BLUE, (28, 28), "P"), BLUE),
    "l": (paint(RED, (28, 28)), RED),
    "m.png": (paint((90, 90, 90), (28, 28), "L"), (90, 90, 90)),
    "n.png": (paint(RED, (28, 28)), RED),
}


def test_every_kind_of_picture(tmp_path):
    for name, (image, _) in KINDS.items():
        save(tmp_path, name, image, format="PNG" if name == "l" else None)
    data = load(tmp_path)
    assert (data.image_shape, data.class_names, data.train_labels) == ((28, 28, 3), (), None)
    assert (len(data.train_images), len(data.test_images)) == (12, 2)
    held_out = [*KINDS][6::7]
    kept = [name for name in KINDS if name not in held_out]
    found = dict(zip(kept, data.train_images.numpy(), strict=True))
    found |= dict(zip(held_out, data.test_images, strict=True))
    for name, (_, color) in KINDS.items():
        if color:
            assert np.abs(found[name][21, 14].astype(int) - color).max() < 45, name
    assert data.notes == ("every 7th picture is held out for testing",)
    assert data.title == tmp_path.name


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "16"])
def test_grey_where_all_are_grey(mode, tmp_path):
    for i in range(8):
        save(tmp_path, f"{i}.png", SIXTEEN if mode == "16" else paint((80,) * 3, (28, 28), mode))
    data = load(tmp_path)
    assert data.image_shape == (28, 28, 1)
    assert {"1": 255, "16": 128}.get(mode, 80) in data.train_images.numpy()[:, 21, 14, 0]
    save(tmp_path, "9.png", paint(GREEN, (28, 28)))
    with_color = all_images(load(tmp_path))
    assert with_color.shape == (9, 28, 28, 3)
    np.testing.assert_array_equal(with_color[:7, ..., 0], all_images(data)[:7, ..., 0])


def test_orientation_transparency_and_first_frames(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    for i in range(7):
        save(tmp_path, f"{i}.jpg", paint(size=(40, 24)), exif=exif)
    data = load(tmp_path)
    assert data.image_shape == (40, 24, 3)
    image = data.train_images.numpy()[0]
    assert image[5, 18].min() > 240 > image[5, 5].min()  # what was left on top is now right on top
    frames = [paint(c, (40, 24), "P") for c in (GREEN, RED)]
    for i in range(7):
        save(tmp_path / "gif", f"{i}.gif", frames[0], save_all=True, append_images=frames[1:])
    assert load(tmp_path / "gif").train_images.numpy()[0, 20, 30].argmax() == 1


def test_classes_are_sub_folders_one_level(tmp_path):
    for name in ("Äpfel", "-b %", "c.d"):
        for i in range(7):
            save(tmp_path / name, f"{i}.png")
    save(tmp_path / "c.d" / "deeper", "x.png")
    save(tmp_path, "loose.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    save(tmp_path / ".hidden", "x.png")
    os.mkfifo(tmp_path / "c.d" / "pipe.png")
    data = load(tmp_path)
    assert data.class_names == ("-b %", "c.d", "Äpfel")
    assert np.bincount(data.train_labels).tolist() == [6, 6, 6]
    assert np.bincount(data.test_labels).tolist() == [1, 1, 1]
    assert data.notes[1].endswith("in no class or set: 4 files")  # deeper, loose, notes, the pipe


def test_train_and_test_are_the_split_where_both_are_there(tmp_path):
    for part, color, n in (("train", RED, 5), ("test", GREEN, 3)):
        for name in ("a", "b"):
            for i in range(n):
                save(tmp_path / part / name, f"{i}.png", paint(color, (28, 28)))
    data = load(tmp_path)
    assert (data.class_names, data.notes) == (("a", "b"), ())
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5
    assert data.test_labels.tolist() == [0] * 3 + [1] * 3
    assert data.test_images[0, 21, 14].argmax() == 1
    for file in (tmp_path / "test").rglob("*.png"):
        file.rename(tmp_path / "test" / f"{file.parent.name}{file.name}")
    check_error(tmp_path, "one has classes, and the other none")
    for file in (tmp_path / "test").glob("*.png"):
        file.unlink()
    check_error(tmp_path, tmp_path / "test", "no pictures")


def test_what_is_beside_train_and_test_is_counted_and_their_classes_are_the_same(tmp_path):
    for part in ("train", "test", "val"):
        save(tmp_path / part / "cat", "0.png")
    save(tmp_path, "loose.png")
    (note,) = load(tmp_path).notes[1:]
    assert note == "passed over, as no pictures, or in no class or set: 2 files"
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "Cat")
    check_error(tmp_path, "two classes", "'Cat' and 'cat'")


def test_the_same_folder_gives_the_same_images_and_another_another_fingerprint(tmp_path):
    for i in range(7):
        save(tmp_path, f"{i}.png", paint((i * 30, 90, 90)))
    first = load(tmp_path)
    assert load(tmp_path).fingerprint == first.fingerprint
    assert load(tmp_path, image_size="24x24").fingerprint != first.fingerprint
    save(tmp_path, "3.png", paint((91, 90, 90)))
    assert load(tmp_path).fingerprint != first.fingerprint


def damaged(folder):
    (folder / "bad.jpg").write_bytes((folder / "0.jpg").read_bytes()[:200])


def empty(folder):
    (folder / "bad.gif").write_bytes(b"")


def bomb(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)  # Pillow allows twice as many
    save(folder, "bad.png", paint(size=(100, 90)))


@pytest.mark.parametrize("spoil", [damaged, empty, bomb])
def test_a_picture_that_cannot_be_read_is_named(spoil, tmp_path, monkeypatch):
    for i in range(7):
        save(tmp_path, f"{i}.jpg")
    spoil(tmp_path, monkeypatch) if spoil is bomb else spoil(tmp_path)
    check_error(tmp_path, "bad.", "cannot be read", *["bomb"] * (spoil is bomb))


def test_folders_that_will_not_do(tmp_path, monkeypatch):
    check_error(tmp_path, "no pictures")
    check_error(tmp_path / "nowhere", "no folder", "--images")
    (tmp_path / "notes.txt").write_text("x")
    check_error(tmp_path, "no pictures, but 1 file of another kind")
    for i, form in enumerate(("NFC", "NFD")):
        save(tmp_path / unicodedata.normalize(form, "Äpfel"), f"{i}.png")
    check_error(tmp_path, "one name", "Äpfel")
    save(tmp_path / "a" / "b", "x.png")
    (tmp_path / "Äpfel").rename(tmp_path / "a" / "c")
    for entry in tmp_path.iterdir():
        if entry.name not in ("a", "notes.txt"):
            entry.rename(tmp_path / "a" / "d")
    check_error(tmp_path, "3 files a level deeper", "train and test")
    monkeypatch.setattr(images.psutil, "virtual_memory", lambda: type("", (), {"available": 50}))
    save(tmp_path / "more", "x.png")
    check_error(tmp_path / "more", "memory", "--image-size")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Mein Obst", "Mein_Obst"), ("50 %", "50_"), ("-dash", "dash"), ("..", "images"),
        ("äöü", "äöü"), ("a/b", "a_b"), ("x" * 300, "x" * 80), ("ä" * 300, "ä" * 40),
        ("emnist/letters", "emnist_letters"), ("%", "_"),
    ],
)  # fmt: skip
def test_names_are_safe_in_paths(name, safe):
    assert path_name(name) == safe


# Sizes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "asked", "size"),
    [
        ({(28, 28)}, None, (28, 28)), ({(28, 20)}, None, (28, 20)), ({(30, 17)}, None, (32, 16)),
        ({(5, 5)}, None, (8, 8)), ({(600, 300)}, None, (256, 128)), ({(2, 900)}, None, (8, 256)),
        ({(28, 28), (32, 32)}, None, (64, 64)), ({(28, 28)}, "64x48", (64, 48)),
        ({(28, 28), (32, 32)}, "32x32", (32, 32)),
    ],
)  # fmt: skip
def test_the_size_is_their_own_or_the_nearest_that_will_do(sizes, asked, size):
    found, note = choose_size(sizes, asked)
    assert found == size
    assert (note is None) == (sizes == {size})
    assert note is None or f"{size[0]} x {size[1]}" in note


def test_image_size_on_the_command_line():
    assert image_size("64") == image_size("64X64") == "64x64"
    assert image_size("8x256") == "8x256"
    for bad in ("", "x", "30", "4", "260", "64x64x3", "-8", "8.0", "²x8"):
        with pytest.raises(Exception, match="multiples of 4"):
            image_size(bad)


def test_scaling_keeps_proportions_cuts_the_middle_and_does_not_alias():
    stripes = np.zeros((400, 800), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: grey, not stripes or plain
    stripes[:, :200] = stripes[:, 600:] = 0  # what is cut off
    small = fit(Image.fromarray(stripes), (40, 40), 1)[..., 0]
    assert small.shape == (40, 40)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 4
    wide = fit(paint(size=(300, 100)), (20, 60), 3)
    np.testing.assert_array_equal(wide[15, 30], RED)
    assert wide[4, 14].min() == 255


@pytest.mark.parametrize("a_time", [1, 3, 10, 50])
def test_a_stream_is_split_by_every_seventh_wherever_it_is_cut(a_time):
    x = np.random.default_rng(0).integers(0, 256, (50, 8, 12, 3), np.uint8)

    def batches():
        for i in range(0, 50, a_time):
            yield x[i : i + a_time], np.arange(50)[i : i + a_time]

    (train, labels), (test, others) = read_split(batches(), 50, (8, 12, 3), hold_out=True)
    held_out = np.arange(50) % 7 == 6
    np.testing.assert_array_equal(train, x[~held_out])
    np.testing.assert_array_equal(test, x[held_out])
    np.testing.assert_array_equal(labels, np.flatnonzero(~held_out))
    np.testing.assert_array_equal(others, np.flatnonzero(held_out))
    ((whole, _),) = read_split(batches(), 50, (8, 12, 3))
    np.testing.assert_array_equal(whole, x)


def test_pictures_are_read_some_at_a_time_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "A_TIME", 3)
    for i in range(20):
        save(tmp_path, f"{i:02}.png", Image.new("L", (8, 8), i))
    data = load(tmp_path)
    assert data.train_images.numpy()[:, 0, 0, 0].tolist() == [i for i in range(20) if i % 7 != 6]
    assert data.test_images[:, 0, 0, 0].tolist() == [6, 13]


def test_pictures_that_were_moved_are_found_where_they_are_said_to_be(tmp_path):
    for i in range(28):
        save(tmp_path / "old", f"{i}.png")
    flags = {"images": str(tmp_path / "old"), "dataset": None, "data_dir": None}
    flags |= {"image_size": None, "dtype": "float32"}
    fingerprint = load(tmp_path / "old").fingerprint
    about = {"name": "old", "title": "old", "fingerprint": fingerprint}
    run = Trained(tmp_path / "mmd", {"model": "mmd", "flags": flags, "dataset": about})
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(UserError, match=r"(?s)no longer in .*--data-dir"):
        run.data()
    assert run.data(tmp_path / "new").fingerprint == fingerprint


# A run on them ----------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """A folder of 70 small pictures in colour, some with a line through."""
    folder, rng = tmp_path / "my photos, größer", np.random.default_rng(0)
    for i in range(70):
        image = paint(tuple(map(int, rng.integers(0, 256, 3))), (40 + i, 40))
        save(folder, f"{i:02}.{'jpg' if i % 2 else 'png'}", image)
    (folder / "notes.txt").write_text("of a journey")
    return folder


@pytest.mark.slow
def test_a_run_a_comparison_and_a_folder_that_has_changed(
    photos, tmp_path, capsys, short_epochs, monkeypatch
):
    out, name = tmp_path / "out", "my_photos_größer"
    flags = ("--images", photos, "--image-size", 8, "--batch-size", 30, "--output-dir", out)
    for model in SCRIPTS:
        assert call(model, *flags, "--epochs", 1) == 0
    said, errors = capsys.readouterr()
    assert not errors
    for line in (
        "MMD-VAE on my photos, größer, CPU",
        "Data: images of several sizes are brought to 8 x 8, cut at the edges to keep proportions.",
        "Data: passed over, as no pictures, or in no class or set: 1 file.",
        "Data: every 7th picture is held out for testing.",
        "An epoch: 2 batches of 30, 1 pass over 60 images.",
    ):
        assert line in said
    run = load_run(out / name / "mmd")
    assert run.decode(run.encode(run.data().test_images)).shape == (10, 8, 8, 3)
    assert not show_latent_space(run.encode(run.data().test_images), None, (), "").axes[0].legend_
    assert len(list(run.folder.glob("*.png"))) == 8

    assert call(compare.main, out / name, "--iw-samples", 2) == 0
    table = capsys.readouterr().out
    assert "| coverage " in table
    assert not re.search(r"^\| (15|silhouette|Fréchet|classes|sure)", table, re.M)

    def fail(*_):
        raise OSError(5, "Oh", "there")

    with monkeypatch.context() as patch:  # what it says of how to go on names no data set beside
        patch.setattr("mmd_cvae.train_steps", fail)
        patch.setattr("common.run.again", lambda *more: " ".join(["the call again", *more]))
        assert call("mmd", *flags, "--epochs", 2) == 2
        told = "Stopped after epoch 1 of 2. To go on:\nthe call again\n"
        assert capsys.readouterr().err.endswith(told)

    assert call("mmd", *flags, "--epochs", 2) == 0
    assert not capsys.readouterr().err
    before = snapshot(out)
    save(photos, "20.png", paint(BLUE))
    assert call("mmd", *flags, "--epochs", 3) == 2
    error = capsys.readouterr().err
    assert "holds a run with other settings: its images have changed." in error
    assert len(error.splitlines()) == 2
    assert snapshot(out) == before
    with pytest.raises(UserError, match="have changed since"):
        run.data()
    (photos / "20.png").unlink()
    assert call("mmd", *flags, "--epochs", 3) == 2  # with one fewer it is another folder, too
    assert snapshot(out) == before

    few = tmp_path / "few"
    for i in range(27):
        save(few, f"{i}.png", paint(size=(8, 8)))
    words = ("--images", few, "--batch-size", 20, "--epochs", 1, "--output-dir")
    assert call("mmd", *words, tmp_path / "other") == 2
    assert "few has 3 images for testing" in capsys.readouterr().err
    assert call("mmd", "--images", tmp_path / "none", "--output-dir", tmp_path / "other") == 2
    assert call("mmd", *flags[:4], "--output-dir", tmp_path / "other") == 2
    assert "--batch-size 100 is more than the 60 training images" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
