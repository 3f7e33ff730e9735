"""Join many images into one array, called the canvas, and show it in a matplotlib figure."""

import numpy as np

LONGEST = 1000  # Figures enlarge small images, but no side gets more pixels than this


def scale_each(images):
    """Scale each of the images (n, ...) so that its darkest pixel is 0 and its brightest is 1."""
    axes = tuple(range(1, images.ndim))
    low = images.min(axis=axes, keepdims=True)
    span = images.max(axis=axes, keepdims=True) - low
    return (images - low) / np.where(span > 0, span, 1)  # An image with one intensity becomes black


def tile(images, columns, by_column=False, gutter=0):
    """Arrange images (n, height, width, channels) in [0, 1] on a canvas (height, width, channels).

    The canvas has `columns` images per row and `gutter` pixels between images. Gutters and places
    without an image are white. With `by_column`, the images fill one column after the other.
    """
    rows = -(-len(images) // columns)
    pads = ((0, rows * columns - len(images)), (gutter, 0), (gutter, 0), (0, 0))
    images = np.pad(images, pads, constant_values=1)  # (rows * columns, gutter + height, ...)
    places = np.arange(len(images)).reshape(rows, columns, order="F" if by_column else "C")
    joined = np.concatenate(images[places], axis=1)  # (columns, rows * (gutter + height), ...)
    return np.concatenate(joined, axis=1)[gutter:, gutter:]


def zoom(height, width):
    """Return the number of figure pixels per canvas pixel, as a whole number if possible."""
    longest = max(height, width)
    return max(1, LONGEST // longest) if longest <= 2 * LONGEST else 2 * LONGEST / longest


def show(axes, canvas, extent=None):
    """Show a canvas in matplotlib axes. `extent` contains the coordinates of its four edges."""
    shrunk = len(canvas) > np.ceil(axes.get_window_extent().height)
    interpolation = "antialiased" if shrunk else "nearest"
    absolute = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": interpolation}
    axes.imshow(canvas, aspect="auto", extent=extent, **absolute)
