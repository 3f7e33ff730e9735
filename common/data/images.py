"""What all sources of images share: their size, resizing, memory, and the split."""

import math

from common.program.errors import UserError

import numpy as np
import psutil
from PIL import Image, ImageOps
from tqdm.auto import tqdm

SMALLEST, LARGEST = 8, 256  # pixels per side
MIXED_SIZE = (64, 64)  # for images of several sizes
HELD_OUT = 7  # without a test set, every 7th image is held out for testing
ALIGNMENT = 64  # bytes; TensorFlow uses memory that is aligned to them without a copy
BYTES = 1.2  # memory per pixel and channel, at most


def choose_size(sizes, image_size):
    """Return the (height, width) for images of the set `sizes`, and a note if they are resized.

    Both sides are from SMALLEST to LARGEST, and multiples of 4, because the encoder halves them
    twice. `image_size` is the user's "HxW". If it is None, the images keep their size or get the
    nearest valid one, and images of several sizes get MIXED_SIZE.
    """
    (height, width), *others = sorted(sizes)
    if image_size:
        size = tuple(map(int, image_size.split("x")))
    elif others:
        size = MIXED_SIZE
    else:
        shrink = min(1, LARGEST / max(height, width))
        nearest = (4 * round(side * shrink / 4) for side in (height, width))
        size = tuple(min(LARGEST, max(SMALLEST, side)) for side in nearest)
    if sizes == {size}:
        return size, None
    what = "images of several sizes" if others else f"images of {height} x {width}"
    return size, f"{what} are resized to {size[0]} x {size[1]} and cropped to its proportions"


def fit(image, size, channels):
    """Return a PIL image as a uint8 array (height, width, channels).

    The image is scaled (bicubic, without aliasing) until it covers `size`, (height, width), and its
    centre is cut out. Transparent pixels become white. `channels` is 1 or 3.
    """
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(*size, channels)


def check_memory(n, image_shape, what):
    """Raise UserError if `n` images (height, width, channels) of `what` do not fit in memory."""
    needed, free = BYTES * n * math.prod(image_shape), psutil.virtual_memory().available
    if needed > free:
        shape = " x ".join(map(str, image_shape))
        raise UserError(
            f"{what} needs {needed / 1e9:.1f} GB of memory for {n:,} images of {shape}, but only "
            f"{free / 1e9:.1f} GB are free.\nUse a smaller --image-size."
        )


def read_split(batches, n, image_shape, hold_out=False):
    """Return all images of a stream in one array. Raise ValueError unless there are `n` of them.

    With `hold_out`, there are two arrays, and every HELD_OUT-th image is in the second one.

    Args:
        batches: iterator of uint8 images (k, height, width, channels) and k labels or None.
        image_shape: (height, width, channels).

    Returns:
        A list of one or two pairs: aligned uint8 images, and int64 labels or None.
    """
    counts = [n - n // HELD_OUT, n // HELD_OUT] if hold_out else [n]
    parts = [(_aligned((count, *image_shape)), []) for count in counts]
    read, filled = 0, [0, 0]  # images of the stream, images in each part
    for images, labels in batches:
        held_out = np.arange(read, read + len(images)) % HELD_OUT == HELD_OUT - 1
        masks = [~held_out, held_out] if hold_out else [slice(None)]
        for i, (mask, (array, found)) in enumerate(zip(masks, parts, strict=True)):
            chosen = images[mask]
            array[filled[i] : filled[i] + len(chosen)] = chosen
            filled[i] += len(chosen)
            if labels is not None:
                found.append(labels[mask])
        read += len(images)
    if read != n:
        raise ValueError(f"it has {read:,} images instead of {n:,}")
    return [
        (array, np.concatenate(found).astype(np.int64) if found else None) for array, found in parts
    ]


def _aligned(shape):
    """Return an uninitialized uint8 array that TensorFlow can use without a copy."""
    n = math.prod(shape)
    memory = np.empty(n + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n].reshape(shape)


def progress(total, description=None):
    """Return a tqdm bar, which is only shown if stderr is a terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)
