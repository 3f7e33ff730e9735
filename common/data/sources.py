"""Data sets in: uint8 images, labels and class names out, whatever their shape."""

import functools
import hashlib
import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from common.data import TITLES, digits, pictures, tfds
from common.data.images import ALIGNMENT
from common.devices.determinism import on_gpu

import numpy as np
import tensorflow as tf

LONGEST_NAME = 80  # bytes
A_TIME = 1000  # images


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set in memory: uint8 images (n, height, width, channels), int64 labels (n,).

    Without classes, labels are None, and class_names empty.
    """

    name: str  # in paths
    title: str  # as in figures
    train_images: tf.Tensor  # once where TensorFlow computes, and nowhere else
    train_labels: np.ndarray | None  # into class_names
    test_images: np.ndarray
    test_labels: np.ndarray | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()  # on what was done to it

    @property
    def image_shape(self):
        """(height, width, channels)."""
        return tuple(self.test_images.shape[1:])

    @functools.cached_property
    def fingerprint(self):
        """Of images, labels and classes, in hexadecimal."""
        digest = hashlib.sha256(repr((self.image_shape, self.class_names)).encode())
        for first in range(0, len(self.train_images), A_TIME):  # a tensor's array is a copy
            digest.update(self.train_images[first : first + A_TIME].numpy())
        for array in (self.train_labels, self.test_images, self.test_labels):
            digest.update(b"none" if array is None else np.ascontiguousarray(array))
        return digest.hexdigest()

    def __repr__(self):
        shape = " x ".join(map(str, self.image_shape))
        n, m, classes = len(self.train_images), len(self.test_images), len(self.class_names)
        return f"<{self.title}: {n:,} + {m:,} images of {shape}, {classes} classes>"


def load_dataset(name, data_dir=None, images=None, image_size=None):
    """Load a `Dataset` whole.

    Args:
        name: "digits", which scikit-learn brings along; or a data set of TFDS with images, such as
            "fashion_mnist" or "emnist/letters", which TFDS downloads and prepares first where it
            is missing. Of no account with `images`.
        data_dir: TFDS's folder; else the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets.
        images: a folder of pictures, to read instead (pictures.load).
        image_size: "HxW" to bring the images to; None: what images.choose_size says.

    Raises:
        UserError: the folder that was named is not there; no such data set in it, and no download
            either, known within seconds; there, but damaged or another one; nothing to train on;
            too much for the memory.
    """
    if images:
        title = Path(images).resolve().name
        train, test, class_names, notes = pictures.load(images, image_size)
    elif name == "digits":
        title = TITLES[name]
        train, test, class_names, notes = digits.load(image_size)
    else:
        title = TITLES.get(name, name)
        train, test, class_names, notes = tfds.load(name, data_dir, image_size)
    with_tensor = _to_tensor(train[0]), *train[1:]
    name = path_name(title if images else name)
    return Dataset(name, title, *with_tensor, *test, class_names, tuple(notes))


def _to_tensor(images):
    """Where TensorFlow computes; on a CPU in the same memory if it can, without a copy."""
    if on_gpu() or images.ctypes.data % ALIGNMENT:
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def path_name(name):
    """A name that is safe in a path: letters, digits and `_-.`, none of the last two in front."""
    safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).lstrip("-.")
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore") or "images"


def load_data(args):
    """Return the Dataset for the flags of a script.

    Without --dataset and --images, it is Fashion-MNIST. If that is not available and the user has
    named no folder of data sets, it is the digits, and a message on stderr says so.

    Raises:
        UserError, OSError: as `load_dataset`.
    """
    try:
        name = args.dataset or "fashion_mnist"
        return load_dataset(name, args.data_dir, args.images, args.image_size)
    except tfds.UnavailableError as error:
        if args.dataset or tfds.named_folder(args.data_dir):
            raise
        print(
            f"{error}\nTraining on scikit-learn's digits instead of Fashion-MNIST.",
            file=sys.stderr,
        )
        return load_dataset("digits", image_size=args.image_size)
