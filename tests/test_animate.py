"""common/animate.py: GIFs hold the PNGs in the order of epochs; mistakes are one line."""

import os

from common import animate
from common.training.folder import FIGURES, PSEUDO_INPUTS

import numpy as np
import pytest
from PIL import Image, ImageSequence
from support import call, cut


def draw(path, epoch):
    """A PNG with an alpha channel, like matplotlib's, and all greys, in an order of its own."""
    greys = (np.arange(600) * (epoch + 1) % 256).astype("u1").reshape(20, 30)
    Image.fromarray(greys).convert("RGBA").save(path)


KINDS = (*FIGURES, PSEUDO_INPUTS)


@pytest.fixture
def folder(tmp_path):
    """A folder with figures of epochs 0, 2 and 10 of a run, and what does not belong to it."""
    folder = tmp_path / "cvae"
    folder.mkdir()
    for kind in KINDS:
        for epoch in (0, 2, 10):
            draw(folder / f"cvae_{kind}_epoch_{epoch}.png", epoch)
    for name in ("cvae_grid_epoch_2b", ".cvae_grid_epoch_3.partial", "mmd_grid_epoch_3"):
        draw(folder / f"{name}.png", 5)
    return folder


def test_gifs_hold_the_figures_in_the_order_of_epochs(folder, capsys):
    assert call(animate.main, folder) == 0
    gifs = [folder / f"cvae_{kind}.gif" for kind in KINDS]
    assert capsys.readouterr().out.splitlines() == [str(gif) for gif in gifs]
    assert {*folder.glob("*.gif"), *folder.glob(".*.gif")} == {*gifs}
    for kind, gif in zip(KINDS, gifs, strict=True):
        durations = []
        with Image.open(gif) as shown:
            for frame, epoch in zip(ImageSequence.Iterator(shown), (0, 2, 10), strict=True):
                durations.append(frame.info["duration"])
                with Image.open(folder / f"cvae_{kind}_epoch_{epoch}.png") as image:
                    np.testing.assert_array_equal(frame.convert("RGB"), image.convert("RGB"))
        assert durations[0] == durations[1] < durations[2]


@pytest.mark.parametrize("gone", ["*", "[02]"])
def test_a_kind_without_two_figures_is_left_out(gone, folder):
    for path in folder.glob(f"cvae_reconstructions_epoch_{gone}.png"):
        path.unlink()
    assert call(animate.main, folder) == 0
    assert len(list(folder.glob("*.gif"))) == 4


MISTAKES = {
    "there is no run": ("../elsewhere/cvae", lambda f: None),
    "give OUTPUT_DIR/DATASET/cvae": ("..", lambda f: None),
    "has no two figures of a kind": ("../mmd", lambda f: (f / "../mmd").mkdir()),
    "_epoch_2.png is damaged": (".", lambda f: cut(f / "cvae_clothes_epoch_2.png")),
    "_epoch_0.png is damaged": (".", lambda f: (f / "cvae_clothes_epoch_0.png").write_text("no")),
    "_epoch_1.png is damaged: Image size": (
        ".", lambda f: Image.new("1", (20_000, 20_000)).save(f / "cvae_clothes_epoch_1.png"),
    ),
    "_epoch_3.png is there, but is no regular file": (
        ".", lambda f: os.mkfifo(f / "cvae_clothes_epoch_3.png"),
    ),
    "cvae_clothes.gif": (".", lambda f: (f / "cvae_clothes.gif").mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("named", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(named, folder, capsys):
    run, prepare = MISTAKES[named]
    prepare(folder)
    assert call(animate.main, folder / run) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert named in error
    assert not [path for path in folder.iterdir() if path.suffix == ".gif" and path.is_file()]


def test_an_older_animation_stays_whole_where_a_new_one_fails(folder, monkeypatch, capsys):
    assert call(animate.main, folder) == 0
    gif, damaged = folder / "cvae_clothes.gif", folder / "cvae_clothes_epoch_11.png"
    before = gif.read_bytes()
    damaged.write_bytes(b"")
    assert call(animate.main, folder) == 2
    assert gif.read_bytes() == before
    damaged.unlink()

    def full(self, path, **_):
        path.write_bytes(before[: len(before) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert call(animate.main, folder) == 2
    assert "cvae_clothes.gif: No space left on device. Mend that" in capsys.readouterr().err
    assert gif.read_bytes() == before
    assert not list(folder.glob(".*.partial.gif"))
