"""Tests of common/data/tfds_reader.py: images, labels and class names of data sets of TFDS."""

from unittest.mock import Mock

import common.data.images
import common.data.tfds
from common.data.sources import load_dataset
from common.data.tfds import UnavailableError
from common.program.errors import UserError

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfds_copies import image, prepare, store


def test_images_of_several_sizes_get_one_and_every_seventh_is_held_out(tmp_path):
    rng = np.random.default_rng(0)
    tones = rng.permutation(30) * 8
    images = [np.full((rng.integers(20, 90), 40, 3), tone, np.uint8) for tone in tones]
    store(tmp_path, "walls", {"train": (images,)}, image(None, None, 3))
    data = load_dataset("walls", tmp_path)
    assert (data.image_shape, data.class_names) == ((64, 64, 3), ())
    assert (len(data.train_images), len(data.test_images)) == (26, 4)
    assert data.train_labels is data.test_labels is None
    both = [data.train_images.numpy()[:, 0, 0, 0], data.test_images[:, 9, 9, 2]]
    assert sorted(np.concatenate(both)) == sorted(tones)  # each image once
    stored = tfds.builder_from_directory(tmp_path / "walls" / "1.0.0").as_dataset("train")
    order = [example["image"][0, 0, 0] for example in tfds.as_numpy(stored)]
    np.testing.assert_array_equal(both[1], order[6::7])
    assert all(part in " ".join(data.notes) for part in ("64 x 64", "7th"))
    assert load_dataset("walls", tmp_path, image_size="8x12").image_shape == (8, 12, 3)
    assert load_dataset("walls", tmp_path).fingerprint == data.fingerprint


@pytest.mark.parametrize(("stored", "channels"), [(1, 1), (3, 3), (4, 3)])
def test_images_get_the_nearest_size_with_multiples_of_4(stored, channels, tmp_path):
    images = np.repeat(5 * np.arange(9, dtype=np.uint8), 30 * 21 * stored).reshape(9, 30, 21, -1)
    images[..., 3:] = 255  # opaque
    splits = {"train": (images, range(9)), "test": (images[:3], range(3))}
    label = tfds.features.ClassLabel(names=[f"class {k}" for k in range(9)])
    store(tmp_path, "odd", splits, image(30, 21, stored) | {"label": label})
    data = load_dataset("odd", tmp_path)
    assert data.image_shape == (32, 20, channels)
    assert all(part in data.notes[0] for part in ("30 x 21", "32 x 20"))
    assert (data.train_images.numpy() == 5 * data.train_labels[:, None, None, None]).all()
    assert (data.test_images == 5 * data.test_labels[:, None, None, None]).all()
    assert data.class_names[8] == "class 8"


def test_labels_are_ignored_if_they_are_not_classes_or_some_are_missing(tmp_path):
    images = [np.full((8, 8, 1), k, np.uint8) for k in range(14)]
    age = {"label": tfds.features.Scalar(np.int64)}
    store(tmp_path, "plain", {"train": (images, range(14))}, image(8, 8, 1) | age)
    assert load_dataset("plain", tmp_path).class_names == ()
    splits = {"train": (images, [0, 1] * 7), "test": (images, [-1] * 14)}
    label = {"label": tfds.features.ClassLabel(num_classes=2)}
    store(tmp_path, "unlabelled", splits, image(8, 8, 1) | label)
    data = load_dataset("unlabelled", tmp_path)
    assert data.train_labels is data.test_labels is None
    assert len(data.notes) == 2  # the version, and the classes


SPEECH, DEEP = {"speech": tfds.features.Scalar(np.int64)}, image(8, 8, 1, dtype=np.uint16)
UNUSABLE = [  # split, features, a value, and what the message must name
    ("train", SPEECH, 0, ("`image`", "speech")),
    ("train", DEEP, np.zeros((8, 8, 1), np.uint16), ("`image`", "8 bits")),
    ("test", image(8, 8, 1), np.zeros((8, 8, 1), np.uint8), ("`train`", "test")),
]


@pytest.mark.parametrize(("split", "features", "value", "parts"), UNUSABLE)
def test_an_unusable_data_set_is_refused(split, features, value, parts, tmp_path):
    store(tmp_path, "some", {split: ([value] * 9,)}, features)
    with pytest.raises(UserError) as error:
        load_dataset("some", tmp_path)
    assert all(part in str(error.value) for part in ("some", *parts))


def test_classes_without_images_are_left_out(tmp_path):
    images = [np.full((8, 8, 1), k, np.uint8) for k in range(6)]
    label = {"label": tfds.features.ClassLabel(names=["ant", "bee", "cat", "dog", "eel"])}
    splits = {"train": (images, [1, 3, 3, 1, 3, 3]), "test": (images[:4], [4, 3, 3, 4])}
    store(tmp_path, "animals", splits, image(8, 8, 1) | label)
    data = load_dataset("animals", tmp_path)
    assert data.class_names == ("bee", "dog", "eel")
    names = {0: "bee", 1: "dog", 2: "dog", 3: "bee", 4: "dog", 5: "dog"}
    for tone, label in zip(data.train_images.numpy()[:, 0, 0, 0], data.train_labels, strict=True):
        assert data.class_names[label] == names[tone]
    assert sorted(data.test_labels) == [1, 1, 2, 2]
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert any("2" in note and "classes" in note for note in data.notes)


LETTERS = [*range(65, 91)]  # ASCII codes in the order of the mapping files of EMNIST
MERGED = [*range(48, 58), *LETTERS, 97, 98, 100, 101, 102, 103, 104, 110, 113, 114, 116]
CODES = {  # configuration: number of labels in TFDS, first label, ASCII codes
    "byclass": (62, 0, [*range(48, 58), *LETTERS, *range(97, 123)]),
    "bymerge": (47, 0, MERGED),
    "balanced": (47, 0, MERGED),
    "letters": (37, 1, LETTERS),
    "digits": (10, 0, range(48, 58)),
    "mnist": (10, 0, range(48, 58)),
}


@pytest.mark.parametrize("config", CODES)
def test_emnist_is_upright_and_its_classes_are_characters(config, tmp_path):
    """The images are random, because the real ones cannot be downloaded here."""
    n_labels, first, codes = CODES[config]
    upright = np.random.default_rng(0).integers(0, 256, (len(codes), 28, 28, 1), np.uint8)
    labels = np.arange(first, first + len(codes))
    split = (np.swapaxes(upright, 1, 2), labels)
    label = {"label": tfds.features.ClassLabel(num_classes=n_labels)}
    splits = {"train": split, "test": split}
    store(tmp_path, "emnist", splits, image(28, 28, 1) | label, config=config, version="3.1.0")
    data = load_dataset(f"emnist/{config}", tmp_path)
    assert data.class_names == tuple(map(chr, codes))
    np.testing.assert_array_equal(data.train_images, upright[data.train_labels])
    np.testing.assert_array_equal(data.test_images, upright[data.test_labels])
    left_out = [note for note in data.notes if "left out" in note]
    assert [note for note in left_out if "11" in note] == left_out * (config == "letters")


def test_a_single_file_is_read_in_the_order_of_tfds(tmp_path):
    prepare(tmp_path)
    data = load_dataset("fashion_mnist", tmp_path)
    builder = tfds.builder_from_directory(tmp_path / "fashion_mnist" / "3.0.1")
    sets = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    for split, (images, labels) in zip(("train", "test"), sets, strict=True):
        assert len(builder.info.splits[split].filepaths) == 1
        examples = [*tfds.as_numpy(builder.as_dataset(split))]
        for one, label, example in zip(images, labels, examples, strict=True):
            np.testing.assert_array_equal(one, example["image"])
            assert label == example["label"]


BINARY = {  # features and splits like those in the catalog of TFDS
    "binarized_mnist": ({}, ("train", "validation", "test")),
    "dsprites": ({"label_shape": tfds.features.ClassLabel(num_classes=3)}, ("train",)),
}


@pytest.mark.parametrize("name", BINARY)
def test_images_of_zeros_and_ones_are_read(name, tmp_path):
    features, splits = BINARY[name]
    images = np.random.default_rng(0).integers(0, 2, (14, 8, 8, 1), np.uint8)
    columns = (images, *[[0] * 14] * len(features))
    store(tmp_path, name, dict.fromkeys(splits, columns), image(8, 8, 1) | features)
    data = load_dataset(name, tmp_path)
    assert data.class_names == ()
    held_out = [data.test_images] * (splits == ("train",))
    read = np.concatenate([data.train_images, *held_out]) > 0  # White can be 1 or 255
    assert sorted(map(bytes, read)) == sorted(map(bytes, images > 0))


KINDS = {"several sizes": (None, "png"), "JPEG": (16, "jpeg")}


@pytest.mark.parametrize("kind", KINDS)
def test_array_records_are_read_to_the_same_bits_as_tf_records(kind, tmp_path):
    height, encoding = KINDS[kind]
    rng = np.random.default_rng(0)
    sizes = [(height or 8 + 4 * (k % 3), 16, 3) for k in range(30)]
    images = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    label = {"label": tfds.features.ClassLabel(num_classes=3)}
    features = image(height, 16, 3, encoding_format=encoding) | label
    splits = {"train": (images[:20], [0, 1, 2, 2] * 5), "test": (images[20:], [2, 0] * 5)}
    loaded = []
    for file_format in ("tfrecord", "array_record"):
        store(tmp_path / file_format, "mine", splits, features, file_format=file_format)
        files = (tmp_path / file_format / "mine" / "1.0.0").glob(f"mine-*.{file_format}-*")
        assert len([*files]) == 2
        loaded.append(load_dataset("mine", tmp_path / file_format))
    assert loaded[1].fingerprint == loaded[0].fingerprint
    assert len(loaded[1].train_images) == 20


def test_what_does_not_fit_in_memory_is_not_downloaded(tmp_path, monkeypatch):
    """The information that TFDS would read from the network is that of a prepared copy here."""
    prepare(tmp_path / "web")
    info = tmp_path / "web" / "fashion_mnist" / "3.0.1" / "dataset_info.json"
    info.write_text(info.read_text().replace('"40"', '"49999980"'))  # and 20 test images
    builder = tfds.builder_from_directory(info.parent)
    monkeypatch.setattr(builder, "download_and_prepare", Mock(side_effect=ValueError("begun")))
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder)
    monkeypatch.setattr(common.data.tfds, "_check_network", Mock())
    monkeypatch.setattr(common.data.images, "free_memory", lambda: 40e9)
    with pytest.raises(UserError) as error:
        load_dataset("fashion_mnist", tmp_path)
    assert all(part in str(error.value) for part in ("50,000,000", "47.0 GB", "--image-size"))
    builder.download_and_prepare.assert_not_called()
    assert not (tmp_path / "fashion_mnist").exists()
    with pytest.raises(UnavailableError, match="begun"):
        load_dataset("fashion_mnist", tmp_path, image_size="20x20")
