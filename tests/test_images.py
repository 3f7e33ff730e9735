"""Tests of common/data/images.py: sizes, splits, and the range of the values."""

from common.data.images import choose_size, fit, read_split
from common.program.flags import image_size

import numpy as np
import pytest
from PIL import Image
from small_pictures import RED, paint

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
