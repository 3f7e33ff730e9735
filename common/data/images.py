"""What every door to images shares: their size, how they are brought to it, where they are kept."""

import math

from common.program.errors import UserError

import numpy as np
import psutil
from PIL import Image, ImageOps
from tqdm.auto import tqdm

SMALLEST, LARGEST = 8, 256  # pixels of a side
UNLIKE = (64, 64)  # the size of images that differ in theirs
HELD_OUT = 7  # where there is no test set, every 7th image makes one
ALIGNMENT = 64  # bytes, of what TensorFlow takes over without a copy
BYTES = 1.2  # of memory that a pixel of a channel takes, at most


def choose_size(sizes, image_size):
    """The (height, width) that images of these `sizes`, a set, get, and a note on it.

    `image_size` is the user's, "HxW", or None: then it is their own where that will do, the nearest
    that will where not, and `UNLIKE` where they are several. Both sides are multiples of 4, for
    the encoder halves them twice, from `SMALLEST` to `LARGEST`. The note is None where nothing
    is done to the images.
    """
    (height, width), *others = sorted(sizes)
    what = "images of several sizes" if others else f"images of {height} x {width}"
    if image_size:
        size = tuple(map(int, image_size.split("x")))
    elif others:
        size = UNLIKE
    else:
        shrink = min(1, LARGEST / max(height, width))
        size = tuple(
            min(LARGEST, max(SMALLEST, 4 * round(side * shrink / 4))) for side in (height, width)
        )
    if sizes == {size}:
        return size, None
    return (
        size,
        f"{what} are brought to {size[0]} x {size[1]}, cut at the edges to keep proportions",
    )


def fit(image, size, channels):
    """A PIL image as uint8 array (height, width, channels): scaled, its middle, on white.

    Scaled without aliasing (bicubic) until it covers `size`, (height, width); `channels` are 1 or
    3, intensities as they are stored.
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
    """Raise UserError where there is no memory for `n` images (height, width, channels)."""
    needed, free = BYTES * n * math.prod(image_shape), psutil.virtual_memory().available
    if needed > free:
        shape = " x ".join(map(str, image_shape))
        raise UserError(
            f"{what}: {n:,} images of {shape} take {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} are free.\nGive a smaller --image-size."
        )


def read_split(batches, n, image_shape, hold_out=False):
    """A stream of (images, labels) in arrays; `n` images (height, width, channels) in all.

    `batches` yields uint8 (k, ...) and k integers, or None for them. With `hold_out`, the images
    are split: the last of each `HELD_OUT` goes to a second part, a rule that depends on their
    order alone.

    Returns:
        A list of one or two pairs: aligned uint8 images, int64 labels or None.
    """
    counts = [n - n // HELD_OUT, n // HELD_OUT] if hold_out else [n]
    parts, labels = [_aligned((count, *image_shape)) for count in counts], [[], []]
    first = 0
    for images, of_images in batches:
        place = np.arange(first, first + len(images))
        held_out = (place % HELD_OUT == HELD_OUT - 1) & hold_out
        before = place // HELD_OUT * hold_out  # held out so far
        for part, (which, row) in enumerate([(~held_out, place - before), (held_out, before)]):
            if part < len(parts):
                parts[part][row[which]] = images[which]
                labels[part] += [] if of_images is None else [of_images[which]]
        first += len(images)
    if first != n:
        raise ValueError(f"it has {first:,} images, and should have {n:,}")
    return [
        (array, np.concatenate(found).astype(np.int64) if found else None)
        for array, found in zip(parts, labels, strict=False)
    ]


def _aligned(shape):
    """An uninitialized uint8 array that TensorFlow can take over as it is, without a copy."""
    n = math.prod(shape)
    memory = np.empty(n + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n].reshape(shape)


def progress(total, description=None):
    """A tqdm bar; silent when stderr is no terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)
