"""Draw the figure of a comparison, with one column per model."""

import re
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from common import plotting
from common.canvas import show, tile
from common.data.sources import Dataset
from common.latent_plane import GRID_EXTENT, in_plane, square_around
from common.names import add_fonts, drawable, with_images
from common.names import width as columns_of

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

# These axis labels are for 1, 2, and more than 2 latent dimensions
SPACE = ("V1 right", "V1 right, V2 up", "PC 1 right, 2 up")
GRID = ("V1, row by row", "V1 right, V2 down", "PC 1 right, 2 down")


class Column(NamedTuple):
    title: str
    about: str  # below the title
    decode: Callable  # This maps latent vectors (n, latent_dim) to images (n, h, w, c) in [0, 1]
    random_vector: np.ndarray  # (64, latent_dim)
    mean: np.ndarray  # (n, latent_dim), of test images
    data: Dataset
    centres: np.ndarray | None = None  # (K, latent_dim), of a VampPrior


@plotting.matplotlib_defaults()
def show_comparison(columns):
    """Return a matplotlib Figure that shows a list of Columns.

    All plots of latent spaces have the same axis limits. At most 0.1 % of the points are beyond
    each limit.
    Circles show 1, 2 and 3 standard deviations of N(0, I), and crosses show a
    VampPrior's means.
    """
    # A latent grid with 16 x 16 images of 28 x 28 pixels is 448 pixels wide
    side, size = (448, 15) if len(columns) < 4 else (224, 13)
    left, gap, right = 52, 26, 12
    places = [left + i * (side + gap) for i in range(len(columns))]
    width = places[-1] + side + right
    zoom = min(max(1, width / 990), 1.5)  # Wide figures need larger text, because pages shrink them
    room = (side + gap) / zoom
    add_fonts(*[text for column in columns for text in (column.title, column.about)])
    titles = [re.sub(r" (?=[\d.]+(,|$))", "\xa0", drawable(column.title)) for column in columns]
    titles = [_lines(title, room / size * 1.06) for title in titles]
    abouts = [_lines(drawable(column.about), room / 10) for column in columns]
    classes = _classes(columns)
    ticks, square = 50 * zoom, [(side, side)] * len(columns)
    most = min(max(map(len, classes.values()), default=0), plotting.MOST_NAMES)
    legend = 26 * -(-most // 5) * zoom
    contents = [_contents(column) for column in columns]
    sizes = [[_panel(canvas, side) for canvas in found[3:]] for found in contents]
    clothes, grids, pairs = zip(*sizes, strict=True)
    mixed = [column.centres is not None for column in columns]
    prior = ["the prior's 1, 2, 3 sigma"] * (not all(mixed)) + ["x: a VampPrior's"] * any(mixed)
    prior, name = ", ".join(prior), "" if any(mixed) else " N(0, I)"
    rows = (  # title, panel sizes, space below
        (f"Decoded draws of the prior{name}, each in full contrast", clothes, 8 * zoom),
        (f"Means of the test images; {prior}", square, ticks + len(classes) * legend),
        ("Decoded points of the latent plane", grids, ticks),
        ("Test images above their reconstructions", pairs, 12 * zoom),
    )
    below_title, heading = (8 + 27 * max(map(len, titles))) * zoom, 40 * zoom
    y = below_title + (10 + 19 * max(map(len, abouts))) * zoom
    height = y + sum(heading + max(tall for _, tall in sizes) + below for _, sizes, below in rows)
    figure = Figure(figsize=(width / 100, height / 100), dpi=200)
    for text, sizes, below in rows:
        middle = 1 - (y + heading / 2) / height
        figure.text(left / width, middle, text, va="center", size=11.5 * zoom)
        for x, (wide, tall) in zip(places, sizes, strict=True):
            x, bottom = x + (side - wide) / 2, 1 - (y + heading + tall) / height
            figure.add_axes((x / width, bottom, wide / width, tall / height))
        y += heading + max(tall for _, tall in sizes) + below
    middle, half = square_around([ends for _, _, ends, *_ in contents])
    limits = tuple(zip(middle - half, middle + half, strict=True))
    for i, column in enumerate(columns):
        centred = {"x": (places[i] + side / 2) / width, "ha": "center", "va": "top"}
        title, about = "\n".join(titles[i]), "\n".join(abouts[i])
        figure.text(y=1 - 4 * zoom / height, s=title, size=size * zoom, weight="bold", **centred)
        figure.text(y=1 - below_title / height, s=about, size=11 * zoom, **centred)
        panels = figure.axes[i :: len(columns)]
        _fill_column(panels, column, contents[i], limits, zoom)
        for axes in panels[1 : 2 + (column.mean.shape[1] > 1)]:
            axes.xaxis.set_major_locator(MaxNLocator(side // 56, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(side // 56, integer=True))
            axes.tick_params(labelsize=10 * zoom, labelleft=i == 0)
    under = figure.axes[len(columns)].get_position().y0 - ticks / height
    longest = max(side // 32, int(width / 42 / zoom) - 4)  # characters per name
    for i, (class_names, shown) in enumerate(classes.items()):
        handles = plotting.class_handles(class_names, shown, longest)
        _add_legend(figure, handles, (0.5, under - i * legend / height), 11 * zoom)
    return figure


def _lines(text, columns):
    """Split a text into lines that are at most about `columns` Latin letters wide."""
    return textwrap.wrap(text, max(1, int(columns * (len(text) / columns_of(text)))))


def _classes(columns):
    """Return a dict. It maps the class names of a data set to its classes with test images."""
    found = {}
    for data in [column.data for column in columns if column.data.class_names]:
        found.setdefault(data.class_names, set()).update(data.test_labels)
    return {names: with_images([*labels], names) for names, labels in found.items()}


def _add_legend(figure, handles, place, size):
    """Add a legend with five names per row. Reduce the font size if the legend does not fit."""
    legend = figure.legend(
        handles=handles, ncols=5, loc="upper center", bbox_to_anchor=place, fontsize=size,
        frameon=False, handletextpad=0, columnspacing=1, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    FigureCanvasAgg(figure)  # matplotlib can measure a legend only if the figure has a canvas
    if (share := 0.98 * figure.bbox.width / legend.get_window_extent().width) < 0.98:
        legend.remove()
        _add_legend(figure, handles, place, share * size)


def _panel(canvas, side):
    """Return the width and height of the panel for a canvas. The height is at most `2 * side`."""
    tall = side * len(canvas) / canvas.shape[1]
    shrink = min(1, 2 * side / tall)
    return side * shrink, tall * shrink


def _contents(column):
    """Return `points`, `marks` and `ends` from `in_plane`, and three canvases.

    The canvases show decoded draws, the latent grid, and test images with their reconstructions.
    """
    labels, names = column.data.test_labels, column.data.class_names
    points, marks, ends, lift, _ = in_plane(column.mean, labels, names, column.centres)
    clothes = plotting.clothes_canvas(column.decode, column.random_vector)
    images = column.data.test_images
    firsts = np.unique(labels, return_index=True)[1] if names else np.arange(len(images))
    firsts = firsts[: plotting.MOST_BLOCKS]
    both = [images[firsts] / 255, column.decode(column.mean[firsts])]
    pairs = tile(np.concatenate(both), columns=len(firsts), gutter=2)
    return points, marks, ends, clothes, plotting.grid_canvas(column.decode, lift), pairs


def _fill_column(panels, column, contents, limits, zoom):
    """Draw the contents of a column into its four panels. `_contents` returns the contents."""
    clothes, space, grid, pairs = panels
    points, marks, _, *canvases = contents
    of_points = 3 if len(points) > 1000 else 12
    plotting.scatter(space, points, column.data.test_labels, column.data.class_names, of_points)
    if column.centres is None:
        for sigma in (1, 2, 3):
            space.add_patch(Circle(marks[0], sigma, fill=False, linewidth=1.2 * zoom))
    else:
        plotting.mark(space, marks, zoom)
    space.set(xlim=limits[0], ylim=limits[1])
    space.ticklabel_format(scilimits=(-2, 3))  # Longer labels do not fit
    space.yaxis.get_offset_text().set_va("top")  # inside the panel
    for axes, canvas in zip((clothes, grid, pairs), canvases, strict=True):
        show(axes, canvas, GRID_EXTENT if axes is grid else None)
    clothes.set_axis_off()
    pairs.set_axis_off()
    grid.set(xticks=[], yticks=[])
    kind = min(column.mean.shape[1], 3) - 1
    space.set_xlabel(SPACE[kind], size=11 * zoom)
    grid.set_xlabel(GRID[kind], size=11 * zoom)
