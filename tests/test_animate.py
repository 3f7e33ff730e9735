"""common/animate.py: GIFs hold the PNGs in the order of epochs; mistakes are one line."""

import os
import shutil

from common import animate
from common.plotting import save_figure, show_grid
from common.run import FIGURES
from tests.conftest import call as run

import numpy as np
import pytest
from PIL import Image


def call(*argv):
    """Run the command in this process; return its exit status."""
    return run(animate.main, *argv)


def draw(path, epoch, size=(30, 20)):
    """A PNG with an alpha channel, like matplotlib's, and 200 greys, other ones each epoch."""
    greys = (np.arange(size[0] * size[1]) * (epoch + 1) % 200).astype("u1")
    image = Image.fromarray(greys.reshape(size[1], size[0])).convert("RGBA")
    image.save(path)


@pytest.fixture
def folder(tmp_path):
    """A folder with figures of epochs 0, 2 and 10 of a run, and what does not belong to it."""
    folder = tmp_path / "cvae"
    folder.mkdir()
    for kind in FIGURES:
        for epoch in (0, 2, 10):
            draw(folder / f"cvae_{kind}_epoch_{epoch}.png", epoch)
    draw(folder / "cvae_grid_epoch_2b.png", 5)
    draw(folder / ".cvae_grid_epoch_3.partial.png", 5)
    draw(folder / "mmd_grid_epoch_3.png", 5)
    return folder


def frames(gif):
    """The frames of a GIF as RGB arrays, and for how many milliseconds each is shown."""
    with Image.open(gif) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append((np.asarray(image.convert("RGB")), image.info["duration"]))
    return zip(*found, strict=True)


def test_gifs_hold_the_figures_in_the_order_of_epochs(folder, capsys):
    assert call(folder) == 0
    gifs = [folder / f"cvae_{kind}.gif" for kind in FIGURES]
    assert capsys.readouterr().out.splitlines() == [str(gif) for gif in gifs]
    assert sorted(folder.glob("*.gif")) == sorted(gifs)
    for kind, gif in zip(FIGURES, gifs, strict=True):
        shown, durations = frames(gif)
        assert len(shown) == 3
        for epoch, frame in zip((0, 2, 10), shown, strict=True):
            with Image.open(folder / f"cvae_{kind}_epoch_{epoch}.png") as image:
                np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))
        assert durations[0] == durations[1] < durations[2]
    assert not list(folder.glob("*.partial.gif"))


def test_a_real_figure_keeps_its_greys(tmp_path):
    folder = tmp_path / "mmd"
    folder.mkdir()
    for epoch in range(2):
        images = np.random.default_rng(epoch).uniform(size=(256, 28, 28, 1))
        figure = show_grid(lambda z, images=images: images, np.zeros((3, 2)), f"epoch {epoch}")
        save_figure(figure, folder / f"mmd_grid_epoch_{epoch}.png")
    assert call(folder) == 0
    shown, _ = frames(folder / "mmd_grid.gif")
    for epoch, frame in enumerate(shown):
        with Image.open(folder / f"mmd_grid_epoch_{epoch}.png") as image:
            np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("gone", ["*", "[02]"])
def test_a_kind_without_two_figures_is_left_out(gone, folder):
    for path in folder.glob(f"cvae_reconstructions_epoch_{gone}.png"):
        path.unlink()
    assert call(folder) == 0
    assert len(list(folder.glob("*.gif"))) == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


MISTAKES = {
    "there is no run": ("../elsewhere/cvae", lambda folder: None),
    "give OUTPUT_DIR/DATASET/cvae": ("..", lambda folder: None),
    "has no two figures of a kind": ("../mmd", lambda f: (f.parent / "mmd").mkdir()),
    "cvae_clothes_epoch_2.png is damaged": (".", lambda f: cut(f / "cvae_clothes_epoch_2.png")),
    "cvae_clothes_epoch_0.png is damaged": (
        ".",
        lambda f: (f / "cvae_clothes_epoch_0.png").write_bytes(b"no picture"),
    ),
    "cvae_clothes_epoch_3.png is there, but is no regular file": (
        ".",
        lambda f: os.mkfifo(f / "cvae_clothes_epoch_3.png"),
    ),
    "cvae_clothes.gif": (".", lambda f: (f / "cvae_clothes.gif").mkdir()),
}


@pytest.mark.parametrize("named", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(named, folder, capsys):
    run, prepare = MISTAKES[named]
    prepare(folder)
    assert call(folder / run) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert named in printed.err
    assert not [path for path in folder.glob("*.gif") if path.is_file()]
    assert not list(folder.glob("*.partial.gif"))


def test_an_older_animation_stays_where_a_new_one_fails(folder):
    assert call(folder) == 0
    before = (folder / "cvae_clothes.gif").read_bytes()
    shutil.copy(folder / "cvae_clothes_epoch_2.png", folder / "cvae_clothes_epoch_11.png")
    cut(folder / "cvae_clothes_epoch_11.png")
    assert call(folder) == 2
    assert (folder / "cvae_clothes.gif").read_bytes() == before


def test_a_full_disk_leaves_the_older_animation_whole(folder, monkeypatch, capsys):
    assert call(folder) == 0
    before = (folder / "cvae_clothes.gif").read_bytes()

    def write_half(self, path, **_):
        path.write_bytes(before[: len(before) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", write_half)
    assert call(folder) == 2
    assert "cvae_clothes.gif: No space left on device. Mend that" in capsys.readouterr().err
    assert (folder / "cvae_clothes.gif").read_bytes() == before
    assert not list(folder.glob(".*.partial.gif"))
