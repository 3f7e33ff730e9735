"""The test images as points in a feature space, with which all runs on a data set are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common.compare import metrics
from common.compare.judge import Judge, read_judge
from common.compare.records import MOST_IMAGES
from common.data.batches import to_float
from common.data.sources import Dataset
from common.devices.parts import slices

import numpy as np
from sklearn.decomposition import PCA

MOST_PIXELS = 1_024  # of images whose principal components are computed exactly


class Seen(NamedTuple):
    """What is known of n images."""

    points: np.ndarray  # (n, dim), features
    p: np.ndarray  # (n, classes), the judge's probabilities; no columns without a judge
    edges: np.ndarray  # (n,), mean lengths of the gradients


class Reference(NamedTuple):
    """A data set and the points of its test images."""

    data: Dataset
    images: np.ndarray  # test images, uint8 (n, height, width, channels)
    look: Callable  # from an iterable of batches of images in [0, 1] to their Seen
    around: metrics.Manifold  # of the test images
    narrow: metrics.Manifold  # the smaller half of its balls
    edges: float  # mean of the test images' Seen.edges
    judge: Judge | None  # None without classes


def read_reference(data, folder):
    """Return the Reference of a Dataset, whose judge is read from `folder`, or trained."""
    images = data.test_images[:MOST_IMAGES]
    judge = read_judge(data, Path(folder)) if data.class_names else None
    look_at = judge.look if judge else principal_components(images)

    def look(batches):
        found = [(*look_at(batch), metrics.gradient_length(batch)) for batch in batches]
        return Seen(*map(np.concatenate, zip(*found, strict=True)))

    points, _, edges = look(map(to_float32, slices(images)))
    around = metrics.manifold(points)
    narrow, edges = metrics.pruned(around), float(edges.mean(dtype=float))
    return Reference(data, images, look, around, narrow, edges, judge)


def principal_components(images):
    """Return a function from images to the first 50 principal components of their pixels.

    Like Judge.look, it also returns probabilities, but without columns.
    """
    pixels, solver = images.reshape(len(images), -1), "covariance_eigh"
    if pixels.shape[1] > MOST_PIXELS:
        pixels, solver = pixels[:2000], "randomized"  # bounds the memory
    pca = PCA(min(50, *pixels.shape), svd_solver=solver, random_state=0)
    pca.fit(pixels / np.float32(255))
    return lambda found: (pca.transform(found.reshape(len(found), -1)), np.zeros((len(found), 0)))


def to_float32(images):
    """Return the intensities in [0, 1] of uint8 images as a NumPy array."""
    return to_float(images, "float32").numpy()
