"""Tests of common/data/: data sets of TFDS, the digits, and the order of training."""

import errno
import http.server
import itertools
import os
import shutil
import socket
import threading
import time
from unittest.mock import Mock

import common.data.batches
import common.data.tfds
from common.data import TITLES
from common.data.batches import gather_images, passes_per_epoch, reader, shuffled_batches
from common.data.sources import load_data, load_dataset
from common.data.tfds import UnavailableError
from common.program.errors import UserError

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits
from support import SCRIPTS, call

REAL_DATA = os.environ.get("TFDS_DATA_DIR", "")
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


def image(*shape, dtype=np.uint8):
    """Return a dict with the feature `image`."""
    return {"image": tfds.features.Image(shape=shape, dtype=dtype)}


def prepare(data_dir, name="fashion_mnist", shape=(28, 28, 1)):
    """Write a TFDS data set with 40 training and 20 test images, and return all 60 images."""
    images = np.random.default_rng(0).integers(0, 256, (60, *shape), np.uint8)
    names = CLASS_NAMES[name] if name == "fashion_mnist" else None  # MNIST has no file of names
    label = tfds.features.ClassLabel(names=names, num_classes=None if names else 10)
    labels = np.arange(40) % 10
    splits = {"train": (images[:40], labels), "test": (images[40:], labels[:20])}
    store(data_dir, name, splits, image(*shape) | {"label": label}, version="3.0.1")
    return images


def register(monkeypatch, name, **attributes):
    """Make TFDS know a data set called `name`."""
    kind = Mock(VERSION="1.0.0", BUILDER_CONFIGS=[], MANUAL_DOWNLOAD_INSTRUCTIONS=None)
    kind.configure_mock(name=name, **attributes)
    builder_cls = tfds.builder_cls
    monkeypatch.setattr(
        tfds, "builder_cls", lambda asked: kind if asked == name else builder_cls(asked)
    )


def load_by_flags(*flags):
    """Return the data set for the flags of a script."""
    return load_data(SCRIPTS["cvae"].get_args([str(word) for word in flags]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a folder of TFDS with a small Fashion-MNIST."""
    data_dir = tmp_path_factory.mktemp("prepared")
    prepare(data_dir)
    return data_dir


@pytest.fixture
def offline(monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps earlier settings


def check(data, name, n_train, n_test, shape=(28, 28, 1)):
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    for (images, labels), n in ((train, n_train), (test, n_test)):
        assert (images.shape, images.dtype) == ((n, *shape), np.uint8)
        assert (labels.shape, labels.dtype) == ((n,), np.int64)
        assert set(labels) == set(range(10))
    assert (data.name, data.title, data.image_shape) == (name, TITLES[name], shape)
    assert data.class_names == CLASS_NAMES[name]


def test_digits_are_enlarged_and_have_a_margin():
    data = load_dataset("digits")
    check(data, "digits", 1500, 297)
    assert repr(data) == "<digits (scikit-learn): 1,500 + 297 images of 28 x 28 x 1, 10 classes>"
    images = np.concatenate([data.train_images, data.test_images])
    centre = images[:, 4:24, 4:24]
    assert images.sum(dtype=int) == centre.sum(dtype=int)  # the margin is empty
    assert centre.max() == 255
    # In coarse resolution, each image agrees with the 8 x 8 original
    coarse = tf.image.resize(centre, (8, 8), "area").numpy().reshape(-1, 64)
    pairs = zip(coarse, load_digits().data, strict=True)
    assert min(np.corrcoef(one, original)[0, 1] for one, original in pairs) > 0.95


COUNTS = dict.fromkeys(("fashion_mnist", "cifar10"), [1000] * 10)
COUNTS["mnist"] = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_real_data_sets_are_complete(name, offline):
    if not os.path.isdir(os.path.join(REAL_DATA, name)):
        pytest.skip(f"TFDS_DATA_DIR has no {name}")
    data, color = load_dataset(name), name == "cifar10"
    check(data, name, 50_000 if color else 60_000, 10_000, (32, 32, 3) if color else (28, 28, 1))
    assert np.bincount(data.test_labels).tolist() == COUNTS[name]
    if color:
        means = data.train_images.numpy().mean(axis=(0, 1, 2)) / 255
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)


@pytest.mark.parametrize(("name", "shape"), [("fashion_mnist", (12, 20, 3)), ("mnist", (8, 28, 1))])
def test_a_prepared_data_set_is_read_from_the_named_folder(
    name, shape, tmp_path, monkeypatch, offline
):
    written = prepare(tmp_path, name, shape)
    assert any(tmp_path.rglob("label.labels.txt")) == (name == "fashion_mnist")
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    data = load_dataset(name, tmp_path)
    check(data, name, 40, 20, shape)
    for read, of in ((data.train_images.numpy(), written[:40]), (data.test_images, written[40:])):
        assert sorted(map(bytes, read)) == sorted(map(bytes, of))  # TFDS shuffles them
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    np.testing.assert_array_equal(load_dataset(name).test_images, data.test_images)


def test_a_missing_data_set_is_downloaded_by_tfds_if_its_host_answers(tmp_path, monkeypatch):
    def builder(name, data_dir):
        prepare(data_dir, name)
        made = tfds.builder_from_directory(data_dir / name / "3.0.1")
        made.download_and_prepare = Mock()
        return made

    monkeypatch.setattr(tfds, "builder", builder)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = Mock()
        threading.Thread(target=server.handle_request, daemon=True).start()  # with status 501
        url = f"http://127.0.0.1:{server.server_port}/"
        register(monkeypatch, "mnist", VERSION="3.0.1", URL=url)
        check(load_dataset("mnist", tmp_path), "mnist", 40, 20)


def test_images_of_several_sizes_get_one_and_every_seventh_is_held_out(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tones = rng.permutation(30) * 8
    images = [np.full((rng.integers(20, 90), 40, 3), tone, np.uint8) for tone in tones]
    register(monkeypatch, "walls")
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
def test_images_get_the_nearest_size_with_multiples_of_4(stored, channels, tmp_path, monkeypatch):
    images = np.repeat(5 * np.arange(9, dtype=np.uint8), 30 * 21 * stored).reshape(9, 30, 21, -1)
    images[..., 3:] = 255  # opaque
    register(monkeypatch, "odd")
    splits = {"train": (images, range(9)), "test": (images[:3], range(3))}
    label = tfds.features.ClassLabel(names=[f"class {k}" for k in range(9)])
    store(tmp_path, "odd", splits, image(30, 21, stored) | {"label": label})
    data = load_dataset("odd", tmp_path)
    assert data.image_shape == (32, 20, channels)
    assert all(part in data.notes[0] for part in ("30 x 21", "32 x 20"))
    assert (data.train_images.numpy() == 5 * data.train_labels[:, None, None, None]).all()
    assert (data.test_images == 5 * data.test_labels[:, None, None, None]).all()
    assert data.class_names[8] == "class 8"


def test_labels_are_ignored_if_they_are_not_classes_or_some_are_missing(tmp_path, monkeypatch):
    images = [np.full((8, 8, 1), k, np.uint8) for k in range(14)]
    register(monkeypatch, "plain")
    age = {"label": tfds.features.Scalar(np.int64)}
    store(tmp_path, "plain", {"train": (images, range(14))}, image(8, 8, 1) | age)
    assert load_dataset("plain", tmp_path).class_names == ()
    register(monkeypatch, "unlabelled")
    splits = {"train": (images, [0, 1] * 7), "test": (images, [-1] * 14)}
    label = {"label": tfds.features.ClassLabel(num_classes=2)}
    store(tmp_path, "unlabelled", splits, image(8, 8, 1) | label)
    data = load_dataset("unlabelled", tmp_path)
    assert data.train_labels is data.test_labels is None
    assert len(data.notes) == 1


SPEECH, DEEP = {"speech": tfds.features.Scalar(np.int64)}, image(8, 8, 1, dtype=np.uint16)
UNUSABLE = [  # split, features, a value, and what the message must name
    ("train", SPEECH, 0, ("`image`", "speech")),
    ("train", DEEP, np.zeros((8, 8, 1), np.uint16), ("`image`", "8 bits")),
    ("test", image(8, 8, 1), np.zeros((8, 8, 1), np.uint8), ("`train`", "test")),
]


@pytest.mark.parametrize(("split", "features", "value", "parts"), UNUSABLE)
def test_an_unusable_data_set_is_refused(split, features, value, parts, tmp_path, monkeypatch):
    register(monkeypatch, "some")
    store(tmp_path, "some", {split: ([value] * 9,)}, features)
    with pytest.raises(UserError) as error:
        load_dataset("some", tmp_path)
    assert all(part in str(error.value) for part in ("some", *parts))


def test_the_user_is_told_what_a_download_requires(tmp_path, monkeypatch):
    register(monkeypatch, "some", MANUAL_DOWNLOAD_INSTRUCTIONS="Register, and\n  wait.")
    with pytest.raises(UserError, match=r"some .* manual.*\n.*Register, and wait"):
        load_dataset("some", tmp_path)
    error = ModuleNotFoundError("No module named 'nosuch'", name="nosuch")
    monkeypatch.setattr(tfds, "builder_cls", Mock(side_effect=error))
    with pytest.raises(UserError, match=r"some .*\n.*pip install nosuch"):
        load_dataset("some", tmp_path)


NEAR = {
    "fashion_mnst": "fashion_mnist", "cifar": "cifar10", "emnist/leters": "emnist/letters",
    "digit": "digits", "MNIST": "mnist", "FashionMNIST": "fashion_mnist", "xqzzwv": "'xqzzwv'",
}  # fmt: skip


@pytest.mark.parametrize(("name", "suggestion"), NEAR.items())
def test_an_unknown_name_gets_suggestions(name, suggestion, tmp_path, offline):
    with pytest.raises(UserError) as error:
        load_dataset(name, tmp_path)
    assert suggestion in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(("name", "silent"), [("fashion_mnist", False), ("mnist", True), (None, 0)])
def test_without_a_network_the_error_comes_soon(name, silent, tmp_path, monkeypatch, offline):
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:  # it never answers
        if silent:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UnavailableError) as error:  # also without a name: a folder is named
            load_by_flags("--data-dir", tmp_path, *["--dataset", name] * bool(name))
    assert time.monotonic() - start < 60
    named = tmp_path / (name or "fashion_mnist"), "--data-dir", "TFDS_DATA_DIR", "--dataset digits"
    assert all(str(part) in str(error.value) for part in named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["--data-dir", "TFDS_DATA_DIR"])
def test_a_named_folder_must_exist(source, tmp_path, monkeypatch):
    folder = str(tmp_path / "typo")
    monkeypatch.setenv("TFDS_DATA_DIR", "." if source == "--data-dir" else folder)
    with pytest.raises(UserError) as error:
        load_by_flags(*["--data-dir", folder] * (source == "--data-dir"))
    assert not isinstance(error.value, UnavailableError)
    assert all(part in str(error.value) for part in (folder, source))
    assert not (tmp_path / "typo").exists()


def test_the_digits_are_used_if_nothing_is_named_and_fashion_mnist_is_missing(
    tmp_path, monkeypatch, capsys, offline
):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    folder = tmp_path / "default"
    monkeypatch.setattr(common.data.tfds, "DEFAULT_FOLDER", str(folder))
    assert load_by_flags().name == "digits"
    error = capsys.readouterr().err
    assert f"Fashion-MNIST is not in {folder}" in error
    assert "digits" in error.splitlines()[-1]
    with pytest.raises(UnavailableError):
        load_by_flags("--dataset", "fashion_mnist")
    prepare(folder)
    capsys.readouterr()
    assert load_by_flags().name == "fashion_mnist"
    assert capsys.readouterr().err == ""


DAMAGES = {
    "truncate": lambda file: os.truncate(file, file.stat().st_size - 500),
    "change a byte": lambda file: file.write_bytes(file.read_bytes().replace(b"PNG", b"PMG", 1)),
    "overwrite": lambda file: file.write_bytes(b"{\n"),
    "remove": os.unlink,
}
CASES = [("*-train.tf*", damage) for damage in DAMAGES] + [("*-test.tf*", "truncate")]
METADATA = ("label.labels.txt", "dataset_info.json", "features.json")
CASES += itertools.product(METADATA, ["remove", "overwrite"])


@pytest.mark.parametrize(("pattern", "damage"), CASES)
def test_a_damaged_copy_is_an_error_and_is_not_replaced(pattern, damage, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.glob(f"fashion_mnist/3.0.1/{pattern}")
    DAMAGES[damage](file)
    with pytest.raises(UserError, match="damaged") as error:
        load_by_flags("--data-dir", tmp_path)
    assert not isinstance(error.value, UnavailableError)
    assert str(file.parent) in str(error.value)
    assert len(str(error.value).splitlines()) == 2


UNREADABLE = OSError(errno.EIO, "Fault", "a"), tf.errors.PermissionDeniedError(None, None, "Fault")


@pytest.mark.parametrize("error", UNREADABLE)
def test_a_copy_that_cannot_be_read_is_not_called_damaged(error, prepared, monkeypatch, capsys):
    monkeypatch.setattr(tfds, "builder_from_directory", Mock(side_effect=error))
    assert call(lambda _: load_dataset("fashion_mnist", prepared)) == 2
    message = capsys.readouterr().err
    assert "Fault" in message
    assert "damaged" not in message


def test_an_epoch_is_as_close_to_the_originals_as_whole_passes_allow():
    passes = {1500: 40, 60_000: 1, 50_000: 1, 25_000: 2, 10**6: 1, 1: 60_000}
    assert [*map(passes_per_epoch, passes)] == [*passes.values()]


@pytest.mark.parametrize("passes", [1, 4])
def test_a_pass_is_a_full_shuffle_without_the_last_short_batch(passes, monkeypatch):
    monkeypatch.setattr(common.data.batches, "EPOCH", passes * 25)
    epochs = [shuffled_batches(25, 4, 3, epoch).numpy() for epoch in range(1, 25 // passes)]
    assert [epoch.shape for epoch in epochs] == [(passes * 6, 4)] * len(epochs)
    orders = np.reshape(epochs, (-1, 24))
    assert all(len(set(order)) == 24 for order in orders)  # no image twice
    assert len(set(map(tuple, orders))) == len(orders)
    assert len({(set(range(25)) - set(order)).pop() for order in orders}) > 5  # images left out
    np.testing.assert_array_equal(shuffled_batches(25, 4, 3, 2), epochs[1])
    assert (shuffled_batches(25, 4, 4, 2).numpy() != epochs[1]).any()
    if passes == 1:  # the documented shuffle
        order = tf.random.experimental.stateless_shuffle(tf.range(25, dtype=tf.int64), seed=(3, 2))
        np.testing.assert_array_equal(order.numpy()[:24], orders[1])


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3), (4, 4, 1)])
def test_images_are_gathered_and_scaled(shape):
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    for indices in (np.zeros(0, int), np.array([8, 0, 0, 5])):
        gathered = gather_images(tf.constant(images), tf.constant(indices))
        np.testing.assert_array_equal(gathered, images[indices])
        for dtype in ("float32", "float64"):
            (x,) = reader(tf.constant(images), dtype)(tf.constant(indices[np.newaxis]))
            assert (gathered.dtype, x.dtype) == (tf.uint8, dtype)
            np.testing.assert_allclose(x, images[indices] / 255, rtol=1e-6)


def test_a_configuration_is_read_and_not_replaced_by_another(tmp_path, monkeypatch):
    configs = [Mock(version=None) for _ in range(2)]
    for tone, name in enumerate(("small", "large")):
        configs[tone].name = name
        splits = dict.fromkeys(("train", "test"), ([np.full((8, 8, 1), tone, np.uint8)] * 9,))
        store(tmp_path, "letters", splits, image(8, 8, 1), config=name)
    register(monkeypatch, "letters", BUILDER_CONFIGS=configs, default_builder_config=configs[0])
    for name, tone in {"letters": 0, "letters/small": 0, "letters/large": 1}.items():
        assert load_dataset(name, tmp_path).test_images.max() == tone
    assert load_dataset("letters/large", tmp_path).name == "letters_large"
    shutil.rmtree(tmp_path / "letters" / "large")
    shutil.copytree(tmp_path / "letters" / "small", tmp_path / "letters" / "large")
    with pytest.raises(UserError, match="a copy of letters/small"):
        load_dataset("letters/large", tmp_path)
