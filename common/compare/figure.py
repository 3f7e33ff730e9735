"""The figure of a comparison: several models side by side."""

import textwrap
from collections.abc import Callable
from typing import NamedTuple

from common.data.sources import Dataset
from common.plotting import (
    GRID_EXTENT,
    class_handles,
    clothes_canvas,
    grid_canvas,
    latent_plane,
    matplotlib_defaults,
    scatter,
    show,
    strips,
    tile,
)

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator


class Column(NamedTuple):
    """What one column of `show_comparison` shows.

    Attributes:
        title: the model's name.
        about: a line below it.
        decode: function from latent vectors (n, latent_dim) to intensities (n, h, w, channels).
        random_vector: (64, latent_dim) draws of N(0, I).
        mean: (n, latent_dim) means of the test images.
        data: their common.data.sources.Dataset.
    """

    title: str
    about: str
    decode: Callable
    random_vector: np.ndarray
    mean: np.ndarray
    data: Dataset


@matplotlib_defaults()
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
    classes = dict.fromkeys(column.data.class_names for column in columns)
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

    planes = [_plane(column) for column in columns]
    limits = _common_limits([(points, centre) for points, _, centre in planes])
    for i, column in enumerate(columns):
        middle = (places[i] + side / 2) / width
        centred = {"ha": "center", "va": "top"}
        title, about = "\n".join(titles[i]), "\n".join(abouts[i])
        figure.text(middle, 1 - 4 * zoom / height, title, size=15 * zoom, weight="bold", **centred)
        figure.text(middle, 1 - below_title / height, about, size=11 * zoom, **centred)
        _fill_column([row[i] for row in panels], column, planes[i], limits, zoom)
        panels[2][i].set(xticks=[], yticks=[])
        for axes in (row[i] for row in panels[1 : 2 + (column.mean.shape[1] > 1)]):
            axes.xaxis.set_major_locator(MaxNLocator(side // 56, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(side // 56, integer=True))
            axes.tick_params(labelsize=10 * zoom, labelleft=i == 0)
    under = panels[1][0].get_position().y0 - ticks / height
    for i, class_names in enumerate(classes):
        figure.legend(
            handles=class_handles(class_names), ncols=5, fontsize=11 * zoom, frameon=False,
            loc="upper center", bbox_to_anchor=(0.5, under - i * legend / height),
            handletextpad=0, columnspacing=1, borderaxespad=0, borderpad=0,
        )  # fmt: skip
    return figure


def _fill_column(panels, column, plane, limits, zoom):
    """Draw what `column` shows into its four panels; `plane` is from `_plane`."""
    clothes, space, grid, pairs = panels
    points, lift, centre = plane
    show(clothes, clothes_canvas(column.decode, column.random_vector))
    clothes.set_axis_off()
    scatter(space, points, column.data.test_labels, column.data.class_names, s=3)
    for sigma in (1, 2, 3):
        space.add_patch(Circle(centre, sigma, fill=False, linewidth=1.2 * zoom))
    space.set(xlim=limits[0], ylim=limits[1])
    show(grid, grid_canvas(column.decode, lift), GRID_EXTENT)
    _, firsts = np.unique(column.data.test_labels, return_index=True)  # of each class
    both = [column.data.test_images[firsts] / 255, column.decode(column.mean[firsts])]
    show(pairs, tile(np.concatenate(both), columns=len(firsts), gutter=2))
    pairs.set_axis_off()
    for axes, vertical in ((space, "up"), (grid, "down")):
        axes.set_xlabel(_directions(column.mean.shape[1], vertical), size=11 * zoom)


def _plane(column):
    """The points (n, 2), the lift of `latent_plane`, and where the prior's centre lies, (2,)."""
    points, lift, _ = latent_plane(np.asarray(column.mean))
    if column.mean.shape[1] == 1:
        labels, names = column.data.test_labels, column.data.class_names
        return strips(points, labels, names, height=6 / len(names)), lift, np.zeros(2)
    origin, *ends = lift(np.array([[0.0, 0], [1, 0], [0, 1]]))
    return points, lift, -(np.array(ends) - origin) @ origin


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
        return "V1 right" if vertical == "up" else "V1, row by row"
    if latent_dim == 2:
        return f"V1 right, V2 {vertical}"
    return f"PC 1 right, 2 {vertical}"  # principal components
