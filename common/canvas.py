"""Canvases: many images side by side in one array, and their display in a matplotlib figure."""

import numpy as np

LONGEST = 1000  # pixels of a canvas's longer side in a figure; up to twice that for large canvases


def scale_each(images):
    """Return images (n, ...), each scaled to [0, 1] from its darkest to its brightest pixel."""
    axes = tuple(range(1, images.ndim))
    low = images.min(axis=axes, keepdims=True)
    span = images.max(axis=axes, keepdims=True) - low
    return (images - low) / np.where(span > 0, span, 1)  # an image of one intensity becomes 0


def tile(images, columns, by_column=False, gutter=0):
    """Return a canvas (height, width, channels) of images (n, height, width, channels) in [0, 1].

    The images are side by side, with `columns` images per row and `gutter` pixels between them.
    Gutters and places without an image are 1, which is white.
    """
    rows = -(-len(images) // columns)
    pads = ((0, rows * columns - len(images)), (gutter, 0), (gutter, 0), (0, 0))
    images = np.pad(images, pads, constant_values=1)  # (rows * columns, gutter + height, ...)
    places = np.arange(len(images)).reshape(rows, columns, order="F" if by_column else "C")
    joined = np.concatenate(images[places], axis=1)  # (columns, rows * (gutter + height), ...)
    return np.concatenate(joined, axis=1)[gutter:, gutter:]


def zoom(height, width):
    """Return how many pixels of a figure show one pixel of a canvas: a whole number if possible.

    The longer side is at most LONGEST pixels, or 2 * LONGEST if the canvas is larger than LONGEST.
    """
    longest = max(height, width)
    return max(1, LONGEST // longest) if longest <= 2 * LONGEST else 2 * LONGEST / longest


def show(axes, canvas, extent=None):
    """Fill matplotlib axes with a canvas in absolute intensities, in grey if it has one channel.

    `extent` gives the coordinates of its left, right, bottom and top edge.
    """
    shrunk = len(canvas) > np.ceil(axes.get_window_extent().height)
    interpolation = "antialiased" if shrunk else "nearest"
    absolute = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": interpolation}
    axes.imshow(canvas, aspect="auto", extent=extent, **absolute)
