"""The figure of a comparison: several models side by side."""

import re
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from common import plotting
from common.canvas import show, tile
from common.data.sources import Dataset
from common.latent_plane import GRID_EXTENT, in_plane, square_around

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

# Where the axes of latent space and grid lead, by latent_dim; else to principal components
DIRECTIONS = {1: ("V1 right", "V1, row by row"), 2: ("V1 right, V2 up", "V1 right, V2 down")}
PRINCIPAL_DIRECTIONS = ("PC 1 right, 2 up", "PC 1 right, 2 down")


class Column(NamedTuple):
    """What one column of `show_comparison` shows."""

    title: str  # the model's name
    about: str  # a line below it
    decode: Callable  # from latent vectors (n, latent_dim) to intensities (n, h, w, channels)
    random_vector: np.ndarray  # (64, latent_dim) draws of the prior
    mean: np.ndarray  # (n, latent_dim) means of the test images
    data: Dataset  # theirs
    centres: np.ndarray | None = None  # (K, latent_dim) means of a VampPrior's Gaussians


@plotting.matplotlib_defaults()
def show_comparison(columns):
    """Several `Column`s side by side: random clothes, latent space, latent grid, reconstructions.

    All latent spaces are drawn to one scale and range, with circles at 1, 2 and 3 standard
    deviations of the prior, or the means that make up a VampPrior; up to one point in a thousand
    at each end may lie outside.
    """
    side = 448 if len(columns) < 4 else 224  # 2 x 2 or 1 x 1 pixels for one of a 28 x 28 grid's
    left, gap, right = 52, 26, 12
    places = [left + i * (side + gap) for i in range(len(columns))]
    width = places[-1] + side + right
    zoom = min(max(1, width / 990), 1.5)  # of text, as a page shrinks wide figures
    room, size = (side + gap) / zoom, 15 if len(columns) < 4 else 13
    titles = [re.sub(r" (?=[\d.]+(,|$))", "\xa0", column.title) for column in columns]
    titles = [textwrap.wrap(title, int(room / size * 1.06)) for title in titles]
    abouts = [textwrap.wrap(column.about, int(room / 10)) for column in columns]
    classes = dict.fromkeys(column.data.class_names for column in columns)
    classes = [names for names in classes if names]
    ticks, square = 50 * zoom, [(side, side)] * len(columns)
    most_rows = max([-(-min(len(n), plotting.MOST_NAMES) // 5) for n in classes], default=0)
    legend = 26 * most_rows * zoom
    legends = len(classes) * legend
    contents = [_contents(column) for column in columns]
    sizes = [[_panel(canvas, side) for canvas in found[3:]] for found in contents]
    clothes, grids, pairs = zip(*sizes, strict=True)
    mixed = [column.centres is not None for column in columns]
    prior = ["the prior's 1, 2, 3 sigma"] * (not all(mixed)) + ["x: a VampPrior's"] * any(mixed)
    prior, name = ", ".join(prior), "" if any(mixed) else " N(0, I)"
    rows = (  # heading, sizes of the panels, space below
        (f"Decoded draws of the prior{name}, each in full contrast", clothes, 8 * zoom),
        (f"Means of the test images; {prior}", square, ticks + legends),
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
    longest = max(side // 32, int(width / 42 / zoom) - 4)  # characters of a class, five in a row
    for i, class_names in enumerate(classes):
        figure.legend(
            handles=plotting.class_handles(class_names, longest), ncols=5,
            fontsize=11 * zoom, frameon=False,
            loc="upper center", bbox_to_anchor=(0.5, under - i * legend / height),
            handletextpad=0, columnspacing=1, borderaxespad=0, borderpad=0,
        )  # fmt: skip
    return figure


def _panel(canvas, side):
    """A panel's (width, height): as wide as `side`, and twice as high at most."""
    tall = side * len(canvas) / canvas.shape[1]
    shrink = min(1, 2 * side / tall)
    return side * shrink, tall * shrink


def _contents(column):
    """Points, marks and ends of the latent space, as of `in_plane`, and three canvases.

    Of random clothes, the latent grid, and the first image of each of ten classes (or ten images)
    above its reconstruction.
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
    """Draw what `column` shows, its `_contents`, into its four panels."""
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
    space.ticklabel_format(scilimits=(-2, 3))  # for longer labels there is no room
    space.yaxis.get_offset_text().set_va("top")  # within the panel: above is its heading
    for axes, canvas in zip((clothes, grid, pairs), canvases, strict=True):
        show(axes, canvas, GRID_EXTENT if axes is grid else None)
    clothes.set_axis_off()
    pairs.set_axis_off()
    grid.set(xticks=[], yticks=[])
    directions = DIRECTIONS.get(column.mean.shape[1], PRINCIPAL_DIRECTIONS)
    space.set_xlabel(directions[0], size=11 * zoom)
    grid.set_xlabel(directions[1], size=11 * zoom)
