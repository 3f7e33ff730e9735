"""Write small data sets of TFDS, and check data sets that were loaded."""

from unittest.mock import Mock

from common.data import TITLES
from common.data.sources import load_data

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from support import SCRIPTS

CLASSES = dict.fromkeys(TITLES, "0,1,2,3,4,5,6,7,8,9") | {
    "fashion_mnist": "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
    "cifar10": "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck",
}
CLASS_NAMES = {name: tuple(names.split(",")) for name, names in CLASSES.items()}


def store(data_dir, name, splits, features, **kwargs):
    """Write a TFDS data set. Each of the `splits` has one list of values per feature."""
    kind = tfds.features.FeaturesDict(features)

    def dataset(columns):
        examples = [dict(zip(features, row, strict=True)) for row in zip(*columns, strict=True)]
        return tf.data.Dataset.from_generator(
            lambda: examples, output_signature=kind.get_tensor_spec()
        )

    tfds.dataset_builders.store_as_tfds_dataset(
        name, **{"version": "1.0.0"} | kwargs, data_dir=data_dir, features=kind,
        split_datasets={split: dataset(columns) for split, columns in splits.items()},
    )  # fmt: skip


def image(*shape, dtype=np.uint8, **kwargs):
    """Return a dict with the feature `image`."""
    return {"image": tfds.features.Image(shape=shape, dtype=dtype, **kwargs)}


def prepare(data_dir, name="fashion_mnist", shape=(28, 28, 1), **kwargs):
    """Write a TFDS data set with 40 training and 20 test images, and return all 60 images."""
    images = np.random.default_rng(0).integers(0, 256, (60, *shape), np.uint8)
    names = CLASS_NAMES[name] if name == "fashion_mnist" else None  # MNIST has no file of names
    label = tfds.features.ClassLabel(names=names, num_classes=None if names else 10)
    labels = np.arange(40) % 10
    splits = {"train": (images[:40], labels), "test": (images[40:], labels[:20])}
    store(data_dir, name, splits, image(*shape) | {"label": label}, version="3.0.1", **kwargs)
    return images


def register(monkeypatch, name, **attributes):
    """Make TFDS know a data set called `name`."""
    kind = Mock(VERSION="1.0.0", BUILDER_CONFIGS=[], SUPPORTED_VERSIONS=[])
    kind.configure_mock(name=name, **{"MANUAL_DOWNLOAD_INSTRUCTIONS": None} | attributes)
    builder_cls = tfds.builder_cls
    monkeypatch.setattr(
        tfds, "builder_cls", lambda asked: kind if asked == name else builder_cls(asked)
    )


def load_by_flags(*flags):
    """Return the data set for the flags of a script."""
    return load_data(SCRIPTS["cvae"].get_args([str(word) for word in flags]))


def check(data, name, n_train, n_test, shape=(28, 28, 1)):
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    for (images, labels), n in ((train, n_train), (test, n_test)):
        assert (images.shape, images.dtype) == ((n, *shape), np.uint8)
        assert (labels.shape, labels.dtype) == ((n,), np.int64)
        assert set(labels) == set(range(10))
    assert (data.name, data.title, data.image_shape) == (name, TITLES[name], shape)
    assert data.class_names == CLASS_NAMES[name]
