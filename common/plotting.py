"""The three figures of the original, one of reconstructions and one of several runs.

Each function returns a matplotlib Figure; the figure of one kind has the same size in pixels in
every run, so that two PNGs laid side by side compare like with like.
"""

import textwrap
from collections.abc import Callable
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA

GRID = np.linspace(-4, 4, 16)  # along either axis of the latent grid
_EDGE = 4 + (GRID[1] - GRID[0]) / 2
GRID_EXTENT = (-_EDGE, _EDGE, _EDGE, -_EDGE)  # left, right, bottom, top: V2 runs down
COLORS = matplotlib.colormaps["tab10"].colors


def scale_each(images):
    """Scale each image of (n, h, w) to its own darkest (0) and brightest (1) pixel.

    An image of one intensity throughout becomes 0.
    """
    low = images.min(axis=(1, 2), keepdims=True)
    span = images.max(axis=(1, 2), keepdims=True) - low
    return (images - low) / np.where(span > 0, span, 1)


def tile(images, columns, by_column=False, gutter=0):
    """Lay images out on one canvas.

    Args:
        images: (n, h, w) array within [0, 1], n a multiple of `columns`.
        columns: how many images stand side by side.
        by_column: fill the first column from top to bottom, then the next; else row by row.
        gutter: white pixels between neighbours.

    Returns:
        (rows * h + (rows - 1) * gutter, columns * w + (columns - 1) * gutter) array.
    """
    n, h, w = images.shape
    rows = n // columns
    if by_column:
        images = images.reshape(columns, rows, h, w).transpose(1, 0, 2, 3)
    else:
        images = images.reshape(rows, columns, h, w)
    pads = ((0, 0), (0, 0), (0, gutter), (0, gutter))
    images = np.pad(images, pads, constant_values=1)  # (rows, columns, h + gutter, w + gutter)
    canvas = images.transpose(0, 2, 1, 3).reshape(rows * (h + gutter), columns * (w + gutter))
    return canvas[: canvas.shape[0] - gutter, : canvas.shape[1] - gutter]


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
        lift: function from points (k, 2) of the plane to latent vectors (k, latent_dim).
        labels: what to write at the two axes.
    """
    latent_dim = mean.shape[1]
    if latent_dim == 1:
        labels = ("V1, the only latent dimension", "")
        return np.pad(mean, ((0, 0), (0, 1))), lambda points: points[:, :1], labels
    if latent_dim == 2:
        return mean, lambda points: points, ("V1", "V2")
    with np.errstate(invalid="ignore"):  # means that are all the same have no shares of variance
        pca = PCA(n_components=2, svd_solver="full").fit(mean)
    labels = tuple(f"principal component {i} of {latent_dim} latent dimensions" for i in (1, 2))
    return pca.transform(mean), pca.inverse_transform, labels


def first_of_each_class(labels, classes, n=8):
    """Where the first `n` images of each class are.

    Args:
        labels: (number of images,) integers below `classes`.

    Returns:
        (classes, n) indices into `labels`; -1 at the end of the row of a class with fewer than `n`.
    """
    indices = np.full((classes, n), -1)
    for label in range(classes):
        found = np.flatnonzero(labels == label)[:n]
        indices[label, : len(found)] = found
    return indices


def generate_random_clothes(decode, random_vector, title):
    """64 decoded images, 8 x 8, filled column by column, white gutters, each tile scaled to itself.

    Args:
        decode: function from latent vectors (n, latent_dim) to probabilities (n, 28, 28, 1).
        random_vector: (64, latent_dim) draws of N(0, I).
    """
    canvas = _clothes(decode, random_vector)
    figure, axes = _new_figure(title, *(3 * side for side in canvas.shape))
    _show(axes, canvas)
    return figure


def show_latent_space(mean, labels, class_names, title):
    """The means of the test images, one colour a class; both axes have one scale.

    Args:
        mean: (n, latent_dim) means.
        labels: (n,) integers into `class_names`.
    """
    points, _, axis_labels = latent_plane(np.asarray(mean))
    figure, axes = _new_figure(title, 740, 740, left=84, right=176, bottom=60)
    _scatter(axes, points, labels, class_names, s=9)
    axes.legend(
        handles=_class_handles(class_names),
        title="class",
        fontsize=12,
        title_fontsize=13,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
    )
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, 0.54 * (high - low).max() or 1
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_xlabel(axis_labels[0], size=12)
    axes.set_ylabel(axis_labels[1], size=12)
    if mean.shape[1] > 2:  # the long label stays inside the figure, however long the numbers
        axes.yaxis.set_label_coords(-0.086, 0.5)
    return figure


def show_grid(decode, mean, title):
    """16 x 16 images decoded from a grid over the latent plane; no gutters, intensities absolute.

    V1 runs left to right, V2 from top (-4) to bottom (4).

    Args:
        decode: function from latent vectors (n, latent_dim) to probabilities (n, 28, 28, 1).
        mean: (n, latent_dim) means, which give the plane where latent_dim is not 2.
    """
    _, lift, axis_labels = latent_plane(np.asarray(mean))
    canvas = _grid(decode, lift)
    figure, axes = _new_figure(title, *(2 * side for side in canvas.shape), left=60, bottom=60)
    _show(axes, canvas, GRID_EXTENT)
    axes.set_xlabel(axis_labels[0], size=12)
    axes.set_ylabel(axis_labels[1], size=12)
    return figure


def show_reconstructions(decode, mean, images, labels, class_names, title):
    """The first 8 test images of each class, each above its reconstruction; intensities absolute.

    The classes stand two in a row, in the order of `class_names`. A class with fewer than 8 images
    leaves white what it cannot fill.

    Args:
        decode: function from latent vectors (n, latent_dim) to probabilities (n, 28, 28, 1).
        mean: (n, latent_dim) means of the images.
        images: (n, 28, 28, 1) uint8.
        labels: (n,) integers into `class_names`.
        class_names: ten names.
    """
    indices = first_of_each_class(labels, len(class_names))
    present = indices >= 0
    chosen = indices[present]
    rows = np.ones((len(class_names), 2, 8, 28, 28))
    rows[:, 0][present] = images[chosen, ..., 0] / 255
    rows[:, 1][present] = np.asarray(decode(np.asarray(mean)[chosen]))[..., 0]
    heading, gutter = 12, 6
    blocks = [tile(row.reshape(16, 28, 28), columns=8) for row in rows]  # (56, 224) each
    blocks = np.pad(blocks, ((0, 0), (heading, 0), (0, 0)), constant_values=1)
    canvas = tile(blocks, columns=2, gutter=gutter)  # (364, 454)
    height, width = canvas.shape
    figure, axes = _new_figure(title, 2 * width, 2 * height, bottom=44)
    _show(axes, canvas)
    _, block_height, block_width = blocks.shape
    for i, name in enumerate(class_names):
        x, y = i % 2 * (block_width + gutter), i // 2 * (block_height + gutter) + heading
        axes.text(x, y - 3, name, size=12, va="baseline")
    legend = "upper row: test images; lower row: decoded from their means"
    axes.text(width / 2, height + 6, legend, size=12, ha="center", va="top")
    return figure


class Column(NamedTuple):
    """What one column of `show_comparison` shows.

    Attributes:
        title: the model's name.
        about: a line below it.
        decode: function from latent vectors (n, latent_dim) to probabilities (n, 28, 28, 1).
        random_vector: (64, latent_dim) draws of N(0, I).
        mean: (n, latent_dim) means of the test images.
        labels: (n,) integers into `class_names`.
        images, reconstructions: (m, 28, 28, 1) test images and what the model makes of them.
    """

    title: str
    about: str
    decode: Callable
    random_vector: np.ndarray
    mean: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    images: np.ndarray
    reconstructions: np.ndarray


def show_comparison(columns):
    """Several models side by side: random clothes, latent space, latent grid, reconstructions.

    All latent spaces are drawn to one scale and range, with circles at 1, 2 and 3 standard
    deviations of the prior; up to one point in a thousand at each end may lie outside.

    Args:
        columns: a list of `Column`.
    """
    side = 448 if len(columns) < 4 else 224  # 2 x 2 or 1 x 1 pixels for one of the grid's
    left, gap, right = 52, 26, 12
    width = left + len(columns) * (side + gap) - gap + right
    zoom = min(max(1, width / 990), 1.5)  # of text, as a page shrinks wide figures
    titles = [textwrap.wrap(column.title, int(side / 14 / zoom)) for column in columns]
    abouts = [textwrap.wrap(column.about, int(side / 9.5 / zoom)) for column in columns]
    classes = dict.fromkeys(column.class_names for column in columns)
    ticks, legend = 50 * zoom, 52 * zoom
    legends = len(classes) * legend
    rows = (  # heading, height, space below
        ("Decoded draws of the prior N(0, I), each in full contrast", side, 8 * zoom),
        ("Means of the test images; the prior's 1, 2, 3 sigma", side, ticks + legends),
        ("Decoded points of the latent plane", side, ticks),
        ("Test images above their reconstructions", side * 58 / 298, 12 * zoom),
    )
    below_title, heading = (8 + 27 * max(map(len, titles))) * zoom, 40 * zoom
    top = below_title + (10 + 19 * max(map(len, abouts))) * zoom
    height = top + sum(heading + tall + below for _, tall, below in rows)
    figure = Figure(figsize=(width / 100, height / 100), dpi=200)

    places = [left + i * (side + gap) for i in range(len(columns))]
    panels, y = [], top
    for text, tall, below in rows:
        middle = 1 - (y + heading / 2) / height
        figure.text(left / width, middle, text, va="center", size=11.5 * zoom)
        y += heading + tall
        size = side / width, tall / height
        panels.append([figure.add_axes((x / width, 1 - y / height, *size)) for x in places])
        y += below

    planes = [latent_plane(np.asarray(column.mean)) for column in columns]
    limits = _common_limits([(points, _prior_centre(lift)) for points, lift, _ in planes])
    for i, column in enumerate(columns):
        middle = (places[i] + side / 2) / width
        centred = {"ha": "center", "va": "top"}
        title, about = "\n".join(titles[i]), "\n".join(abouts[i])
        figure.text(middle, 1 - 4 * zoom / height, title, size=15 * zoom, weight="bold", **centred)
        figure.text(middle, 1 - below_title / height, about, size=11 * zoom, **centred)
        _fill_column([row[i] for row in panels], column, planes[i], limits, zoom)
        for axes in (panels[1][i], panels[2][i]):
            axes.xaxis.set_major_locator(MaxNLocator(side // 56, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(side // 56, integer=True))
            axes.tick_params(labelsize=10 * zoom, labelleft=i == 0)
    under = panels[1][0].get_position().y0 - ticks / height
    for i, class_names in enumerate(classes):
        figure.legend(
            handles=_class_handles(class_names), ncols=5, fontsize=11 * zoom, frameon=False,
            loc="upper center", bbox_to_anchor=(0.5, under - i * legend / height),
            handletextpad=0, columnspacing=1, borderaxespad=0, borderpad=0,
        )  # fmt: skip
    return figure


def _fill_column(panels, column, plane, limits, zoom):
    """Draw what `column` shows into its four panels; `plane` is from `latent_plane`."""
    clothes, space, grid, pairs = panels
    points, lift, _ = plane
    _show(clothes, _clothes(column.decode, column.random_vector))
    _scatter(space, points, column.labels, column.class_names, s=3)
    for sigma in (1, 2, 3):
        space.add_patch(Circle(_prior_centre(lift), sigma, fill=False, linewidth=1.2 * zoom))
    space.set(xlim=limits[0], ylim=limits[1])
    _show(grid, _grid(column.decode, lift), GRID_EXTENT)
    both = np.concatenate([column.images, column.reconstructions])[..., 0]
    _show(pairs, tile(both, columns=len(column.images), gutter=2))
    for axes, vertical in ((space, "up"), (grid, "down")):
        axes.set_xlabel(_directions(column.mean.shape[1], vertical), size=11 * zoom)


def _prior_centre(lift):
    """Where the origin of the latent space lies in the plane of `lift`, (2,)."""
    origin, *ends = lift(np.array([[0.0, 0], [1, 0], [0, 1]]))
    return -(np.array(ends) - origin) @ origin


def _common_limits(spaces):
    """Limits of V1 and V2, of one span, around nearly all points of several latent spaces.

    Args:
        spaces: points (n, 2) and the prior's centre (2,) of each; 3 sigma around it stay inside.
    """
    ends = [np.quantile(points, (0.001, 0.999), axis=0) for points, _ in spaces]
    ends += [np.stack([centre - 3, centre + 3]) for _, centre in spaces]
    low, high = np.min(ends, axis=(0, 1)), np.max(ends, axis=(0, 1))
    middle, half = (low + high) / 2, 0.53 * (high - low).max()
    return tuple(zip(middle - half, middle + half, strict=True))


def _directions(latent_dim, vertical):
    """An axis label for both axes; `vertical` says where the second one leads."""
    if latent_dim == 1:
        return "V1 right"
    if latent_dim == 2:
        return f"V1 right, V2 {vertical}"
    return f"PC 1 right, 2 {vertical}"  # principal components


def _clothes(decode, random_vector):
    """The canvas of `generate_random_clothes`, (266, 266)."""
    images = np.asarray(decode(random_vector))[..., 0]
    return tile(scale_each(images), columns=8, by_column=True, gutter=6)


def _grid(decode, lift):
    """The canvas of `show_grid`, (448, 448)."""
    images = np.asarray(decode(lift(latent_grid())))[..., 0]
    return tile(images, columns=len(GRID))


def _show(axes, canvas, extent=None):
    """Show a canvas in absolute grey: with axes where it has an `extent`, else without."""
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
    if extent is None:
        axes.set_axis_off()


def _class_colors(class_names):
    return dict(zip(sorted(class_names), COLORS, strict=False))


def _class_handles(class_names):
    """A dot a class for a legend, in alphabetical order."""
    return [
        Line2D([], [], marker="o", markersize=8, linestyle="", color=color, label=name)
        for name, color in _class_colors(class_names).items()
    ]


def _scatter(axes, points, labels, class_names, s):
    """Points (n, 2) in their classes' colours, of area `s`, over a faint grid."""
    colors = _class_colors(class_names)
    axes.scatter(*points.T, s=s, c=[colors[class_names[i]] for i in labels], linewidths=0)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


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
