"""Tests of common/animate.py, which joins the figures of a run into GIFs."""

from common import animate
from common.training.folder import FIGURES, PSEUDO_INPUTS

import numpy as np
import pytest
from PIL import Image, ImageSequence
from support import call, cut

KINDS = (*FIGURES, PSEUDO_INPUTS)


def draw(path, epoch):
    """Write a PNG with an alpha channel, like matplotlib, and with all 256 greys."""
    greys = (np.arange(600) * (epoch + 1) % 256).astype("u1").reshape(20, 30)
    Image.fromarray(greys).convert("RGBA").save(path)


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a run with figures of epochs 0, 2 and 10, and with other files."""
    folder = tmp_path / "cvae"
    folder.mkdir()
    for kind in KINDS:
        for epoch in (0, 2, 10):
            draw(folder / f"cvae_{kind}_epoch_{epoch}.png", epoch)
    for name in ("cvae_grid_epoch_2b", ".cvae_grid_epoch_3.partial", "mmd_grid_epoch_3"):
        draw(folder / f"{name}.png", 5)
    return folder


def test_gifs_have_the_figures_in_the_order_of_epochs(folder, capsys):
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


@pytest.mark.parametrize("missing", ["*", "[02]"])
def test_a_kind_with_fewer_than_two_figures_has_no_gif(missing, folder):
    for path in folder.glob(f"cvae_reconstructions_epoch_{missing}.png"):
        path.unlink()
    assert call(animate.main, folder) == 0
    assert len(list(folder.glob("*.gif"))) == 4


# The run, how to prepare its folder, and what the message must name
MISTAKES = [
    ("../elsewhere/cvae", lambda f: None, "elsewhere/cvae"),
    ("..", lambda f: None, "OUTPUT_DIR/DATASET/cvae"),
    ("../mmd", lambda f: (f / "../mmd").mkdir(), "--plot-every"),
    (".", lambda f: cut(f / "cvae_clothes_epoch_2.png"), "epoch_2.png"),
    (".", lambda f: (f / "cvae_clothes_epoch_0.png").write_text("no"), "epoch_0.png"),
    (".", lambda f: (f / "cvae_clothes.gif").mkdir(), "cvae_clothes.gif"),
]


@pytest.mark.parametrize(("run", "prepare", "named"), MISTAKES)
def test_a_mistake_gives_one_line_and_status_2(run, prepare, named, folder, capsys):
    prepare(folder)
    assert call(animate.main, folder / run) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert named in error
    assert not [path for path in folder.glob("*.gif") if path.is_file()]


def test_a_full_disk_leaves_the_existing_gif_unchanged(folder, monkeypatch, capsys):
    assert call(animate.main, folder) == 0
    gif = folder / "cvae_clothes.gif"
    before = gif.read_bytes()

    def full(self, path, **_):
        path.write_bytes(before[: len(before) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    capsys.readouterr()
    assert call(animate.main, folder) == 2
    assert "cvae_clothes.gif" in capsys.readouterr().err
    assert gif.read_bytes() == before
    assert not list(folder.glob(".*.partial.gif"))
