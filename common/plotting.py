"""The three figures of the original, one of reconstructions, and one of pseudo-inputs.

Each function returns a matplotlib Figure, drawn under matplotlib's own defaults, whatever the
user's settings, as `save_figure` writes it. The figure of one kind has the same size in pixels in
every run on one data set (that of few pseudo-inputs has fewer rows), so that two PNGs laid side by
side compare like with like.

`decode` is everywhere a function from latent vectors (n, latent_dim) to intensities (n, h, w,
channels), `random_vector` 64 draws of the prior, (64, latent_dim), `mean` the means (n, latent_dim)
of the test images, `labels` (n,) integers into `class_names`; None where there are no classes.
"""

import contextlib
import math
import warnings

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

GRID = np.linspace(-4, 4, 16)  # along either axis of the latent grid
_EDGE = 4 + (GRID[1] - GRID[0]) / 2
GRID_EXTENT = (-_EDGE, _EDGE, _EDGE, -_EDGE)  # left, right, bottom, top: V2 runs down
LONGEST = 1000  # pixels of the longer side of a panel of images; twice that where it has to be
MOST_NAMES = 20  # of classes, in a legend
MOST_BLOCKS = 10  # of reconstructions
NARROWEST = 620  # pixels of a figure, for its title


@contextlib.contextmanager
def matplotlib_defaults():
    """Have matplotlib as it is installed, whatever the user's settings; also a decorator."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False  # names of data and classes may have a $
        warnings.filterwarnings("ignore", "Glyph .* missing")  # or letters that its font lacks
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
    """Lay images (n, h, w, channels) within [0, 1] out on one canvas, so many `columns` wide.

    Row by row, or column by column, from top to bottom; where the last one is short, it ends in
    white. Between neighbours stand `gutter` white pixels. Canvas: (rows * h + (rows - 1) * gutter,
    columns * w + (columns - 1) * gutter, channels).
    """
    rows = -(-len(images) // columns)
    pads = ((0, rows * columns - len(images)), (gutter, 0), (gutter, 0), (0, 0))
    images = np.pad(images, pads, constant_values=1)  # (rows * columns, gutter + h, gutter + w, ..)
    places = np.arange(len(images)).reshape(rows, columns, order="F" if by_column else "C")
    joined = np.concatenate(images[places], axis=1)  # (columns, rows * (gutter + h), ..)
    return np.concatenate(joined, axis=1)[gutter:, gutter:]


def latent_grid():
    """The points of the 16 x 16 latent grid, (256, 2), in the order in which `tile` lays them out.

    V1 (column 0) runs fastest, left to right; V2 runs top to bottom; both from -4 to 4.
    """
    return np.array([(v1, v2) for v2 in GRID for v1 in GRID])


def latent_plane(mean):
    """The plane in which the latent space of the means (n, latent_dim) is shown.

    Returns:
        points: (n, 2) array, the means' places in the plane: themselves where latent_dim is 2, else
            their first two principal components (where latent_dim is 1: V1, and 0).
        lift: function from points (k, 2) of the plane to latent vectors (k, latent_dim). Where
            latent_dim is 1, the rows of the latent grid make up one line, from -4 to 4.
        labels: what to write at the two axes.
    """
    latent_dim = mean.shape[1]
    if latent_dim == 1:
        # As a row of the grid goes on where the one above ended, V2 counts n times what V1 counts
        weights = np.array([[1], [len(GRID)]]) / (len(GRID) + 1)
        points, labels = np.pad(mean, ((0, 0), (0, 1))), ("V1, the only latent dimension", "")
        return points, lambda points: points @ weights, labels
    if latent_dim == 2:
        return mean, lambda points: points, ("V1", "V2")
    with np.errstate(invalid="ignore"):  # means that are all the same have no shares of variance
        pca = PCA(n_components=2, svd_solver="full").fit(mean)
    labels = tuple(f"principal component {i} of {latent_dim} latent dimensions" for i in (1, 2))
    return pca.transform(mean), pca.inverse_transform, labels


def project(z, lift):
    """Where latent vectors (n, latent_dim) are in the plane that `lift` is of, (n, 2)."""
    if z.shape[1] == 1:
        return np.pad(z, ((0, 0), (0, 1)))
    origin, *ends = lift(np.array([[0.0, 0], [1, 0], [0, 1]]))
    return (z - origin) @ (np.array(ends) - origin).T


def strips(points, labels, class_names, height=1):
    """Points (n, 2) on a line, with each class in a strip of its own, alphabetically from the top.

    Within a strip of four fifths of `height` the points rise as they come; all strips are around 0.
    """
    points, middle = points.copy(), (len(class_names) - 1) / 2
    if labels is None:
        points[:, 1] = height * np.linspace(-0.4, 0.4, len(points))
    for place, name in enumerate(sorted(class_names)):
        (found,) = np.nonzero(labels == class_names.index(name))
        points[found, 1] = height * (np.linspace(-0.4, 0.4, len(found)) + middle - place)
    return points


def in_plane(mean, labels, class_names, centres=None):
    """A latent space as it is shown beside others.

    Args:
        mean: (n, latent_dim), labels: (n,), class_names: as everywhere here.
        centres: (K, latent_dim) means of a VampPrior's Gaussians, or None.

    Returns:
        points: (n, 2), those of `latent_plane`, in strips 6 high altogether where latent_dim is 1.
        marks: (K, 2), where the centres are, or (1, 2), where 0 is.
        ends: (2, 2), the low and the high ends of what should be in sight: nearly all points, and
            the marks, or 3 sigma of N(0, I).
        lift, labels: those of `latent_plane`.
    """
    points, lift, axis_labels = latent_plane(mean)
    if mean.shape[1] == 1:
        points = strips(points, labels, class_names, height=6 / max(1, len(class_names)))
    marks = project(np.zeros((1, mean.shape[1])) if centres is None else centres, lift)
    reach = 3 if centres is None else 0
    ends = [*np.quantile(points, (0.001, 0.999), axis=0), *(marks - reach), *(marks + reach)]
    return points, marks, np.array([np.min(ends, axis=0), np.max(ends, axis=0)]), lift, axis_labels


def square_around(ends):
    """The middle (2,) and half the side of the square around several runs' ends (k, 2, 2)."""
    low, high = np.min(ends, axis=(0, 1)), np.max(ends, axis=(0, 1))
    return (low + high) / 2, 0.53 * (high - low).max()


def first_of_each_class(labels, classes, n=8):
    """Where the first `n` images of each class are, indices (classes, n); -1 for what it lacks.

    Of the first `MOST_BLOCKS` classes; without any, of so many times `n` images as they come.
    `labels` are (m,), of m images, or then m alone.
    """
    if not classes:
        indices = np.arange(MOST_BLOCKS * n).reshape(-1, n)
        return np.where(indices < labels, indices, -1)[: -(-labels // n)]
    classes = min(classes, MOST_BLOCKS)
    indices = np.full((classes, n), -1)
    for label in range(classes):
        found = np.flatnonzero(labels == label)[:n]
        indices[label, : len(found)] = found
    return indices


# The figures of a run ---------------------------------------------------------


@matplotlib_defaults()
def generate_random_clothes(decode, random_vector, title):
    """64 decoded images, 8 x 8, filled column by column, white gutters, each scaled to itself."""
    figure, axes = _image_figure(title, clothes_canvas(decode, random_vector))
    axes.set_axis_off()
    return figure


@matplotlib_defaults()
def show_latent_space(mean, labels, class_names, title, centres=None):
    """The means, one colour a class, both axes of one scale. Of one dimension, a strip a class.

    `centres`, (K, latent_dim), are marked: the means of the VampPrior's Gaussians.
    """
    points, lift, axis_labels = latent_plane(np.asarray(mean))
    latent_dim = mean.shape[1]
    if latent_dim == 1:
        points = strips(points, labels, class_names)
    right = 176 if class_names else 20  # for the legend
    figure, axes = _new_figure(title, 740, 740, left=84, right=right, bottom=60, labels=axis_labels)
    scatter(axes, points, labels, class_names, s=9)
    if class_names:
        n = len(class_names)
        axes.legend(
            handles=class_handles(class_names, 15), title_fontsize=13, frameon=False,
            fontsize=12 if max(map(len, class_names)) <= 12 else 9,
            title=f"{MOST_NAMES} of {n} classes" if n > MOST_NAMES else "class",
            loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
        )  # fmt: skip
    if centres is not None:
        marks = project(np.asarray(centres), lift)
        mark(axes, marks)
        points = np.concatenate([points, marks])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, 0.54 * (high - low)
    half = np.maximum(half, 0.5) if latent_dim == 1 else half.max() or 1
    xlim, ylim = zip(middle - half, middle + half, strict=True)
    axes.set(xlim=xlim, ylim=ylim)
    if latent_dim == 1:
        axes.set_yticks([])
    if latent_dim > 2:  # the long label stays inside the figure, however long the numbers
        axes.yaxis.set_label_coords(-0.086, 0.5)
    return figure


def mark(axes, marks, zoom=1):
    """Mark the places (K, 2) of a VampPrior's Gaussians."""
    axes.scatter(*marks.T, s=40 * zoom, c="black", marker="x", linewidths=zoom)


@matplotlib_defaults()
def show_grid(decode, mean, title):
    """16 x 16 images decoded from a grid over the latent plane; no gutters, intensities absolute.

    V1 runs left to right, V2 from top (-4) to bottom (4). Of one dimension, 256 points from -4 to 4
    are shown row by row. The means give the plane where latent_dim is not 2.
    """
    _, lift, axis_labels = latent_plane(np.asarray(mean))
    canvas = grid_canvas(decode, lift)
    figure, axes = _image_figure(title, canvas, GRID_EXTENT, left=60, bottom=60, labels=axis_labels)
    if mean.shape[1] == 1:
        axes.set_xticks([])
        axes.set_yticks(GRID, [f"{v:.1f}" for v in lift(latent_grid()[:: len(GRID)])[:, 0]])
        axes.set_xlabel("V1 from -4 to 4, row by row, left to right")
        axes.set_ylabel("V1 where a row begins")
        axes.tick_params("y", labelsize=8)
    return figure


@matplotlib_defaults()
def show_reconstructions(decode, mean, images, labels, class_names, title):
    """The first 8 test images of each class, each above its reconstruction; intensities absolute.

    Of `images`, (n, h, w, channels) uint8. The first ten classes stand two in a row, in the order
    of `class_names`, or else the first 80 images. A class with fewer than 8 images leaves white
    what it cannot fill.
    """
    indices = first_of_each_class(labels if class_names else len(images), len(class_names))
    present, chosen = indices >= 0, indices[indices >= 0]
    rows = np.ones((len(indices), 2, 8, *images.shape[1:]))
    rows[:, 0][present] = images[chosen] / 255
    rows[:, 1][present] = np.asarray(decode(np.asarray(mean)[chosen]))
    gutter, blocks = 6, [tile(np.concatenate(row), columns=8) for row in rows]  # (2 h, 8 w, ..)
    pixel = 1 / zoom(*tile(np.array(blocks), columns=2, gutter=gutter).shape[:2])  # of the figure
    heading = math.ceil(24 * pixel) if class_names else 0
    blocks = np.pad(blocks, ((0, 0), (heading, 0), (0, 0), (0, 0)), constant_values=1)
    canvas = tile(blocks, columns=2, gutter=gutter)
    figure, axes = _image_figure(title, canvas, bottom=44)
    axes.set_axis_off()
    down, across = np.add(blocks.shape[1:3], gutter)  # to the next block
    for i, name in enumerate(class_names[: len(rows)]):
        x, y = i % 2 * across, i // 2 * down + heading
        axes.text(x, y - 6 * pixel, shorten(name, 40), size=12, va="baseline")
    height, width, _ = canvas.shape
    legend = "upper row: test images; lower row: decoded from their means"
    axes.text(width / 2, height + 12 * pixel, legend, size=12, ha="center", va="top")
    return figure


@matplotlib_defaults()
def show_pseudo_inputs(pseudo_inputs, title):
    """The first 64 of the VampPrior's images, (K, h, w, channels); intensities absolute."""
    figure, axes = _image_figure(title, tile(np.asarray(pseudo_inputs)[:64], columns=8, gutter=6))
    axes.set_axis_off()
    return figure


def draw_figures(decode, mean, random_vector, data, title, centres=None, pseudo_inputs=None):
    """The four figures of an epoch, a dict by kind; `data` is a common.data.sources.Dataset.

    And a fifth of the VampPrior's pseudo-inputs, where there are any.
    """
    images, labels, class_names = data.test_images, data.test_labels, data.class_names
    fifth = {}
    if pseudo_inputs is not None:
        fifth["pseudo_inputs"] = show_pseudo_inputs(pseudo_inputs, title)
    return fifth | {
        "clothes": generate_random_clothes(decode, random_vector, title),
        "latentspace": show_latent_space(mean, labels, class_names, title, centres),
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
    """Fill `axes` with a canvas in absolute intensities, grey where it has one channel."""
    shrunk = len(canvas) > np.ceil(axes.get_window_extent().height)
    interpolation = "antialiased" if shrunk else "nearest"
    absolute = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": interpolation}
    axes.imshow(canvas, aspect="auto", extent=extent, **absolute)


def class_colors(class_names):
    """A colour a class, in alphabetical order: matplotlib's ten, its twenty, else a rainbow."""
    n, maps = len(class_names), matplotlib.colormaps
    few = maps["tab10" if n <= 10 else "tab20"].colors
    colors = few[:n] if n <= 20 else maps["turbo"](np.linspace(0, 1, n))
    return dict(zip(sorted(class_names), colors, strict=True))


def class_handles(class_names, longest):
    """A dot a class for a legend, in alphabetical order, with names of up to `longest` characters.

    Of more than `MOST_NAMES` classes, so many, from the first to the last, as far as can be alike.
    """
    colors, n = [*class_colors(class_names).items()], len(class_names)
    shown = np.linspace(0, n - 1, min(n, MOST_NAMES)).round().astype(int)
    return [
        Line2D([], [], marker="o", markersize=8, linestyle="", color=color, label=label)
        for name, color in (colors[i] for i in shown)
        for label in [" " * name.startswith("_") + shorten(name, longest)]  # "_" would hide it
    ]


def shorten(name, longest):
    """A name in so many characters, in one line."""
    name = " ".join(name.split())
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def scatter(axes, points, labels, class_names, s):
    """Points (n, 2) in their classes' colours, of area `s`, over a faint grid."""
    colors = class_colors(class_names)
    c = [colors[class_names[i]] for i in labels] if class_names else "tab:blue"
    axes.scatter(*points.T, s=s, c=c, linewidths=0)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def zoom(height, width):
    """How many pixels of a figure one of a canvas has: a whole number, as `LONGEST` allows.

    A canvas of more than twice that is shrunk to it.
    """
    longest = max(height, width)
    return max(1, LONGEST // longest) if longest <= 2 * LONGEST else 2 * LONGEST / longest


def _image_figure(title, canvas, extent=None, **around):
    """`_new_figure` of one canvas."""
    size = [round(zoom(*canvas.shape[:2]) * side) for side in canvas.shape[1::-1]]
    figure, axes = _new_figure(title, *size, **around)
    show(axes, canvas, extent)
    return figure, axes


def _new_figure(title, panel_width, panel_height, left=20, right=20, bottom=20, labels=("", "")):
    """A figure with a title and one panel, sizes in pixels, inside margins of whole pixels.

    Panel edges on whole pixels keep an image crisp that is shown at a whole multiple of its size.
    """
    top, aside = 48, max(0, NARROWEST - left - panel_width - right) // 2
    left, right = left + aside, right + aside
    width, height = left + panel_width + right, bottom + panel_height + top
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    panel = (left / width, bottom / height, panel_width / width, panel_height / height)
    axes = figure.add_axes(panel)
    axes.set_xlabel(labels[0], size=12)
    axes.set_ylabel(labels[1], size=12)
    text = figure.text(0.5, 1 - top / 2 / height, title, ha="center", va="center", size=14)
    FigureCanvasAgg(figure)  # which tells how wide a text is
    text.set_size(14 * min(1, (width - 20) / max(1, text.get_window_extent().width)))
    return figure, axes
