"""Load the data set of a run from scikit-learn, TFDS or a folder of pictures."""

import functools
import hashlib
import os
import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from common.data import TITLES, digits, pictures, tfds
from common.data.images import ALIGNMENT, choose_size, scale_binary, warn_of_little_signal
from common.devices.determinism import on_gpu
from common.devices.parts import slices

import numpy as np
import tensorflow as tf

LONGEST_NAME = 80  # bytes


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set in memory: uint8 images (n, height, width, channels) and int64 labels (n,)."""

    name: str  # for paths
    title: str  # for figures
    train_images: tf.Tensor  # If there is a GPU, these images are only in its memory
    train_labels: np.ndarray | None  # indices into class_names, or None if there are no classes
    test_images: np.ndarray
    test_labels: np.ndarray | None
    class_names: tuple[str, ...]  # This tuple is empty if there are no classes
    notes: tuple[str, ...] = ()  # messages for the user about how the images were loaded
    unreadable: int = 0  # number of unreadable pictures that were skipped

    @property
    def image_shape(self):
        """Return the shape (height, width, channels) of one image."""
        return tuple(self.test_images.shape[1:])

    @functools.cached_property
    def fingerprint(self):
        """Return a SHA-256 hash of all images, labels and class names as hexadecimal digits."""
        digest = hashlib.sha256(repr((self.image_shape, self.class_names)).encode())
        # The method `numpy` copies the images. Copying one slice at a time needs less memory
        for images in slices(self.train_images):
            digest.update(images.numpy())
        for array in (self.train_labels, self.test_images, self.test_labels):
            digest.update(b"none" if array is None else np.ascontiguousarray(array))
        return digest.hexdigest()

    def __repr__(self):
        shape = " x ".join(map(str, self.image_shape))
        n, m, classes = len(self.train_images), len(self.test_images), len(self.class_names)
        return f"<{self.title}: {n:,} + {m:,} images of {shape}, {classes} classes>"


def load_data(args):
    """Return the Dataset that the flags of a script select. The default is Fashion-MNIST.

    If Fashion-MNIST is not available and the user has not named a data set or a folder, load the
    digits instead. Raises the same exceptions as `load_dataset`.
    """
    name = args.dataset or "fashion_mnist"
    sizes = {"image_size": args.image_size, "convolutions": len(args.filters)}
    more = {"skip_unreadable": args.skip_unreadable}
    try:
        return load_dataset(name, args.data_dir, args.images, **sizes, **more)
    except tfds.UnavailableError as error:
        if args.dataset or args.data_dir or os.environ.get("TFDS_DATA_DIR"):
            raise
        print(f"{error}\nTraining on the digits instead of Fashion-MNIST.", file=sys.stderr)
        return load_dataset("digits", **sizes)


def load_dataset(
    name, data_dir=None, images=None, image_size=None, skip_unreadable=False, convolutions=2
):
    """Load the data set called `name`, or the folder of pictures `images` if it is given.

    Args:
        name: "digits", or a data set of TFDS with images, such as "fashion_mnist" or
            "emnist/letters", which TFDS downloads if it is missing. Ignored with `images`.
        data_dir: the folder of TFDS. The default is the environment variable TFDS_DATA_DIR, or
            else ~/tensorflow_datasets.
        images: a folder of pictures to load instead.
        image_size: "HxW", the size to resize images to. If it is None, images keep their size or
            get the nearest valid one, and images of several sizes get 64 x 64.
        skip_unreadable: leave out pictures that cannot be read, instead of raising UserError.
        convolutions: the number of convolutions of the encoder, on which the valid sizes depend.

    Raises:
        UserError: the folder or the data set does not exist, cannot be downloaded, is damaged,
            cannot be used for training, or does not fit in memory.
        OSError: a folder or a file cannot be read.
    """
    unreadable = 0
    choose = functools.partial(choose_size, image_size=image_size, convolutions=convolutions)
    if images:
        title = Path(images).resolve().name
        *loaded, unreadable = pictures.load(images, choose, skip_unreadable)
    elif name == "digits":
        title, loaded = TITLES[name], digits.load(choose)
    else:
        title, loaded = TITLES.get(name, name), tfds.load(name, data_dir, choose)
    (train_images, train_labels), test, class_names, notes = loaded
    notes = *notes, *scale_binary([train_images, test[0]])
    warn_of_little_signal(train_images, title)
    name, train_images = path_name(title if images else name), _to_tensor(train_images)
    classes = train_labels, *test, class_names
    return Dataset(name, title, train_images, *classes, notes, unreadable)


def _to_tensor(images):
    """Convert an array of images to a tensor, without copying the images if possible."""
    if on_gpu() or images.ctypes.data % ALIGNMENT:
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def path_name(name):
    """Return a valid folder name, with "_" in place of characters such as "/" and spaces."""
    safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).lstrip("-.")
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore") or "images"
