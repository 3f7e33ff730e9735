"""The three figures of the original, and one of reconstructions.

Each function returns a matplotlib Figure, drawn under matplotlib's own defaults, whatever the
user's settings, as `save_figure` writes it. The figure of one kind has the same size in pixels in
every run on one data set, so that two PNGs laid side by side compare like with like.
"""

import contextlib

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

GRID = np.linspace(-4, 4, 16)  # along either axis of the latent grid
_EDGE = 4 + (GRID[1] - GRID[0]) / 2
GRID_EXTENT = (-_EDGE, _EDGE, _EDGE, -_EDGE)  # left, right, bottom, top: V2 runs down
LONGEST = 1000  # pixels that the longer side of a panel of images may have, if it can


@contextlib.contextmanager
def matplotlib_defaults():
    """Have matplotlib as it is installed, whatever the user's settings; also a decorator."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@matplotlib_defaults()
def save_figure(figure, file):
    """Write a figure as a PNG. Raises OSError."""
    FigureCanvasAgg(figure).print_png(file)


# Where things are -------------------------------------------------------------


def scale_each(images):
    """Scale each image of (n, ...) to its darkest (0) and brightest (1) pixel; if plain, to 0."""
    axes = tuple(range(1, images.ndim))
    low = images.min(axis=axes, keepdims=True)
    span = images.max(axis=axes, keepdims=True) - low
    return (images - low) / np.where(span > 0, span, 1)


def tile(images, columns, by_column=False, gutter=0):
    """Lay images out on one canvas.

    Args:
        images: (n, h, w, channels) array within [0, 1].
        columns: how many images stand side by side.
        by_column: fill the first column from top to bottom, then the next; else row by row. Where
            the last one is short, it ends in white.
        gutter: white pixels between neighbours.

    Returns:
        (rows * h + (rows - 1) * gutter, columns * w + (columns - 1) * gutter, channels) array.
    """
    n, h, w, channels = images.shape
    rows = -(-n // columns)
    pads = ((0, rows * columns - n), (0, gutter), (0, gutter), (0, 0))
    images = np.pad(images, pads, constant_values=1)  # (rows * columns, h + gutter, w + gutter, ..)
    h, w = h + gutter, w + gutter
    if by_column:
        canvas = images.reshape(columns, rows, h, w, channels).transpose(1, 2, 0, 3, 4)
    else:
        canvas = images.reshape(rows, columns, h, w, channels).transpose(0, 2, 1, 3, 4)
    canvas = canvas.reshape(rows * h, columns * w, channels)
    return canvas[: rows * h - gutter, : columns * w - gutter]


def latent_grid():
    """The points of the 16 x 16 latent grid, (256, 2), in the order in which `tile` lays them out.

    V1 (column 0) runs fastest, left to right; V2 runs top to bottom; both from -4 to 4.
    """
    v2, v1 = np.meshgrid(GRID, GRID, indexing="ij")
    return np.stack([v1.ravel(), v2.ravel()], axis=1)


def latent_plane(mean):
    """The plane in which the latent space is shown.

    Args:
        mean: (n, latent_dim) means.

    Returns:
        coordinates: (n, 2) array, the means' places in the plane: themselves where latent_dim is
            2, else their first two principal components (where latent_dim is 1: V1, and 0).
        lift: function from points (k, 2) of the plane to latent vectors (k, latent_dim). Where
            latent_dim is 1, the rows of the latent grid make up one line, from -4 to 4.
        labels: what to write at the two axes.
    """
    latent_dim = mean.shape[1]
    if latent_dim == 1:
        n = len(GRID)

        def along_the_line(points):
            column, row = ((points + 4) / 8 * (n - 1)).T
            return (((row * n + column) / (n**2 - 1)) * 8 - 4)[:, np.newaxis]

        points = np.pad(mean, ((0, 0), (0, 1)))
        return points, along_the_line, ("V1, the only latent dimension", "")
    if latent_dim == 2:
        return mean, lambda points: points, ("V1", "V2")
    with np.errstate(invalid="ignore"):  # means that are all the same have no shares of variance
        pca = PCA(n_components=2, svd_solver="full").fit(mean)
    labels = tuple(f"principal component {i} of {latent_dim} latent dimensions" for i in (1, 2))
    return pca.transform(mean), pca.inverse_transform, labels


def strips(points, labels, class_names, height=1):
    """Points (n, 2) on a line, with each class in a strip of its own, alphabetically from the top.

    Within a strip of four fifths of `height` the points rise as they come; all strips are around 0.
    """
    points, middle = points.copy(), (len(class_names) - 1) / 2
    for place, name in enumerate(sorted(class_names)):
        (found,) = np.nonzero(labels == class_names.index(name))
        points[found, 1] = height * (np.linspace(-0.4, 0.4, len(found)) + middle - place)
    return points


def first_of_each_class(labels, classes, n=8):
    """Where the first `n` images of each class are: (classes, n) indices into `labels`.

    The row of a class with fewer than `n` ends in -1.
    """
    indices = np.full((classes, n), -1)
    for label in range(classes):
        found = np.flatnonzero(labels == label)[:n]
        indices[label, : len(found)] = found
    return indices


# The figures of a run ---------------------------------------------------------


@matplotlib_defaults()
def generate_random_clothes(decode, random_vector, title):
    """64 decoded images, 8 x 8, filled column by column, white gutters, each tile scaled to itself.

    Args:
        decode: function from latent vectors (n, latent_dim) to intensities (n, h, w, channels).
        random_vector: (64, latent_dim) draws of N(0, I).
    """
    figure, axes = _image_figure(title, clothes_canvas(decode, random_vector))
    axes.set_axis_off()
    return figure


@matplotlib_defaults()
def show_latent_space(mean, labels, class_names, title):
    """The means of the test images, one colour a class; both axes have one scale.

    Of one dimension there is a strip a class.

    Args:
        mean: (n, latent_dim) means.
        labels: (n,) integers into `class_names`.
    """
    mean = np.asarray(mean)
    points, _, axis_labels = latent_plane(mean)
    figure, axes = _new_figure(title, 740, 740, left=84, right=176, bottom=60)
    if mean.shape[1] == 1:
        points = strips(points, labels, class_names)
    scatter(axes, points, labels, class_names, s=9)
    axes.legend(
        handles=class_handles(class_names), title="class", fontsize=12, title_fontsize=13,
        frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
    )  # fmt: skip
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, np.full(2, 0.54 * (high - low).max() or 1)
    if mean.shape[1] == 1:
        half = np.maximum(0.54 * (high - low), 0.5)
        axes.set_yticks([])
    limits = zip(middle - half, middle + half, strict=True)
    axes.set(xlim=next(limits), ylim=next(limits))
    axes.set_xlabel(axis_labels[0], size=12)
    axes.set_ylabel(axis_labels[1], size=12)
    if mean.shape[1] > 2:  # the long label stays inside the figure, however long the numbers
        axes.yaxis.set_label_coords(-0.086, 0.5)
    return figure


@matplotlib_defaults()
def show_grid(decode, mean, title):
    """16 x 16 images decoded from a grid over the latent plane; no gutters, intensities absolute.

    V1 runs left to right, V2 from top (-4) to bottom (4). Of one dimension, 256 points from -4 to 4
    are shown row by row.

    Args:
        decode: function from latent vectors (n, latent_dim) to intensities (n, h, w, channels).
        mean: (n, latent_dim) means, which give the plane where latent_dim is not 2.
    """
    mean = np.asarray(mean)
    _, lift, axis_labels = latent_plane(mean)
    canvas = grid_canvas(decode, lift)
    figure, axes = _image_figure(title, canvas, left=60, bottom=60, extent=GRID_EXTENT)
    if mean.shape[1] == 1:
        axes.set_xticks([])
        axes.set_yticks(GRID, [f"{v:.1f}" for v in lift(latent_grid()[:: len(GRID)])[:, 0]])
        axis_labels = ("V1 from -4 to 4, row by row, left to right", "V1 where a row begins")
    axes.set_xlabel(axis_labels[0], size=12)
    axes.set_ylabel(axis_labels[1], size=12)
    return figure


@matplotlib_defaults()
def show_reconstructions(decode, mean, images, labels, class_names, title):
    """The first 8 test images of each class, each above its reconstruction; intensities absolute.

    The classes stand two in a row, in the order of `class_names`. A class with fewer than 8 images
    leaves white what it cannot fill.

    Args:
        decode: function from latent vectors (n, latent_dim) to intensities (n, h, w, channels).
        mean: (n, latent_dim) means of the images.
        images: (n, h, w, channels) uint8.
        labels: (n,) integers into `class_names`.
    """
    indices = first_of_each_class(labels, len(class_names))
    present = indices >= 0
    chosen = indices[present]
    rows = np.ones((len(class_names), 2, 8, *images.shape[1:]))
    rows[:, 0][present] = images[chosen] / 255
    rows[:, 1][present] = np.asarray(decode(np.asarray(mean)[chosen]))
    heading, gutter = 12, 6
    blocks = [tile(np.concatenate(row), columns=8) for row in rows]  # (2 h, 8 w, channels) each
    blocks = np.pad(blocks, ((0, 0), (heading, 0), (0, 0), (0, 0)), constant_values=1)
    canvas = tile(blocks, columns=2, gutter=gutter)
    figure, axes = _image_figure(title, canvas, bottom=44)
    axes.set_axis_off()
    _, block_height, block_width, _ = blocks.shape
    for i, name in enumerate(class_names):
        x, y = i % 2 * (block_width + gutter), i // 2 * (block_height + gutter) + heading
        axes.text(x, y - 3, name, size=12, va="baseline")
    height, width, _ = canvas.shape
    legend = "upper row: test images; lower row: decoded from their means"
    axes.text(width / 2, height + 6, legend, size=12, ha="center", va="top")
    return figure


def draw_figures(decode, mean, random_vector, data, title):
    """The four figures of an epoch, a dict by kind; `data` is a common.data.sources.Dataset."""
    images, labels, class_names = data.test_images, data.test_labels, data.class_names
    return {
        "clothes": generate_random_clothes(decode, random_vector, title),
        "latentspace": show_latent_space(mean, labels, class_names, title),
        "grid": show_grid(decode, mean, title),
        "reconstructions": show_reconstructions(decode, mean, images, labels, class_names, title),
    }


# Their parts ------------------------------------------------------------------


def clothes_canvas(decode, random_vector):
    """The canvas of `generate_random_clothes`."""
    images = np.asarray(decode(random_vector))
    return tile(scale_each(images), columns=8, by_column=True, gutter=6)


def grid_canvas(decode, lift):
    """The canvas of `show_grid`."""
    return tile(np.asarray(decode(lift(latent_grid()))), columns=len(GRID))


def show(axes, canvas, extent=None):
    """Show a canvas in absolute intensities, grey where it has one channel."""
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)


def class_colors(class_names):
    """A colour a class, in alphabetical order: matplotlib's ten, its twenty, else a rainbow."""
    names, maps = sorted(class_names), matplotlib.colormaps
    if len(names) <= 20:
        colors = maps["tab10" if len(names) <= 10 else "tab20"].colors
    else:
        colors = maps["turbo"](np.linspace(0, 1, len(names)))
    return dict(zip(names, colors, strict=False))


def class_handles(class_names):
    """A dot a class for a legend, in alphabetical order."""
    return [
        Line2D([], [], marker="o", markersize=8, linestyle="", color=color, label=name)
        for name, color in class_colors(class_names).items()
    ]


def scatter(axes, points, labels, class_names, s):
    """Points (n, 2) in their classes' colours, of area `s`, over a faint grid."""
    colors = class_colors(class_names)
    axes.scatter(*points.T, s=s, c=[colors[class_names[i]] for i in labels], linewidths=0)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _image_figure(title, canvas, extent=None, **margins):
    """A figure of one canvas, an image pixel a block of so many pixels as `LONGEST` allows."""
    height, width, _ = canvas.shape
    zoom = max(1, LONGEST // max(height, width))
    figure, axes = _new_figure(title, zoom * width, zoom * height, **margins)
    show(axes, canvas, extent)
    return figure, axes


def _new_figure(title, panel_width, panel_height, left=20, right=20, bottom=20):
    """A figure with a title and one panel, sizes in pixels, inside margins of whole pixels.

    Panel edges on whole pixels keep an image crisp that is shown at a whole multiple of its size.
    """
    top = 48
    width, height = left + panel_width + right, bottom + panel_height + top
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    panel = (left / width, bottom / height, panel_width / width, panel_height / height)
    axes = figure.add_axes(panel)
    figure.text(0.5, 1 - top / 2 / height, title, ha="center", va="center", size=14)
    return figure, axes
