"""Data sets in: uint8 images, labels and class names out, and the order to train in."""

import os
import sys
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

from common import UserError, reason

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock
from sklearn.datasets import load_digits

CLASS_NAMES = {
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "mnist": tuple("0123456789"),
    "digits": tuple("0123456789"),
}
TITLES = {"fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "digits": "digits (scikit-learn)"}
TRAIN_SIZES = {"fashion_mnist": 60_000, "mnist": 60_000, "digits": 1_500}
NETWORK_TIMEOUT = 3  # seconds


class Dataset(NamedTuple):
    """A data set in memory: images uint8 (n, 28, 28, 1), labels int64 (n,) into `class_names`.

    The training images are a tensor, once where TensorFlow computes and nowhere else.
    """

    name: str
    train_images: tf.Tensor
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


class DatasetUnavailableError(UserError):
    """The data set is neither on this machine nor to be had over the network."""


def load_dataset(name, data_dir=None):
    """Load a data set whole.

    Args:
        name: "fashion_mnist" or "mnist", read by TFDS, which downloads and prepares them first
            where they are missing; or "digits", which scikit-learn brings along.
        data_dir: TFDS's folder; else the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Returns:
        Dataset.

    Raises:
        DatasetUnavailableError: not in `data_dir`, and no download either; known within seconds.
        UserError: in `data_dir`, but damaged.
    """
    if name == "digits":
        return _load_digits()
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    data_dir = Path(os.path.expanduser(data_dir))
    folder = data_dir / name / str(tfds.builder_cls(name).VERSION)
    try:
        # Straight from the folder where there is one: tfds.builder might go to the network
        prepared = folder.exists()
        builder = tfds.builder_from_directory(folder) if prepared else _download(name, data_dir)
        train, test = _read(builder, "train"), _read(builder, "test")
        if tuple(builder.info.features["label"].names) != CLASS_NAMES[name]:
            raise ValueError(f"label.labels.txt lacks the class names of {TITLES[name]}")
        if train[0].shape[1:] != (28, 28, 1) or test[0].shape[1:] != (28, 28, 1):
            raise ValueError("its images are not 28 x 28")
    except (UserError, PermissionError, MemoryError):
        raise
    except Exception as error:  # whatever TFDS, TensorFlow, protobuf or json make of bad files
        raise UserError(
            f"the copy of {TITLES[name]} in {folder} is damaged: {reason(error)}.\n"
            "Delete that folder to have it made anew, or point --data-dir to a good copy."
        ) from error
    return _dataset(name, *train, *test)


def load_dataset_or_digits(name, data_dir=None):
    """`load_dataset`, where `name` may be None: Fashion-MNIST if it can be had, else the digits.

    Says on stderr when it goes on with the digits. Raises what `load_dataset` raises.
    """
    if name:
        return load_dataset(name, data_dir)
    try:
        return load_dataset("fashion_mnist", data_dir)
    except DatasetUnavailableError as error:
        print(
            f"{error}\nGoing on with scikit-learn's digits instead: this is not Fashion-MNIST.",
            file=sys.stderr,
        )
        return load_dataset("digits")


def to_float(images, dtype):
    """Intensities 0 to 255 of any shape to a tensor of `dtype` within [0, 1]. R: `/`(255)."""
    return tf.cast(images, dtype) / 255


def gather_images(images, indices):
    """`tf.gather(images, indices)`, also where TensorFlow cannot gather uint8: on a GPU.

    Args:
        images: uint8 (n, 28, 28, 1).
        indices: (m,) integers.

    Returns:
        uint8 (m, 28, 28, 1).
    """
    n, *shape = images.shape
    rows = tf.bitcast(tf.reshape(images, (n, -1, 8)), tf.int64)  # (n, 98), the same memory
    return tf.reshape(tf.bitcast(tf.gather(rows, indices), tf.uint8), (-1, *shape))


def shuffled_batches(n, batch_size, seed, epoch):
    """One epoch's batches of `n` images, in an order that depends on `seed` and `epoch` alone.

    A full shuffle, like R's dataset_shuffle(60000). A last short batch is dropped; the original's
    60,000 images make 600 whole ones.

    Returns:
        int64 (n // batch_size, batch_size), indices of images.
    """
    # int64, because TensorFlow slices int32 on the host even if there is a GPU
    indices = tf.range(n, dtype=tf.int64)
    order = tf.random.experimental.stateless_shuffle(indices, seed=(seed, epoch))
    return tf.reshape(order[: n - n % batch_size], (-1, batch_size))


def _load_digits():
    """The 8 x 8 digits, enlarged to 20 x 20 and centred with 4 pixels around them, as MNIST's are.

    The last 297 of the 1,797 are the test set.
    """
    digits = load_digits()
    images = tf.image.resize(digits.images[..., np.newaxis], (20, 20), "bicubic")
    images = tf.clip_by_value(images / 16 * 255, 0, 255)
    images = tf.pad(images, [[0, 0], [4, 4], [4, 4], [0, 0]])
    images = tf.cast(tf.round(images), tf.uint8)
    labels = tf.constant(digits.target, tf.int64)
    n = TRAIN_SIZES["digits"]
    return _dataset("digits", images[:n], labels[:n], images[n:], labels[n:])


def _read(builder, split):
    """The images and the labels of a split, tensors, in TFDS's order."""
    config = tfds.ReadConfig(try_autocache=False)  # a cache is for who reads twice
    batches = list(builder.as_dataset(split=split, batch_size=1000, read_config=config))
    return tuple(tf.concat([batch[key] for batch in batches], axis=0) for key in ("image", "label"))


def _dataset(name, train_images, train_labels, test_images, test_labels):
    arrays = (tensor.numpy() for tensor in (train_labels, test_images, test_labels))
    return Dataset(name, train_images, *arrays, CLASS_NAMES[name])


def _download(name, data_dir):
    """TFDS's builder after it has downloaded and prepared the data set in `data_dir`."""
    url = tfds.builder_cls(name).URL + "train-images-idx3-ubyte.gz"
    if data_dir.exists() and not data_dir.is_dir():
        raise UserError(f"{data_dir}, where the data sets should be, is not a folder.")
    try:
        _check_network(url)
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / f".{name}.lock"):  # where both scripts start at once, one waits
            builder = tfds.builder(name, data_dir=data_dir)
            builder.download_and_prepare()
    except Exception as error:  # whatever the network or TFDS come up with
        if isinstance(error, OSError) and error.filename:
            raise  # the disk's
        raise DatasetUnavailableError(
            f"no {TITLES[name]} in {data_dir / name}, and it cannot be fetched: {reason(error)}.\n"
            "Give its folder with --data-dir or TFDS_DATA_DIR, or train on --dataset digits."
        ) from error
    return builder


def _check_network(url):
    """Raise OSError unless `url` answers within NETWORK_TIMEOUT: TFDS would try for minutes."""
    outcome = [TimeoutError(f"no answer from {url} within {NETWORK_TIMEOUT} seconds")]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
            outcome[0] = None
        except Exception as error:  # no host, no route, no HTTP
            outcome[0] = OSError(f"no answer from {url} ({getattr(error, 'reason', error)})")

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up knows no time limit
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if outcome[0]:
        raise outcome[0]
