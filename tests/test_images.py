"""Tests of common/data/images.py: sizes, splits, and the range of the values."""

import time

import eager_cvae
from common.data import sources
from common.data.images import choose_size, fit, read_split, scale_binary, warn_of_little_signal
from common.program.errors import UserError

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from small_pictures import RED, load, paint, save

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
    for good, size in {"64": "64x64", "64X64": "64x64", "8x256": "8x256"}.items():
        assert eager_cvae.get_args(["--image-size", good]).image_size == size
    for bad in ("30", "4", "260", "8x0"):
        with pytest.raises(UserError, match=f"--image-size {bad}.*multiples of 4 from 8 to 256"):
            eager_cvae.get_args(["--image-size", bad])
    for bad in ("", "x", "28x", "x28", "64x64x3", "-8", "8.0", "²x8"):
        with pytest.raises(UserError, match=r"--image-size.*HxW"):
            eager_cvae.get_args([f"--image-size={bad}"])


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


# Range ------------------------------------------------------------------------


def test_images_of_zeros_and_ones_are_scaled(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(14):
        image = Image.fromarray(rng.integers(0, 2, (8, 8), np.uint8))
        save(tmp_path, f"{number}.png", image)
    data = load(tmp_path)
    x = np.concatenate([data.train_images.numpy(), data.test_images])
    assert np.unique(x).tolist() == [0, 255]
    with Image.open(tmp_path / "3.png") as image:
        assert (x[..., 0] == 255 * np.asarray(image)).all((1, 2)).sum() == 1
    assert any("0 and 1" in note for note in data.notes)
    assert capsys.readouterr().err == ""
    save(tmp_path, "14.png", Image.fromarray(np.full((8, 8), 2, np.uint8)))
    data = load(tmp_path)
    assert data.train_images.numpy().max() == 2
    assert not any("0 and 1" in note for note in data.notes)
    assert "from 0 to 2 " in capsys.readouterr().err


@pytest.mark.parametrize("source", ["digits", "tfds"])
def test_every_source_scales_zeros_and_ones(source, monkeypatch):
    """Replace what the source loads by images as TFDS has them for binarized_mnist."""
    x = np.random.default_rng(0).integers(0, 2, (20, 28, 28, 1), np.uint8)
    loaded = (x[:15].copy(), None), (x[15:].copy(), None), (), ["a note"]
    monkeypatch.setattr(getattr(sources, source), "load", lambda *_: loaded)
    data = sources.load_dataset({"digits": "digits", "tfds": "binarized_mnist"}[source])
    np.testing.assert_array_equal(data.train_images, 255 * x[:15])
    np.testing.assert_array_equal(data.test_images, 255 * x[15:])
    assert data.notes[0] == "a note"
    assert "0 and 1" in data.notes[1]


def test_only_test_images_with_other_values_prevent_the_scaling():
    ones, others = np.ones((3, 8, 8, 1), np.uint8), np.full((3, 8, 8, 1), 7, np.uint8)
    assert scale_binary([ones, others]) == []
    assert (ones.max(), others.max()) == (1, 7)
    assert scale_binary([np.zeros_like(ones)]) == []


def few_values(low, high):
    return np.random.default_rng(0).integers(low, high + 1, (50, 8, 8, 1), np.uint8)


ALIKE = np.repeat(few_values(0, 255)[:1], 50, 0)
NOISY = np.clip(ALIKE.astype(int) + few_values(0, 2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("x", "words"), [
    (few_values(0, 13), ["from 0 to 13 "]), (few_values(200, 231), ["from 200 to 231 "]),
    (np.zeros((9, 8, 8, 3), np.uint8), ["from 0 to 0 "]), (ALIKE, ["0 of 255"]),
    (NOISY, ["of 255"]), (few_values(200, 232), []), (few_values(0, 255), []), (ALIKE[:1], []),
])  # fmt: skip
def test_images_with_little_signal_cause_one_warning(x, words, capsys):
    warn_of_little_signal(x, "Things")
    error = capsys.readouterr().err
    assert all(word in error for word in ["Things", *words] if words)
    assert len(error.splitlines()) == (2 if words else 0)


def test_ordinary_images_cause_no_warning(capsys):
    """Try digits, small spots on black, and faces of low contrast, simulated by a gradient."""
    rng = np.random.default_rng(0)
    digits = (load_digits().images * 15).astype(np.uint8)[..., None]
    spots = np.zeros((500, 64, 64, 1), np.uint8)
    for image in spots:
        image[tuple(rng.integers(0, 61, 2)[:, None] + np.arange(2)[:, None].T)] = 255
    faces = 100 + 60 * np.linspace(0, 1, 64)[:, None] + rng.normal(0, 4, (500, 1, 64))
    faces = faces[..., None].clip(0, 255).astype(np.uint8)
    for x in (digits, spots, faces):
        warn_of_little_signal(x, "x")
    assert capsys.readouterr().err == ""


def test_the_check_of_the_range_is_fast():
    x = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1), np.uint8)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        scale_binary([x])
        warn_of_little_signal(x, "x")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # on an idle machine it takes 0.02 seconds
