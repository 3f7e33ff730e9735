"""The data set of a run, from scikit-learn, TFDS or a folder of pictures."""

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
from common.devices.parts import slices

import numpy as np
import tensorflow as tf

LONGEST_NAME = 80  # bytes


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set in memory: uint8 images (n, height, width, channels) and int64 labels (n,)."""

    name: str  # in paths
    title: str  # in figures
    train_images: tf.Tensor  # on the GPU if there is one, and nowhere else
    train_labels: np.ndarray | None  # indices into class_names; None without classes
    test_images: np.ndarray
    test_labels: np.ndarray | None
    class_names: tuple[str, ...]  # empty without classes
    notes: tuple[str, ...] = ()  # what was done to the images

    @property
    def image_shape(self):
        """Return (height, width, channels)."""
        return tuple(self.test_images.shape[1:])

    @functools.cached_property
    def fingerprint(self):
        """Return a hexadecimal digest of images, labels and class names."""
        digest = hashlib.sha256(repr((self.image_shape, self.class_names)).encode())
        for images in slices(self.train_images):  # because `numpy` copies the images
            digest.update(images.numpy())
        for array in (self.train_labels, self.test_images, self.test_labels):
            digest.update(b"none" if array is None else np.ascontiguousarray(array))
        return digest.hexdigest()

    def __repr__(self):
        shape = " x ".join(map(str, self.image_shape))
        n, m, classes = len(self.train_images), len(self.test_images), len(self.class_names)
        return f"<{self.title}: {n:,} + {m:,} images of {shape}, {classes} classes>"


def load_data(args):
    """Return the Dataset for the flags of a script. Raise the errors of `load_dataset`.

    Without --dataset and --images, it is Fashion-MNIST. If that is not available and the user has
    named no folder of data sets, it is the digits, and a message on stderr says so.
    """
    name = args.dataset or "fashion_mnist"
    try:
        return load_dataset(name, args.data_dir, args.images, args.image_size)
    except tfds.UnavailableError as error:
        if args.dataset or tfds.named_folder(args.data_dir):
            raise
        print(f"{error}\nTraining on the digits instead of Fashion-MNIST.", file=sys.stderr)
        return load_dataset("digits", image_size=args.image_size)


def load_dataset(name, data_dir=None, images=None, image_size=None):
    """Return a Dataset.

    Args:
        name: "digits", or a data set of TFDS with images, such as "fashion_mnist" or
            "emnist/letters", which TFDS downloads if it is missing. Ignored with `images`.
        data_dir: the folder of TFDS. The default is the environment's TFDS_DATA_DIR, or else
            ~/tensorflow_datasets.
        images: a folder of pictures to load instead.
        image_size: "HxW", the size to resize images to. If it is None, images keep their size or
            get the nearest valid one, and images of several sizes get 64 x 64.

    Raises:
        UserError: the folder or the data set does not exist, cannot be downloaded, is damaged,
            cannot be used for training, or does not fit in memory.
        OSError: a folder or a file cannot be read.
    """
    if images:
        title, loaded = Path(images).resolve().name, pictures.load(images, image_size)
    elif name == "digits":
        title, loaded = TITLES[name], digits.load(image_size)
    else:
        title, loaded = TITLES.get(name, name), tfds.load(name, data_dir, image_size)
    (train_images, train_labels), test, class_names, notes = loaded
    train = _to_tensor(train_images), train_labels
    name = path_name(title if images else name)
    return Dataset(name, title, *train, *test, class_names, tuple(notes))


def _to_tensor(images):
    """Return images as a tensor, which shares their memory on a CPU if that is aligned."""
    if on_gpu() or images.ctypes.data % ALIGNMENT:
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def path_name(name):
    """Return a name of letters, digits, "_", "-" and ".", which does not start with "-" or "."."""
    safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).lstrip("-.")
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore") or "images"
