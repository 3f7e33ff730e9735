"""Resize images, check that they fit in memory, and split them into training and test images."""

import math
import sys

from common.data.memory import free_memory
from common.program.errors import UserError
from common.program.flags import image_sides

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

MIXED_SIZE = (64, 64)  # If the images have several sizes, they are resized to this size
HELD_OUT = 7  # Without a test set, every 7th image is held out for testing
LEAST_RANGE = 32  # The script warns if the values of the training images have a smaller range
LEAST_SPREAD = 1  # The script warns if the standard deviation between images is smaller
SAMPLE = 2**20  # The standard deviation is estimated from about this number of values
ALIGNMENT = 64  # TensorFlow need not copy an array whose address is a multiple of 64
BYTES = 1.2  # number of bytes of memory per pixel and channel that loading images requires


def choose_size(sizes, image_size, convolutions=2):
    """Choose one size (height, width) for images that have the sizes in the set `sizes`.

    Return the size and a list of notes for the user. The size is valid for an encoder with this
    number of convolutions. `image_size` is "HxW" or None.
    """
    (height, width), *others = sorted(sizes)
    valid = image_sides(convolutions)
    if image_size:
        size = tuple(map(int, image_size.split("x")))
    else:
        sides = MIXED_SIZE if others else (height, width)
        shrink = min(1, valid[-1] / max(sides))
        size = tuple(max(valid[0], valid.step * round(s * shrink / valid.step)) for s in sides)
    if sizes == {size}:
        return size, []
    what = "images of several sizes" if others else f"images of {height} x {width}"
    why = "" if image_size or convolutions == 2 else ", a valid size for --filters"
    return size, [f"{what} are scaled and cropped to {size[0]} x {size[1]}{why}"]


def fit(image, size, channels):
    """Convert a PIL image to a uint8 array (height, width, channels) with 1 or 3 channels.

    The image must have 8 bits per channel. It is scaled to cover `size`, (height, width), and its
    borders are cropped. Transparent pixels become white.
    """
    image, _ = flatten(image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(*size, channels)


def flatten(image):
    """Return a PIL image without transparency, and whether the image was fully transparent.

    Transparent pixels become white. If all alpha values are 0, they are ignored, because some
    programs write zeros in visible pictures.
    """
    if not image.has_transparency_data:
        return image, False
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[1] == 0:
        return image.convert("RGB"), True
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB"), False


def check_memory(n, image_shape, source):
    """Raise UserError if `n` images of shape (height, width, channels) do not fit in memory."""
    needed, free = BYTES * n * math.prod(image_shape), free_memory()
    if needed > free:
        shape = " x ".join(map(str, image_shape))
        raise UserError(
            f"{source} needs {needed / 1e9:.1f} GB of memory for {n:,} images of {shape}, but only "
            f"{free / 1e9:.1f} GB are free.\nUse a smaller --image-size."
        )


def read_split(batches, n, image_shape, hold_out=False, fewer=False):
    """Return a list of pairs (images, labels): one pair, or two pairs if `hold_out` is true.

    `batches` yields uint8 images (k, height, width, channels) with their k labels, or with None.
    The second pair contains every HELD_OUT-th image. Raise IndexError or ValueError if there are
    not `n` images in total. With `fewer`, there may be fewer than `n`.
    """
    held_out = np.arange(n) % HELD_OUT == HELD_OUT - 1
    masks = [~held_out, held_out] if hold_out else [np.ones(n, bool)]
    arrays = [_aligned((mask.sum(), *image_shape)) for mask in masks]
    labels, read = [], 0
    for images, some in batches:
        for mask, array in zip(masks, arrays, strict=True):
            chosen = images[mask[read : read + len(images)]] if hold_out else images
            first = np.count_nonzero(mask[:read])
            array[first : first + len(chosen)] = chosen
        labels.append(some)
        read += len(images)
    if read != n and not fewer:
        raise ValueError(f"the number of images is {read:,} instead of {n:,}")
    masks = [mask[:read] for mask in masks]
    arrays = [array[: mask.sum()] for mask, array in zip(masks, arrays, strict=True)]
    if not labels or labels[0] is None:
        return [(array, None) for array in arrays]
    labels = np.concatenate(labels).astype(np.int64)
    return list(zip(arrays, [labels[mask] for mask in masks], strict=True))


def _aligned(shape):
    """Return an uninitialized uint8 array that TensorFlow can use without copying it."""
    n = math.prod(shape)
    memory = np.empty(n + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n].reshape(shape)


def scale_binary(arrays):
    """Multiply uint8 arrays by 255 in place if they contain only the values 0 and 1.

    Return a list of notes for the user.
    """
    if max(array.max(initial=0) for array in arrays) != 1:
        return []
    for array in arrays:
        array *= 255
    return ["the images contain only the values 0 and 1, which become 0 and 255"]


def warn_of_little_signal(images, title):
    """Print a warning to stderr if uint8 images (n, ...) have little contrast or hardly differ."""
    if len(images) < 2:
        return
    low, high = images.min(), images.max()
    n = min(len(images), max(2, SAMPLE // images[0].size))
    chosen = np.random.default_rng(0).choice(len(images), n, replace=False)
    spread = math.sqrt(images[chosen].var(axis=0, dtype=np.float32).mean())
    if high - low < LEAST_RANGE:
        what = f"have values from {low} to {high} only, out of 0 to 255"
        advice = "If the values are classes or have more than 8 bits, first scale them to 0 to 255"
    elif spread < LEAST_SPREAD:
        what = f"hardly differ: the standard deviation between them is {spread:.2g} of 255"
        advice = "Check that they are different images"
    else:
        return
    print(
        f"Warning: the training images of {title} {what}. A model learns little from them.\n"
        f"{advice}.",
        file=sys.stderr,
    )


def progress(total, description=None):
    """Return a tqdm progress bar that is only shown if stderr is a terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)
