"""Functions that write small pictures, for the tests of folders of pictures."""

from common.data.sources import load_dataset
from common.program.errors import UserError

import numpy as np
import pytest
from PIL import Image

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
    assert sorted(folder.rglob("*")) == before
