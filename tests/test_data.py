"""common/data/: the data sets, where they come from, what happens without them, the order."""

import os
import shutil
import socket
import time

import common.data.batches
import common.data.tfds
from common.data import TITLES
from common.data.batches import gather_images, passes_per_epoch, shuffled_batches, to_float
from common.data.sources import load_dataset, load_dataset_or_digits
from common.data.tfds import UnavailableError
from common.files import UserError

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

REAL_DATA = os.environ.get("TFDS_DATA_DIR", "")
CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
CLASS_NAMES = {name: tuple("0123456789") for name in TITLES}
CLASS_NAMES["fashion_mnist"] = tuple(CLOTHES.split(","))


def prepare(data_dir, name="fashion_mnist", shape=(28, 28, 1), brightest=255):
    """A small TFDS data set, 40 training and 20 test images; returns all 60."""
    images = np.random.default_rng(0).integers(0, brightest + 1, (60, *shape), np.uint8)

    def split(images):
        labels = np.arange(len(images)) % 10
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})

    label = tfds.features.ClassLabel(names=CLASS_NAMES[name])
    features = {"image": tfds.features.Image(shape=shape), "label": label}
    tfds.dataset_builders.store_as_tfds_dataset(
        name, "3.0.1",
        data_dir=data_dir,
        split_datasets={"train": split(images[:40]), "test": split(images[40:])},
        features=tfds.features.FeaturesDict(features),
    )  # fmt: skip
    return images


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of such a Fashion-MNIST."""
    data_dir = tmp_path_factory.mktemp("prepared")
    prepare(data_dir)
    return data_dir


@pytest.fixture
def copy(prepared, tmp_path):
    """A copy of that folder to damage, and the folder of its files."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path, tmp_path / "fashion_mnist" / "3.0.1"


def ask(monkeypatch, address):
    """Have every request go to an address."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{address}")
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.fixture
def offline(monkeypatch):
    ask(monkeypatch, "127.0.0.1:9")  # where nobody listens


def check(data, name, n_train, n_test, shape=(28, 28, 1)):
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    for (images, labels), n in ((train, n_train), (test, n_test)):
        assert (images.shape, images.dtype) == ((n, *shape), np.uint8)
        assert (labels.shape, labels.dtype) == ((n,), np.int64)
        assert set(labels) == set(range(10))
    assert (data.name, data.title, data.image_shape) == (name, TITLES[name], shape)
    assert data.class_names == CLASS_NAMES[name]


def test_digits():
    data = load_dataset("digits")
    check(data, "digits", 1500, 297)
    assert repr(data) == "<digits (scikit-learn): 1,500 + 297 images of 28 x 28 x 1, 10 classes>"
    images = np.concatenate([data.train_images, data.test_images])
    centre = images[:, 4:24, 4:24]
    assert images.sum(dtype=int) == centre.sum(dtype=int)  # a margin of four empty pixels
    assert centre.max() == 255
    # each is the picture it was made from: brightness and place agree with the 8 x 8 original
    coarse = tf.image.resize(centre, (8, 8), "area").numpy().reshape(-1, 64)
    pairs = zip(coarse, load_digits().data, strict=True)
    assert min(np.corrcoef(one, original)[0, 1] for one, original in pairs) > 0.95


COUNTS = {
    "fashion_mnist": [1000] * 10,
    "mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_data(name, offline):
    if not os.path.isdir(os.path.join(REAL_DATA, name)):
        pytest.skip(f"TFDS_DATA_DIR has no {name}")
    data = load_dataset(name)
    check(data, name, 60_000, 10_000)
    assert np.bincount(data.test_labels).tolist() == COUNTS[name]


def test_a_prepared_folder_is_read_from_flag_or_environment(prepared, monkeypatch, offline):
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    from_flag = load_dataset("fashion_mnist", prepared)
    check(from_flag, "fashion_mnist", 40, 20)
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    np.testing.assert_array_equal(load_dataset("fashion_mnist").test_images, from_flag.test_images)


@pytest.mark.parametrize("shape", [(12, 20, 3), (5, 7, 1)])
def test_images_of_another_shape(shape, tmp_path, offline):
    images = prepare(tmp_path, shape=shape)
    data = load_dataset("fashion_mnist", tmp_path)
    check(data, "fashion_mnist", 40, 20, shape)
    assert len(repr(data)) < 80
    for read, written in (
        (data.train_images.numpy(), images[:40]),
        (data.test_images, images[40:]),
    ):
        assert sorted(map(bytes, read)) == sorted(map(bytes, written))  # TFDS shuffles


def test_a_missing_data_set_is_prepared_by_tfds(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("common.data.tfds._check_network", asked.append)
    with tfds.testing.mock_data(num_examples=70):
        data = load_dataset("mnist", tmp_path)
    check(data, "mnist", 70, 70)
    assert len(asked) == 1
    assert asked[0].startswith("https://")


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", None])
def test_without_a_network_the_error_says_what_was_looked_for_and_the_ways_out(
    name, tmp_path, offline
):
    with pytest.raises(UnavailableError) as error:  # for no name too: the folder was named
        load_dataset_or_digits(name, tmp_path)
    folder = str(tmp_path / (name or "fashion_mnist"))
    for part in (folder, "--data-dir", "TFDS_DATA_DIR", "--dataset digits"):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["typo", "file"])
@pytest.mark.parametrize("source", ["--data-dir", "TFDS_DATA_DIR"])
def test_a_folder_that_is_named_has_to_be_there(source, path, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    folder = str(tmp_path / path)
    monkeypatch.setenv("TFDS_DATA_DIR", "." if source == "--data-dir" else folder)
    with pytest.raises(UserError, match=f"no folder {folder}, which {source} names") as error:
        load_dataset_or_digits(None, folder if source == "--data-dir" else None)
    assert not isinstance(error.value, UnavailableError)
    assert not (tmp_path / "typo").exists()


def test_where_nothing_is_named_the_digits_stand_in_said_aloud(
    tmp_path, monkeypatch, capsys, offline
):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    folder = tmp_path / "default"
    monkeypatch.setattr(common.data.tfds, "DEFAULT_FOLDER", str(folder))
    assert load_dataset_or_digits(None).name == "digits"
    error = capsys.readouterr().err
    assert f"no Fashion-MNIST in {folder}" in error
    assert error.endswith("digits instead: this is not Fashion-MNIST.\n")
    with pytest.raises(UnavailableError):
        load_dataset_or_digits("fashion_mnist")
    prepare(folder)
    capsys.readouterr()
    assert load_dataset_or_digits(None).name == "fashion_mnist"
    assert capsys.readouterr().err == ""
    folder.rename(tmp_path / "elsewhere")
    folder.touch()
    with pytest.raises(UserError, match="not a folder"):
        load_dataset_or_digits(None)


def test_a_network_that_never_answers_is_given_up_in_time(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ask(monkeypatch, f"127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(UnavailableError):
            load_dataset("fashion_mnist", tmp_path)
        assert time.monotonic() - start < 60


def rewrite(split, change):
    """A damage: the records of a split, bytes that `change` changes."""

    def damage(folder):
        file = next(folder.glob(f"*-{split}.tfrecord*"))
        file.write_bytes(change(file.read_bytes()))

    return damage


def without_last_record(content):
    ends = [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 16 + int.from_bytes(content[ends[-1] :][:8], "little"))
    return content[: ends[-2]]


def of_mnist(folder, pattern, name):
    """Files of a darker MNIST beside or, where they are called `name`, in place of these."""
    prepare(folder.parents[1], "mnist", brightest=15)
    for file in (folder.parents[1] / "mnist" / "3.0.1").glob(pattern):
        file.replace(folder / file.name.replace("mnist", name))


def fifo(file):
    file.unlink()
    os.mkfifo(file)


METADATA = ("label.labels.txt", "dataset_info.json", "features.json")
DAMAGES = {
    "truncate": rewrite("train", lambda content: content[:-500]),
    "flip a byte": rewrite("train", lambda content: content[:2000] + b"?" + content[2001:]),
    "drop last record": rewrite("test", without_last_record),
    "records of mnist": lambda folder: of_mnist(folder, "*.tfrecord*", "fashion_mnist"),
    "all of mnist": lambda folder: of_mnist(folder, "*", "mnist"),
    "remove images": lambda folder: next(folder.glob("*-train.tfrecord*")).unlink(),
    "fifo of images": lambda folder: fifo(next(folder.glob("*-train.tfrecord*"))),
    **{f"fifo {name}": lambda f, name=name: fifo(f / name) for name in METADATA},
    **{f"remove {name}": lambda f, name=name: (f / name).unlink() for name in METADATA},
    **{f"scribble {name}": lambda f, name=name: (f / name).write_text("{\n") for name in METADATA},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_an_error_never_a_substitution(damage, copy):
    data_dir, folder = copy
    check(load_dataset("fashion_mnist", data_dir), "fashion_mnist", 40, 20)
    DAMAGES[damage](folder)
    with pytest.raises(UserError, match="damaged") as error:
        load_dataset_or_digits(None, data_dir)
    assert not isinstance(error.value, UnavailableError)
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) == 2


PASSES = {1500: 40, 60_000: 1, 50_000: 1, 25_000: 2, 10**6: 1, 1: 60_000}


@pytest.mark.parametrize("n", PASSES)
def test_passes_come_nearest_to_the_originals_epoch(n):
    assert passes_per_epoch(n) == PASSES[n]


@pytest.mark.parametrize("passes", [1, 4])
def test_an_epoch_is_whole_shuffles_without_the_short_batch(passes, monkeypatch):
    monkeypatch.setattr(common.data.batches, "EPOCH", passes * 25)
    epochs = [shuffled_batches(25, 4, 3, epoch).numpy() for epoch in range(1, 25 // passes)]
    assert [epoch.shape for epoch in epochs] == [(passes * 6, 4)] * len(epochs)
    orders = np.reshape(epochs, (-1, 24))
    assert all(len(set(order)) == 24 for order in orders)  # no image twice
    assert len(set(map(tuple, orders))) == len(orders)
    assert len({(set(range(25)) - set(order)).pop() for order in orders}) > 5  # dropped
    np.testing.assert_array_equal(shuffled_batches(25, 4, 3, 2), epochs[1])
    assert (shuffled_batches(25, 4, 4, 2).numpy() != epochs[1]).any()
    if passes == 1:  # the very shuffle of seed and epoch
        order = tf.random.experimental.stateless_shuffle(tf.range(25, dtype=tf.int64), seed=(3, 2))
        np.testing.assert_array_equal(order.numpy()[:24], orders[1])


@pytest.mark.parametrize("shape", [(28, 28, 1), (4, 2, 3), (5, 3, 1), (1, 1, 1)])
def test_gather_images(shape):
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    for indices in ([8, 0, 0, 5], []):
        gathered = gather_images(tf.constant(images), tf.constant(indices, tf.int64))
        assert gathered.dtype == tf.uint8
        np.testing.assert_array_equal(gathered, images[np.array(indices, int)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_float_scales_to_0_1(dtype):
    x = to_float(tf.range(256), dtype)
    assert x.dtype == dtype
    np.testing.assert_allclose(x, np.arange(256) / 255, rtol=1e-6)
