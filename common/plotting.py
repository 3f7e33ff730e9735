"""Draw the figures of a run: the original's three figures, reconstructions, and pseudo-inputs.

For all runs on one data set, figures of the same kind have the same size. The only exception is a
figure with fewer than 64 pseudo-inputs. Each is a matplotlib Figure. The functions share these
arguments:

    decode: function from latent vectors (n, latent_dim) to images (n, height, width, channels) with
        intensities in [0, 1].
    random_vector: (64, latent_dim) draws from the prior.
    mean: (n, latent_dim) means of the test images.
    labels: (n,) integers into class_names, or None without classes.
    class_names: tuple of names in label order, empty without classes.
"""

import contextlib
import math
import warnings

from common.canvas import scale_each, show, tile, zoom
from common.data.folders import natural
from common.latent_plane import GRID, GRID_EXTENT, latent_grid, latent_plane, project, strips
from common.names import add_fonts, drawable, shorten, texts_of, width, with_images

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

MOST_NAMES = 20  # A legend shows at most this many classes
MOST_BLOCKS = 10  # The figure of reconstructions shows at most this many classes
NARROWEST = 620  # A figure is at least this many pixels wide, so that its title fits


@contextlib.contextmanager
def matplotlib_defaults():
    """Replace the user's matplotlib settings with the defaults in a block or a function."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False  # The name of a class may contain "$"
        warnings.filterwarnings("ignore", "Glyph .* missing")  # Bold fonts may lack some letters
        yield


@matplotlib_defaults()
def save_figure(figure, file):
    """Write a figure as a PNG file. Raise OSError if the file cannot be written."""
    FigureCanvasAgg(figure).print_png(file)


# The figures of a run ---------------------------------------------------------


@matplotlib_defaults()
def generate_random_clothes(decode, random_vector, title):
    """Return a figure of 64 images decoded from draws of the prior, each in full contrast."""
    return _image_figure(title, clothes_canvas(decode, random_vector))[0]


@matplotlib_defaults()
def show_latent_space(mean, labels, class_names, title, centres=None):
    """Return a scatter plot of the means, with one colour per class and equal scales on both axes.

    With one latent dimension, the plot has one strip per class. Crosses mark `centres`, the means
    (K, latent_dim) of the Gaussians of a VampPrior.
    """
    latent_dim = mean.shape[1]
    points, lift, axis_labels = latent_plane(mean)
    if latent_dim == 1:
        points = strips(points, labels, class_names)
    right = 176 if class_names else 20  # A legend needs 156 pixels
    figure, axes = _new_figure(title, 740, 740, left=84, right=right, bottom=60, labels=axis_labels)
    scatter(axes, points, labels, class_names, s=9)
    if class_names:
        shown = with_images(labels, class_names)
        n = len(shown)
        axes.legend(
            handles=class_handles(class_names, shown, 15), title_fontsize=13, frameon=False,
            fontsize=12 if max(map(width, shown)) <= 12 else 9,
            title=f"{MOST_NAMES} of {n} classes" if n > MOST_NAMES else "class",
            loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
        )  # fmt: skip
    if centres is not None:
        marks = project(centres, lift)
        mark(axes, marks)
        points = np.concatenate([points, marks])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, 0.54 * (high - low)
    half = np.maximum(half, 0.5) if latent_dim == 1 else half.max() or 1
    xlim, ylim = zip(middle - half, middle + half, strict=True)
    axes.set(xlim=xlim, ylim=ylim)
    if latent_dim == 1:
        axes.set_yticks([])
    if latent_dim > 2:  # Long tick labels must not push the axis label out of the figure
        axes.yaxis.set_label_coords(-0.086, 0.5)
    return figure


@matplotlib_defaults()
def show_grid(decode, mean, title):
    """Return a figure of the images decoded from the 16 x 16 points of the latent grid.

    Both coordinates range from -4 to 4. V1 increases from left to right, and V2 from top to bottom.
    """
    _, lift, axis_labels = latent_plane(mean)
    canvas = grid_canvas(decode, lift)
    figure, axes = _image_figure(title, canvas, GRID_EXTENT, left=60, bottom=60, labels=axis_labels)
    axes.locator_params("y", integer=True)  # Long tick labels would hide the axis label
    if mean.shape[1] == 1:
        axes.set_xticks([])
        axes.set_yticks(GRID, [f"{v:.1f}" for v in lift(latent_grid()[:: len(GRID)])[:, 0]])
        axes.set_xlabel("V1 from -4 to 4, row by row, left to right")
        axes.set_ylabel("V1 where a row begins")
        axes.tick_params("y", labelsize=8)
    return figure


@matplotlib_defaults()
def show_reconstructions(decode, mean, images, labels, class_names, title):
    """Return a figure of the first 8 test images per class, each above its reconstruction.

    The first ten classes with test images are shown, two per row, in the order of `class_names`.
    Without classes, the first 80 images are shown. `images` are uint8 (n, height, width, channels).
    """
    if not class_names:
        labels = np.arange(len(images)) // 8  # (n,) Each group of 8 images is treated as a class
    shown = np.unique(labels)[:MOST_BLOCKS]
    n, found = len(shown), [np.flatnonzero(labels == label)[:8] for label in shown]
    present = np.arange(8) < np.array([[len(of_class)] for of_class in found])  # (n, 8)
    chosen = np.concatenate(found)
    rows = np.ones((n, 2, 8, *images.shape[1:]))
    rows[:, 0][present] = images[chosen] / 255
    rows[:, 1][present] = decode(mean[chosen])
    gutter, blocks = 6, [tile(np.concatenate(row), columns=8) for row in rows]
    # This is the size of a figure pixel in canvas pixels
    pixel = 1 / zoom(*tile(np.array(blocks), columns=2, gutter=gutter).shape[:2])
    heading = math.ceil(24 * pixel) if class_names else 0
    blocks = np.pad(blocks, ((0, 0), (heading, 0), (0, 0), (0, 0)), constant_values=1)
    canvas = tile(blocks, columns=2, gutter=gutter)
    figure, axes = _image_figure(title, canvas, bottom=44)
    down, across = np.add(blocks.shape[1:3], gutter)  # These are the distances between blocks
    add_fonts(*class_names)
    texts = texts_of(class_names)
    for i, label in enumerate(shown if class_names else ()):
        x, y = i % 2 * across, i // 2 * down + heading
        text = shorten(texts[class_names[label]], 40)
        axes.text(x, y - 6 * pixel, text, size=12, va="baseline")
    height, width, _ = canvas.shape
    legend = "upper row: test images; lower row: decoded from their means"
    axes.text(width / 2, height + 12 * pixel, legend, size=12, ha="center", va="top")
    return figure


@matplotlib_defaults()
def show_pseudo_inputs(pseudo_inputs, title):
    """Return a figure of the first 64 pseudo-inputs (K, height, width, channels)."""
    return _image_figure(title, tile(np.asarray(pseudo_inputs)[:64], columns=8, gutter=6))[0]


def draw_figures(decode, mean, random_vector, data, title, centres=None, pseudo_inputs=None):
    """Draw all figures of an epoch, and return a dict from the kind to the figure."""
    images, labels, class_names = data.test_images, data.test_labels, data.class_names
    figures = {
        "clothes": generate_random_clothes(decode, random_vector, title),
        "latentspace": show_latent_space(mean, labels, class_names, title, centres),
        "grid": show_grid(decode, mean, title),
        "reconstructions": show_reconstructions(decode, mean, images, labels, class_names, title),
    }
    if pseudo_inputs is not None:
        figures["pseudo_inputs"] = show_pseudo_inputs(pseudo_inputs, title)
    return figures


# Parts of figures -------------------------------------------------------------


def clothes_canvas(decode, random_vector):
    """Return the image array that `generate_random_clothes` shows."""
    return tile(scale_each(decode(random_vector)), columns=8, by_column=True, gutter=6)


def grid_canvas(decode, lift):
    """Return the image array that `show_grid` shows."""
    return tile(decode(lift(latent_grid())), columns=len(GRID))


def class_colors(class_names):
    """Return a dict from class names to colours, in alphabetical and numeric order."""
    n, maps = len(class_names), matplotlib.colormaps
    few = maps["tab10" if n <= 10 else "tab20"].colors
    colors = few[:n] if n <= 20 else maps["turbo"](np.linspace(0, 1, n))
    return dict(zip(sorted(class_names, key=natural), colors, strict=True))


def class_handles(class_names, shown, longest):
    """Return the legend entries for at most MOST_NAMES of the classes in `shown`.

    If `shown` is longer, the chosen classes are evenly spaced in `shown`. Names have at most
    `longest` characters.
    """
    add_fonts(*class_names)
    colors, texts, n = class_colors(class_names), texts_of(class_names), len(shown)
    places = np.linspace(0, n - 1, min(n, MOST_NAMES)).round().astype(int)
    dot, handles = {"marker": "o", "markersize": 8, "linestyle": ""}, []
    for name in (shown[place] for place in places):
        text = shorten(texts[name], longest)
        # Without the space, matplotlib would hide a label that starts with "_"
        label = " " * text.startswith("_") + text
        handles.append(Line2D([], [], color=colors[name], label=label, **dot))
    return handles


def mark(axes, marks, zoom=1):
    """Draw a cross at each of the means (K, 2) of a VampPrior's Gaussians."""
    axes.scatter(*marks.T, s=40 * zoom, c="black", marker="x", linewidths=zoom)


def scatter(axes, points, labels, class_names, s):
    """Draw points (n, 2) with the area `s` in the colours of their classes, on a light grid."""
    colors = class_colors(class_names)
    c = [colors[class_names[i]] for i in labels] if class_names else "tab:blue"
    axes.scatter(*points.T, s=s, c=c, linewidths=0)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _image_figure(title, canvas, extent=None, **around):
    """Return a figure that shows one canvas, and its axes. Without `extent`, hide the axes."""
    size = [round(zoom(*canvas.shape[:2]) * side) for side in canvas.shape[1::-1]]
    figure, axes = _new_figure(title, *size, **around)
    show(axes, canvas, extent)
    if extent is None:
        axes.set_axis_off()
    return figure, axes


def _new_figure(title, panel_width, panel_height, left=20, right=20, bottom=20, labels=("", "")):
    """Return a figure with a title and one panel, and the panel's axes. All sizes are in pixels."""
    top, aside = 48, max(0, NARROWEST - left - panel_width - right) // 2
    left, right = left + aside, right + aside
    width, height = left + panel_width + right, bottom + panel_height + top
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    panel = (left / width, bottom / height, panel_width / width, panel_height / height)
    axes = figure.add_axes(panel)
    axes.set_xlabel(labels[0], size=12)
    axes.set_ylabel(labels[1], size=12)
    add_fonts(title)
    title = drawable(title)
    text = figure.text(0.5, 1 - top / 2 / height, title, ha="center", va="center", size=14)
    FigureCanvasAgg(figure)  # matplotlib can measure a title only if the figure has a canvas
    # The width does not change smoothly. matplotlib's smallest font size is 1
    while text.get_window_extent().width > width - 20 and text.get_size() > 1:
        text.set_size(0.95 * text.get_size())
    return figure, axes
