"""Tests of common/data/tfds.py: find and download data sets of TFDS, and report damages."""

import errno
import http.server
import itertools
import os
import shutil
import socket
import threading
import time
from unittest.mock import Mock

import common.data.tfds
from common.data.sources import load_dataset
from common.data.tfds import UnavailableError
from common.program.errors import UserError

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from support import call, snapshot
from tfds_copies import check, image, load_by_flags, prepare, register, store

REAL_DATA = os.environ.get("TFDS_DATA_DIR", "")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a folder of TFDS with a small Fashion-MNIST."""
    data_dir = tmp_path_factory.mktemp("prepared")
    prepare(data_dir)
    return data_dir


@pytest.fixture(scope="module")
def array_records(tmp_path_factory):
    """Return a folder of TFDS with a small Fashion-MNIST that is stored as ArrayRecord."""
    data_dir = tmp_path_factory.mktemp("array_records")
    prepare(data_dir, file_format="array_record")
    return data_dir


@pytest.fixture
def offline(monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps earlier settings


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


def check_damage(data_dir, pattern, damage):
    (file,) = data_dir.glob(f"fashion_mnist/3.0.1/{pattern}")
    DAMAGES[damage](file)
    before = snapshot(data_dir)
    with pytest.raises(UserError, match="damaged") as error:
        load_by_flags("--data-dir", data_dir)
    assert not isinstance(error.value, UnavailableError)
    assert str(file.parent) in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    assert snapshot(data_dir) == before


@pytest.mark.parametrize(("pattern", "damage"), CASES)
def test_a_damaged_copy_is_an_error_and_is_not_replaced(pattern, damage, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    check_damage(tmp_path, pattern, damage)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_array_records_are_an_error(damage, array_records, tmp_path):
    shutil.copytree(array_records, tmp_path, dirs_exist_ok=True)
    check_damage(tmp_path, "*-train.array_record*", damage)


UNREADABLE = OSError(errno.EIO, "Fault", "a"), tf.errors.PermissionDeniedError(None, None, "Fault")


@pytest.mark.parametrize("error", UNREADABLE)
def test_a_copy_that_cannot_be_read_is_not_called_damaged(error, prepared, monkeypatch, capsys):
    monkeypatch.setattr(tfds, "builder_from_directory", Mock(side_effect=error))
    assert call(lambda _: load_dataset("fashion_mnist", prepared)) == 2
    message = capsys.readouterr().err
    assert "Fault" in message
    assert "damaged" not in message


def test_a_configuration_is_read_and_not_replaced_by_another(tmp_path, monkeypatch):
    configs = [Mock(version=None, supported_versions=[]) for _ in range(2)]
    for tone, name in enumerate(("small", "large")):
        configs[tone].name = name
        splits = dict.fromkeys(("train", "test"), ([np.full((8, 8, 1), 9 * tone, np.uint8)] * 9,))
        store(tmp_path, "letters", splits, image(8, 8, 1), config=name)
    register(monkeypatch, "letters", BUILDER_CONFIGS=configs, default_builder_config=configs[0])
    for name, tone in {"letters": 0, "letters/small": 0, "letters/large": 1}.items():
        assert load_dataset(name, tmp_path).test_images.max() == 9 * tone
    assert load_dataset("letters/large", tmp_path).name == "letters_large"
    shutil.rmtree(tmp_path / "letters" / "large")
    shutil.copytree(tmp_path / "letters" / "small", tmp_path / "letters" / "large")
    with pytest.raises(UserError, match="a copy of letters/small"):
        load_dataset("letters/large", tmp_path)


def tones(data_dir, name, tone, **kwargs):
    """Write a TFDS data set with nine training and nine test images of one shade of grey."""
    splits = dict.fromkeys(("train", "test"), ([np.full((8, 8, 1), tone, np.uint8)] * 9,))
    store(data_dir, name, splits, image(8, 8, 1), **kwargs)


def test_the_named_or_the_newest_version_in_the_data_folder_is_used(tmp_path, offline):
    versions = {"2.0.0": 20, "10.0.0": 100, "9.1.0": 91}
    for version, tone in versions.items():
        tones(tmp_path, "mine", tone, version=version)
    for name, version in {"mine": "10.0.0", "mine:2.0.0": "2.0.0", "mine:9.1.0": "9.1.0"}.items():
        data = load_by_flags("--dataset", name, "--data-dir", tmp_path)
        assert set(data.test_images.flat) == {versions[version]}
        assert data.name == name.replace(":", "_")
        assert f"version {version} of mine" in data.notes
    with pytest.raises(UserError) as error:
        load_dataset("mine:3.0.0", tmp_path)
    assert all(f"mine:{version}" in str(error.value) for version in ("3.0.0", *versions))


def test_an_older_version_is_used_without_the_catalog(tmp_path, monkeypatch, offline):
    tones(tmp_path, "mnist", 7, version="3.0.0")
    monkeypatch.setattr(tfds, "builder_cls", Mock())
    data = load_dataset("mnist", tmp_path)
    assert (data.test_images == 7).all()
    assert (data.name, data.title, data.notes) == ("mnist", "MNIST", ("version 3.0.0 of mnist",))
    tfds.builder_cls.assert_not_called()


@pytest.mark.parametrize("name", ["fashion_mnist:9.9.9", "emnist/letters:0.0.1"])
def test_a_version_that_is_not_offered_is_an_error(name, prepared, monkeypatch):
    monkeypatch.setattr(common.data.tfds, "_check_network", Mock(side_effect=AssertionError))
    with pytest.raises(UserError) as error:
        load_dataset(name, prepared)
    plain = name.partition(":")[0]
    offered = "3.1.0" if plain == "emnist/letters" else "3.0.1"
    assert all(part in str(error.value) for part in (name, f"{plain}:{offered}"))
    assert str(error.value).count(f"{plain}:{offered}") == 1
    assert len(str(error.value).splitlines()) == 2


def test_the_only_configuration_is_used_and_one_of_several_must_be_named(tmp_path, offline):
    tones(tmp_path, "mine", 3, config="plain")
    data = load_dataset("mine", tmp_path)
    assert (data.test_images == 3).all()
    assert data.notes == ("version 1.0.0 of mine/plain",)
    tones(tmp_path, "mine", 2, config="other", version="1.2.0")
    assert (load_dataset("mine/other:1.2.0", tmp_path).test_images == 2).all()
    with pytest.raises(UserError) as error:
        load_dataset("mine", tmp_path)
    assert all(part in str(error.value) for part in ("other", "--dataset mine/", "plain"))
    with pytest.raises(UserError, match=r"mine/other:1\.2\.0, mine/plain:1\.0\.0"):
        load_dataset("mine/nosuch", tmp_path)


def test_a_copied_folder_can_have_a_name_that_tfds_does_not_know(prepared, tmp_path, offline):
    shutil.copytree(prepared / "fashion_mnist", tmp_path / "clothes")
    data = load_dataset("clothes", tmp_path)
    assert data.fingerprint == load_dataset("fashion_mnist", prepared).fingerprint
    assert (data.name, data.notes) == ("clothes", ("version 3.0.1 of fashion_mnist",))
    shutil.copytree(prepared / "fashion_mnist", tmp_path / "mnist")
    with pytest.raises(UserError, match="a copy of fashion_mnist"):
        load_dataset("mnist", tmp_path)
