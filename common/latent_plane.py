"""Compute the plane that shows a latent space, and the points of the latent grid.

With 2 latent dimensions, the plane is the latent space itself. With more, the first two principal
components of the means span the plane. With 1, only the horizontal axis has a meaning.
"""

from common.names import with_images

import numpy as np
from sklearn.decomposition import PCA

GRID = np.linspace(-4, 4, 16)  # Each axis of the latent grid has these coordinates
_EDGE = 4 + (GRID[1] - GRID[0]) / 2
GRID_EXTENT = (-_EDGE, _EDGE, _EDGE, -_EDGE)  # The left, right, bottom and top edges of the grid


def latent_grid():
    """Return the points (256, 2) of the grid, row by row. V1 increases rightwards, V2 downwards."""
    return np.array([(v1, v2) for v2 in GRID for v1 in GRID])


def latent_plane(mean):
    """Return the plane that shows the means (n, latent_dim) of the test images.

    Returns:
        points: (n, 2) the means in the plane.
        lift: function from points (k, 2) of the plane to latent vectors (k, latent_dim). With one
            latent dimension, it maps the latent grid, row by row, to 256 points from -4 to 4.
        labels: the labels of the two axes.
    """
    latent_dim = mean.shape[1]
    if latent_dim == 1:
        # The rows of the grid form one long line, so one step in V2 equals 16 steps in V1
        weights = np.array([[1], [len(GRID)]]) / (len(GRID) + 1)
        labels = "V1, the only latent dimension", ""
        return np.pad(mean, ((0, 0), (0, 1))), lambda points: points @ weights, labels
    if latent_dim == 2:
        return mean, lambda points: points, ("V1", "V2")
    with np.errstate(invalid="ignore"):  # If all means are equal, PCA divides 0 by 0
        pca = PCA(n_components=2, svd_solver="full").fit(mean)
    labels = tuple(f"principal component {i} of {latent_dim} latent dimensions" for i in (1, 2))
    return pca.transform(mean), pca.inverse_transform, labels


def project(z, lift):
    """Project latent vectors (n, latent_dim) to points (n, 2) in the plane of `lift`."""
    if z.shape[1] == 1:
        return np.pad(z, ((0, 0), (0, 1)))  # (n, 1) to (n, 2)
    origin, *ends = lift(np.array([[0.0, 0], [1, 0], [0, 1]]))
    return (z - origin) @ (np.array(ends) - origin).T


def strips(points, labels, class_names, height=1):
    """Spread points (n, 2) with one latent dimension over one horizontal strip per class.

    From top to bottom, the strips have the same order as the legend. They are centred at 0, and
    each strip fills 80 % of `height`. Within a strip, each point is higher than the previous point,
    so that few points overlap.
    Classes without points have no strip.
    """
    points = points.copy()
    if not class_names:
        points[:, 1] = height * np.linspace(-0.4, 0.4, len(points))
        return points
    shown = with_images(labels, class_names)
    middle = (len(shown) - 1) / 2
    for place, name in enumerate(shown):
        (found,) = np.nonzero(labels == class_names.index(name))
        points[found, 1] = height * (np.linspace(-0.4, 0.4, len(found)) + middle - place)
    return points


def in_plane(mean, labels, class_names, centres=None):
    """Return the points, marks and limits that a comparison shows for one latent space.

    Returns:
        points: (n, 2) the means in the plane, in strips if there is one latent dimension.
        marks: (K, 2) the `centres` in the plane, or (1, 2) the origin for N(0, I).
        ends: (2, 2) the lowest and highest coordinates to show. 0.1 % of the points exceed each.
        lift, labels: as from `latent_plane`.
    """
    points, lift, axis_labels = latent_plane(mean)
    if mean.shape[1] == 1:
        classes = len(np.unique(labels)) if class_names else 1
        points = strips(points, labels, class_names, height=6 / classes)
    marks = project(np.zeros((1, mean.shape[1])) if centres is None else centres, lift)
    reach = 3 if centres is None else 0
    ends = [*np.quantile(points, (0.001, 0.999), axis=0), *(marks - reach), *(marks + reach)]
    return points, marks, np.array([np.min(ends, axis=0), np.max(ends, axis=0)]), lift, axis_labels


def square_around(ends):
    """Return the centre (2,) and half the side of a square that contains several panels.

    `ends` (k, 2, 2) are the lowest and highest coordinates of k panels.
    """
    low, high = np.min(ends, axis=(0, 1)), np.max(ends, axis=(0, 1))
    return (low + high) / 2, 0.53 * (high - low).max()
