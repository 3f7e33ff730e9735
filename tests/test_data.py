"""common/data/: the data sets, where they come from, what happens without them, the order."""

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
from common.data.batches import gather_images, passes_per_epoch, shuffled_batches, to_float
from common.data.sources import load_dataset, load_dataset_or_digits
from common.data.tfds import UnavailableError
from common.program.errors import UserError

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits
from support import call

REAL_DATA = os.environ.get("TFDS_DATA_DIR", "")
CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
CLASS_NAMES = {name: tuple("0123456789") for name in TITLES}
CLASS_NAMES["fashion_mnist"] = tuple(CLOTHES.split(","))
CIFAR = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
CLASS_NAMES["cifar10"] = tuple(CIFAR.split(","))


def prepare(data_dir, name="fashion_mnist", shape=(28, 28, 1), brightest=255):
    """A small TFDS data set, 40 training and 20 test images; returns all 60."""
    images = np.random.default_rng(0).integers(0, brightest + 1, (60, *shape), np.uint8)

    def split(images):
        labels = np.arange(len(images)) % 10
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})

    names = CLASS_NAMES[name] if name == "fashion_mnist" else None  # as TFDS's own MNIST
    label = tfds.features.ClassLabel(names=names, num_classes=None if names else 10)
    features = {"image": tfds.features.Image(shape=shape), "label": label}
    tfds.dataset_builders.store_as_tfds_dataset(
        name, "3.0.1", data_dir=data_dir,
        split_datasets={"train": split(images[:40]), "test": split(images[40:])},
        features=tfds.features.FeaturesDict(features),
    )  # fmt: skip
    return images


def store(data_dir, name, splits, image, label=None, config=None):
    """A TFDS data set of splits, a dict to lists of images, and of labels where there is `label`.

    `image` and `label` are features of TFDS.
    """
    features = {"image": image} | ({"label": label} if label else {})

    def examples(images, labels=()):
        labels = iter(labels)
        for one in images:
            yield {"image": one} | ({"label": next(labels)} if label else {})

    signature = {name: of.get_tensor_spec() for name, of in features.items()}
    tfds.dataset_builders.store_as_tfds_dataset(
        name, "1.0.0", data_dir=data_dir, config=config,
        split_datasets={
            split: tf.data.Dataset.from_generator(
                lambda images=images: examples(*images), output_signature=signature
            )
            for split, images in splits.items()
        },
        features=tfds.features.FeaturesDict(features),
    )  # fmt: skip


def known(monkeypatch, name, **attributes):
    """Have TFDS know a data set of that name."""
    kind = Mock(VERSION="1.0.0", BUILDER_CONFIGS=[], MANUAL_DOWNLOAD_INSTRUCTIONS=None)
    kind.configure_mock(name=name, **attributes)
    builder_cls = tfds.builder_cls
    monkeypatch.setattr(
        tfds, "builder_cls", lambda asked: kind if asked == name else builder_cls(asked)
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of such a Fashion-MNIST."""
    data_dir = tmp_path_factory.mktemp("prepared")
    prepare(data_dir)
    return data_dir


@pytest.fixture
def offline(monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # made once, of what was set then


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


COUNTS = {"fashion_mnist": [1000] * 10}
COUNTS["cifar10"] = [1000] * 10
COUNTS["mnist"] = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_real_data(name, offline):
    if not os.path.isdir(os.path.join(REAL_DATA, name)):
        pytest.skip(f"TFDS_DATA_DIR has no {name}")
    data = load_dataset(name)
    if name == "cifar10":
        check(data, name, 50_000, 10_000, (32, 32, 3))
        means = data.train_images.numpy().mean(axis=(0, 1, 2)) / 255
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)
    else:
        check(data, name, 60_000, 10_000)
    assert np.bincount(data.test_labels).tolist() == COUNTS[name]


@pytest.mark.parametrize(("name", "shape"), [("fashion_mnist", (12, 20, 3)), ("mnist", (8, 28, 1))])
def test_a_prepared_folder_is_read_wherever_named(name, shape, tmp_path, monkeypatch, offline):
    written = prepare(tmp_path, name, shape)
    assert any(tmp_path.rglob("label.labels.txt")) == (name == "fashion_mnist")  # no MNIST has it
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    data = load_dataset(name, tmp_path)
    check(data, name, 40, 20, shape)
    assert len(repr(data)) < 80
    for read, of in ((data.train_images.numpy(), written[:40]), (data.test_images, written[40:])):
        assert sorted(map(bytes, read)) == sorted(map(bytes, of))  # TFDS shuffles
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    np.testing.assert_array_equal(load_dataset(name).test_images, data.test_images)


def test_a_missing_data_set_is_prepared_by_tfds(tmp_path, monkeypatch):
    asked = []

    def builder(name, data_dir):
        prepare(data_dir, name)
        made = tfds.builder_from_directory(data_dir / name / "3.0.1")
        made.download_and_prepare = lambda: asked.append("prepared")
        return made

    monkeypatch.setattr("common.data.tfds._check_network", asked.append)
    monkeypatch.setattr(tfds, "builder", builder)
    check(load_dataset("mnist", tmp_path), "mnist", 40, 20)
    assert [one.split(":")[0] for one in asked] == ["https", "prepared"]


def test_sizes_that_differ_are_brought_to_one_and_every_seventh_is_held_out(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tones = rng.permutation(30) * 8
    images = [np.full((rng.integers(20, 90), 40, 3), tone, np.uint8) for tone in tones]
    known(monkeypatch, "walls")
    store(tmp_path, "walls", {"train": (images,)}, tfds.features.Image(shape=(None, None, 3)))
    data = load_dataset("walls", tmp_path)
    assert (data.image_shape, data.class_names) == ((64, 64, 3), ())
    assert (len(data.train_images), len(data.test_images)) == (26, 4)
    assert data.train_labels is data.test_labels is None
    assert (data.name, data.title) == ("walls", "walls")
    both = [data.train_images.numpy()[:, 0, 0, 0], data.test_images[:, 9, 9, 2]]
    assert sorted(np.concatenate(both)) == sorted(tones)  # each image once
    stored = tfds.builder_from_directory(tmp_path / "walls" / "1.0.0").as_dataset("train")
    order = [example["image"][0, 0, 0] for example in tfds.as_numpy(stored)]
    np.testing.assert_array_equal(both[1], order[6::7])
    assert len(data.notes) == 2
    assert "several sizes are brought to 64 x 64" in data.notes[0]
    assert "every 7th" in data.notes[1]
    assert load_dataset("walls", tmp_path, image_size="8x12").image_shape == (8, 12, 3)
    assert load_dataset("walls", tmp_path).fingerprint == data.fingerprint


@pytest.mark.parametrize(("stored", "channels"), [(1, 1), (3, 3), (4, 3)])
def test_images_of_a_size_that_is_no_multiple_of_4(stored, channels, tmp_path, monkeypatch):
    images = [np.full((30, 21, stored), 5 * k, np.uint8) for k in range(9)]
    if stored == 4:
        for image in images:
            image[..., 3] = 255  # nothing shines through
    known(monkeypatch, "odd")
    splits = {"train": (images, range(9)), "test": (images[:3], range(3))}
    label = tfds.features.ClassLabel(names=[f"class {k}" for k in range(9)])
    store(tmp_path, "odd", splits, tfds.features.Image(shape=(30, 21, stored)), label)
    data = load_dataset("odd", tmp_path)
    assert data.image_shape == (32, 20, channels)
    assert data.notes == (
        "images of 30 x 21 are brought to 32 x 20, cut at the edges to keep proportions",
    )
    for of, labels in (
        (data.train_images.numpy(), data.train_labels), (data.test_images, data.test_labels)
    ):  # fmt: skip
        assert (of == 5 * labels[:, None, None, None]).all()
    assert data.class_names[8] == "class 8"


def test_labels_that_are_no_classes_and_some_that_are_missing(tmp_path, monkeypatch):
    images = [np.full((8, 8, 1), k, np.uint8) for k in range(14)]
    image = tfds.features.Image(shape=(8, 8, 1))
    known(monkeypatch, "plain")
    age = tfds.features.Scalar(np.int64)
    store(tmp_path, "plain", {"train": (images, range(14))}, image, age)
    assert load_dataset("plain", tmp_path).class_names == ()
    known(monkeypatch, "unlabelled")
    splits = {"train": (images, [0, 1] * 7), "test": (images, [-1] * 14)}
    store(tmp_path, "unlabelled", splits, image, tfds.features.ClassLabel(num_classes=2))
    data = load_dataset("unlabelled", tmp_path)
    assert data.train_labels is data.test_labels is None
    assert "some of its images have no class" in data.notes[0]


UNSUITABLE = {  # what TFDS says of the data set: what is said of it
    "no image": "no feature `image` of 8 bits.*\nIts features are: speech",
    "16 bits": "no feature `image` of 8 bits",
    "no train": "no split `train`; it has test",
    "by hand": "has to be downloaded by hand, to .*manual, and is not there.\n.*Register, and wait",
    "a package": "wants a package: .*\nTry: pip install nosuch",
}


@pytest.mark.parametrize(("case", "said"), UNSUITABLE.items())
def test_a_data_set_that_cannot_be_used_gets_a_line_that_says_why(
    case, said, tmp_path, monkeypatch, offline
):
    known(monkeypatch, "some", MANUAL_DOWNLOAD_INSTRUCTIONS="Register, and\n  wait.")
    image = tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16 if case == "16 bits" else np.uint8)
    images = [np.zeros((8, 8, 1), image.np_dtype)] * 9
    if case == "no image":
        speech = tf.data.Dataset.from_tensor_slices({"speech": np.zeros(9, np.int64)})
        tfds.dataset_builders.store_as_tfds_dataset(
            "some", "1.0.0", data_dir=tmp_path, split_datasets={"train": speech},
            features=tfds.features.FeaturesDict({"speech": np.int64}),
        )  # fmt: skip
    elif case in ("16 bits", "no train"):
        store(tmp_path, "some", {"test" if case == "no train" else "train": (images,)}, image)
    elif case == "a package":
        error = ModuleNotFoundError("No module named 'nosuch'", name="nosuch")
        monkeypatch.setattr(tfds, "builder_cls", Mock(side_effect=error))
    with pytest.raises(UserError, match=f"(?s)some.*{said}") as error:
        load_dataset("some", tmp_path)
    assert len(str(error.value).splitlines()) <= 2


NEAR = {"fashion_mnst": "fashion_mnist", "cifar": "cifar10", "emnist/leters": "emnist/letters",
        "digit": "digits", "MNIST": "mnist", "FashionMNIST": "fashion_mnist",
        "xqzzwv": "no data set 'xqzzwv'"}  # fmt: skip


@pytest.mark.parametrize(("name", "said"), NEAR.items())
def test_an_unknown_name_gets_the_nearest_ones(name, said, tmp_path, offline):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        load_dataset(name, tmp_path)
    assert time.monotonic() - start < 60
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(("name", "silent"), [("fashion_mnist", False), ("mnist", True), (None, 0)])
def test_without_a_network_the_ways_out_are_said(name, silent, tmp_path, monkeypatch, offline):
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:  # which never answers
        if silent:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UnavailableError) as error:  # for no name too: the folder was named
            load_dataset_or_digits(name, tmp_path)
    assert time.monotonic() - start < 60
    assert ("refused" in str(error.value)) != silent
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


def test_where_nothing_is_named_the_digits_stand_in(tmp_path, monkeypatch, capsys, offline):
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


def of_mnist(folder, pattern, name):
    """Files of a darker MNIST beside or, where they are called `name`, in place of these."""
    prepare(folder.parents[1], "mnist", brightest=15)
    for file in (folder.parents[1] / "mnist" / "3.0.1").glob(pattern):
        file.replace(folder / file.name.replace("mnist", name))


def without_last_record(content):
    ends = [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 16 + int.from_bytes(content[ends[-1] :][:8], "little"))
    return content[: ends[-2]]


CHANGES = {  # of a file's bytes
    "truncate": lambda content: content[:-500],
    "flip a byte": lambda content: content[:2000] + b"?" + content[2001:],
    "drop last record": without_last_record,
    "scribble": lambda content: b"{\n",
}
DAMAGES = {  # to a file, or to its folder
    "remove": os.unlink,
    "fifo": lambda file: file.unlink() or os.mkfifo(file),
    "records of mnist": lambda file: of_mnist(file.parent, "*.tfrecord*", "fashion_mnist"),
    "all of mnist": lambda file: of_mnist(file.parent, "*", "mnist"),
}
METADATA = ("label.labels.txt", "dataset_info.json", "features.json")
CASES = [*itertools.product(["*-train.tf*"], CHANGES | DAMAGES), ("*-test.tf*", "drop last record")]
CASES += itertools.product(METADATA, ["remove", "fifo", "scribble"])


@pytest.mark.parametrize(("pattern", "damage"), CASES)
def test_a_damaged_copy_is_an_error_never_a_substitution(pattern, damage, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    check(load_dataset("fashion_mnist", tmp_path), "fashion_mnist", 40, 20)
    (file,) = tmp_path.glob(f"fashion_mnist/3.0.1/{pattern}")
    if damage in CHANGES:
        file.write_bytes(CHANGES[damage](file.read_bytes()))
    else:
        DAMAGES[damage](file)
    with pytest.raises(UserError, match="damaged") as error:
        load_dataset_or_digits(None, tmp_path)
    assert not isinstance(error.value, UnavailableError)
    assert str(file.parent) in str(error.value)
    assert len(str(error.value).splitlines()) == 2


UNREADABLE = {
    OSError(errno.EIO, "Input/output error", "a"): "Input/output error",
    PermissionError(errno.EACCES, "Permission denied", "a"): "Permission denied",
    tf.errors.PermissionDeniedError(None, None, "b; Permission denied"): "cannot be read: b; Perm",
}


@pytest.mark.parametrize("error", UNREADABLE)
def test_what_cannot_be_read_is_not_called_damaged(error, prepared, monkeypatch, capsys):
    monkeypatch.setattr("common.data.tfds._read", Mock(side_effect=error))
    assert call(lambda _: load_dataset("fashion_mnist", prepared)) == 2
    said = capsys.readouterr().err
    assert UNREADABLE[error] in said
    assert "damaged" not in said
    assert "elete" not in said


ODD = {"/tmp/\udcff": "are no UTF-8: give it another name", "~no_one/a": "determine home"}


@pytest.mark.parametrize(("folder", "said"), ODD.items())
def test_a_folder_of_odd_bytes_or_nobodys_in_the_environment(folder, said, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", folder)
    with pytest.raises(UserError, match=said):
        load_dataset("fashion_mnist")


def test_a_server_that_does_not_like_to_be_asked_is_there_all_the_same():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = Mock()
        threading.Thread(target=server.handle_request, daemon=True).start()
        common.data.tfds._check_network(f"http://127.0.0.1:{server.server_port}/")  # 501


def test_passes_come_nearest_to_the_originals_epoch():
    passes = {1500: 40, 60_000: 1, 50_000: 1, 25_000: 2, 10**6: 1, 1: 60_000}
    assert [*map(passes_per_epoch, passes)] == [*passes.values()]


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


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3), (4, 4, 1)])
@pytest.mark.parametrize("indices", [[8, 0, 0, 5], []])
def test_images_are_gathered_and_scaled_to_0_1(shape, indices):
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    gathered = gather_images(tf.constant(images), tf.constant(indices, tf.int64))
    assert gathered.dtype == tf.uint8
    np.testing.assert_array_equal(gathered, images[np.array(indices, int)])
    for dtype in ("float32", "float64"):
        x = to_float(gathered, dtype)
        assert x.dtype == dtype
        np.testing.assert_allclose(x, gathered.numpy() / 255, rtol=1e-6)


def test_a_configuration_is_read_and_another_in_its_place_is_not(tmp_path, monkeypatch):
    configs = [Mock(version=None) for _ in range(2)]
    for tone, (config, name) in enumerate(zip(configs, ("small", "large"), strict=True)):
        config.name = name
        splits = dict.fromkeys(("train", "test"), ([np.full((8, 8, 1), tone, np.uint8)] * 9,))
        store(tmp_path, "letters", splits, tfds.features.Image(shape=(8, 8, 1)), config=name)
    known(monkeypatch, "letters", BUILDER_CONFIGS=configs, default_builder_config=configs[0])
    for name, tone in {"letters": 0, "letters/small": 0, "letters/large": 1}.items():
        assert load_dataset(name, tmp_path).test_images.max() == tone
    assert load_dataset("letters/large", tmp_path).name == "letters_large"
    shutil.rmtree(tmp_path / "letters" / "large")
    shutil.copytree(tmp_path / "letters" / "small", tmp_path / "letters" / "large")
    with pytest.raises(UserError, match="a copy of letters/small"):
        load_dataset("letters/large", tmp_path)
