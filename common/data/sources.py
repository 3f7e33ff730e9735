"""Data sets in: uint8 images, labels and class names out, whatever their shape."""

import sys
from dataclasses import dataclass

from common.data import TITLES, digits, tfds

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set in memory: uint8 images (n, height, width, channels), int64 labels (n,)."""

    name: str  # as in --dataset, and in paths
    title: str  # as in figures
    train_images: tf.Tensor  # once where TensorFlow computes, and nowhere else
    train_labels: np.ndarray  # into class_names
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def image_shape(self):
        """(height, width, channels)."""
        return tuple(self.test_images.shape[1:])

    def __repr__(self):
        shape = " x ".join(map(str, self.image_shape))
        n, m, classes = len(self.train_images), len(self.test_images), len(self.class_names)
        return f"<{self.title}: {n:,} + {m:,} images of {shape}, {classes} classes>"


def load_dataset(name, data_dir=None):
    """Load a `Dataset` whole.

    Args:
        name: "fashion_mnist" or "mnist", read by TFDS, which downloads and prepares them first
            where they are missing; or "digits", which scikit-learn brings along.
        data_dir: TFDS's folder; else the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        UserError: the folder that was named is not there; no such data set in it, and no download
            either, known within seconds; there, but damaged or another one.
    """
    if name == "digits":
        train, test, class_names = digits.load()
    else:
        train, test, class_names = tfds.load(name, data_dir)
    arrays = train[0], train[1].numpy(), test[0].numpy(), test[1].numpy()
    return Dataset(name, TITLES[name], *arrays, class_names)


def load_dataset_or_digits(name, data_dir=None):
    """`load_dataset`, where `name` may be None: Fashion-MNIST if it can be had, else the digits.

    Says on stderr when it goes on with the digits, which it does where no folder was named either.
    Raises what `load_dataset` raises.
    """
    try:
        return load_dataset(name or "fashion_mnist", data_dir)
    except tfds.UnavailableError as error:
        if name or tfds.named_folder(data_dir):
            raise
        print(
            f"{error}\nGoing on with scikit-learn's digits instead: this is not Fashion-MNIST.",
            file=sys.stderr,
        )
        return load_dataset("digits")
