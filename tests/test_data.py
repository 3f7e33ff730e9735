"""common/data.py: the data sets, where they come from, what happens without them, the stream."""

import os
import shutil
import socket
import time

from common import UserError
from common.data import (
    CLASS_NAMES,
    TRAIN_SIZES,
    DatasetUnavailableError,
    load_dataset,
    load_dataset_or_digits,
    shuffled_batches,
    to_float,
)

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

REAL_DATA = os.environ.get("TFDS_DATA_DIR", "")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small TFDS folder of Fashion-MNIST: 40 training and 20 test images."""
    data_dir = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)

    def split(n):
        images = rng.integers(0, 256, (n, 28, 28, 1), np.uint8)
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": np.arange(n) % 10})

    tfds.dataset_builders.store_as_tfds_dataset(
        name="fashion_mnist",
        version="3.0.1",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(names=CLASS_NAMES["fashion_mnist"]),
            }
        ),
        split_datasets={"train": split(40), "test": split(20)},
        data_dir=data_dir,
    )
    return data_dir


@pytest.fixture
def copy(prepared, tmp_path):
    """A copy of that folder to damage, and the folder of its files."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path, tmp_path / "fashion_mnist" / "3.0.1"


@pytest.fixture
def offline(monkeypatch):
    """Every request goes to a port where nobody listens."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)


def check(data, name, n_train, n_test):
    for images, labels, n in (
        (data.train_images, data.train_labels, n_train),
        (data.test_images, data.test_labels, n_test),
    ):
        assert images.shape == (n, 28, 28, 1)
        assert images.dtype == np.uint8
        assert labels.shape == (n,)
        assert labels.dtype == np.int64
        assert set(labels) == set(range(10))
    assert data.name == name
    assert data.class_names == CLASS_NAMES[name]


def test_digits():
    data = load_dataset("digits")
    check(data, "digits", 1500, 297)
    images = np.concatenate([data.train_images, data.test_images])
    centre = images[:, 4:24, 4:24]
    assert images.sum(dtype=int) == centre.sum(dtype=int)  # a margin of four empty pixels
    assert centre.max() == 255
    # each is the picture it was made from: brightness and place agree with the 8 x 8 original
    from sklearn.datasets import load_digits

    coarse = tf.image.resize(centre, (8, 8), "area").numpy()[..., 0] / 255 * 16
    original = load_digits().images
    correlations = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(coarse, original, strict=True)
    ]
    assert min(correlations) > 0.95
    np.testing.assert_array_equal(load_dataset("digits").train_images, data.train_images)


def test_every_data_set_has_a_size_and_ten_classes():
    assert all(len(names) == 10 for names in CLASS_NAMES.values())
    assert CLASS_NAMES.keys() == TRAIN_SIZES.keys()


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
@pytest.mark.skipif(not os.path.isdir(REAL_DATA), reason="TFDS_DATA_DIR has no data")
def test_the_real_data(name, offline):
    if not os.path.isdir(os.path.join(REAL_DATA, name)):
        pytest.skip(f"no {name} there")
    data = load_dataset(name)
    check(data, name, 60_000, 10_000)
    assert np.bincount(data.test_labels).tolist() == (
        [1000] * 10
        if name == "fashion_mnist"
        else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


def test_a_prepared_folder_is_read_from_flag_or_environment(prepared, monkeypatch, offline):
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    from_flag = load_dataset("fashion_mnist", prepared)
    check(from_flag, "fashion_mnist", 40, 20)
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    np.testing.assert_array_equal(load_dataset("fashion_mnist").test_images, from_flag.test_images)


def test_a_missing_data_set_is_prepared_by_tfds(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("common.data._check_network", asked.append)
    with tfds.testing.mock_data(num_examples=70):
        data = load_dataset("mnist", tmp_path)
    check(data, "mnist", 70, 70)
    assert len(asked) == 1
    assert asked[0].startswith("https://")


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_without_a_network_the_error_says_what_was_looked_for_and_the_ways_out(
    name, tmp_path, offline
):
    with pytest.raises(DatasetUnavailableError) as error:
        load_dataset(name, tmp_path)
    for part in (str(tmp_path / name), "--data-dir", "TFDS_DATA_DIR", "--dataset digits"):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_data_dir_that_is_a_file_is_said_to_be_one(tmp_path, offline):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a folder"):
        load_dataset_or_digits(None, tmp_path / "file")


def test_a_network_that_never_answers_is_given_up_in_time(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("https_proxy", address)
        monkeypatch.delenv("no_proxy", raising=False)
        start = time.monotonic()
        with pytest.raises(DatasetUnavailableError):
            load_dataset("fashion_mnist", tmp_path)
        assert time.monotonic() - start < 5


def test_no_name_means_fashion_mnist_or_digits_said_aloud(tmp_path, prepared, capsys, offline):
    assert load_dataset_or_digits(None, prepared).name == "fashion_mnist"
    assert capsys.readouterr().err == ""
    assert load_dataset_or_digits(None, tmp_path).name == "digits"
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "digits instead" in error
    with pytest.raises(DatasetUnavailableError):
        load_dataset_or_digits("fashion_mnist", tmp_path)


def truncate(folder):
    file = next(folder.glob("*-train.tfrecord*"))
    file.write_bytes(file.read_bytes()[:-500])


def drop_last_record(folder):
    file = next(folder.glob("*-test.tfrecord*"))
    records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records[:-1]:
            writer.write(record)


def flip_a_byte(folder):
    file = next(folder.glob("*-train.tfrecord*"))
    content = bytearray(file.read_bytes())
    content[2000] ^= 255
    file.write_bytes(content)


def remove_images(folder):
    next(folder.glob("*-train.tfrecord*")).unlink()


METADATA = ("label.labels.txt", "dataset_info.json", "features.json")
REMOVALS = {f"remove {name}": lambda f, name=name: (f / name).unlink() for name in METADATA}
SCRIBBLES = {
    f"scribble {name}": lambda f, name=name: (f / name).write_text("{\n") for name in METADATA
}
DAMAGES = {
    "truncate": truncate,
    "drop last record": drop_last_record,
    "flip a byte": flip_a_byte,
    "remove images": remove_images,
    **REMOVALS,
    **SCRIBBLES,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_an_error_never_a_substitution(damage, copy):
    data_dir, folder = copy
    check(load_dataset("fashion_mnist", data_dir), "fashion_mnist", 40, 20)
    DAMAGES[damage](folder)
    with pytest.raises(UserError, match="damaged") as error:
        load_dataset_or_digits(None, data_dir)
    assert not isinstance(error.value, DatasetUnavailableError)
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) == 2


def epoch_of(seed, epoch):
    """The batches of four out of 25 images."""
    return shuffled_batches(25, 4, seed, epoch).numpy().tolist()


def test_batches_are_a_shuffle_anew_each_epoch_without_the_short_batch():
    first, again, second, other_seed = (
        epoch_of(0, 1),
        epoch_of(0, 1),
        epoch_of(0, 2),
        epoch_of(1, 1),
    )
    assert first == again
    assert first != second
    assert first != other_seed
    for batches in (first, second, other_seed):
        assert [len(batch) for batch in batches] == [4] * 6
        assert len(set(np.ravel(batches))) == 24  # no image twice
    dropped = {(set(range(25)) - set(np.ravel(epoch_of(0, epoch)))).pop() for epoch in range(20)}
    assert len(dropped) > 5  # another image each time


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_float_scales_to_0_1(dtype):
    x = to_float(tf.range(256), dtype)
    assert x.dtype == dtype
    np.testing.assert_allclose(x, np.arange(256) / 255, rtol=1e-6)
