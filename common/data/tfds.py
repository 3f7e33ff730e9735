"""Data sets that TensorFlow Datasets reads, or downloads and prepares first."""

import os
import threading
import urllib.request
from pathlib import Path

from common.data import TITLES
from common.files import UserError, reason

import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock

NETWORK_TIMEOUT = 3  # seconds
DEFAULT_FOLDER = "~/tensorflow_datasets"
CLASS_NAMES, CLASSES_HAVE_NAMES = "label.labels.txt", {"fashion_mnist"}
RECORD_FRAME = 16  # bytes around each record of a TFRecord file


class UnavailableError(UserError):
    """The data set is neither on this machine nor to be had over the network."""


def named_folder(data_dir):
    """The folder that the user named, by flag or environment, if any."""
    return data_dir or os.environ.get("TFDS_DATA_DIR")


def load(name, data_dir=None):
    """What digits.load returns; args and what is raised are those of sources.load_dataset."""
    folder = Path(named_folder(data_dir) or DEFAULT_FOLDER).expanduser()
    if named_folder(data_dir) and not folder.is_dir():
        source = "--data-dir" if data_dir else "TFDS_DATA_DIR"
        what = "mend that, or make the folder to have data sets downloaded there"
        raise UserError(f"there is no folder {folder}, which {source} names: {what}.")
    prepared = folder / name / str(tfds.builder_cls(name).VERSION)
    try:
        # Straight from the folder where there is one: tfds.builder might go to the network
        builder = _open(prepared) if prepared.exists() else _download(name, folder)
        _check(builder, name)
        train, test = _read(builder, "train"), _read(builder, "test")
        class_names = tuple(builder.info.features["label"].names)
        if train[0].shape[1:] != test[0].shape[1:]:
            raise ValueError("its training and test images differ in shape")
        if max(labels.numpy().max() for _, labels in (train, test)) >= len(class_names):
            raise ValueError("it lacks names of its classes")
        return train, test, class_names
    except (UserError, PermissionError, MemoryError):
        raise
    except Exception as error:  # whatever TFDS, TensorFlow, protobuf or json make of bad files
        raise UserError(
            f"the copy of {TITLES[name]} in {prepared} is damaged: {reason(error)}.\n"
            "Delete that folder to have it made anew, or point --data-dir to a good copy."
        ) from error


def _open(prepared):
    """TFDS's builder of a folder; raises ValueError for what TFDS would wait for, or do without."""
    for file in prepared.iterdir():
        if not file.is_file() and not file.is_dir():  # such as a pipe
            raise ValueError(f"{file.name} is no regular file")
    if prepared.parent.name in CLASSES_HAVE_NAMES and not (prepared / CLASS_NAMES).is_file():
        raise ValueError(f"it lacks {CLASS_NAMES}")  # for which TFDS would put numbers
    return tfds.builder_from_directory(prepared)


def _check(builder, name):
    """Raise ValueError unless the files are those that the folder's own description is of."""
    if builder.name != name:
        raise ValueError(f"it is a copy of {builder.name}")
    for split in builder.info.splits.values():
        size = sum(Path(path).stat().st_size for path in split.filepaths)
        if size != split.num_bytes + RECORD_FRAME * split.num_examples:
            raise ValueError(f"its {split.name} split is not of the size that it says")


def _read(builder, split):
    """The images and the labels of a split, tensors, in TFDS's order."""
    config = tfds.ReadConfig(try_autocache=False)  # a cache is for who reads twice
    batches = list(builder.as_dataset(split=split, batch_size=1000, read_config=config))
    return tuple(tf.concat([batch[key] for batch in batches], axis=0) for key in ("image", "label"))


def _download(name, folder):
    """TFDS's builder after it has downloaded and prepared the data set in `folder`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}, where the data sets should be, is not a folder.")
    try:
        _check_network(tfds.builder_cls(name).URL + "train-images-idx3-ubyte.gz")
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):  # where both scripts start at once, one waits
            builder = tfds.builder(name, data_dir=folder)
            builder.download_and_prepare()
    except Exception as error:  # whatever the network or TFDS come up with
        if isinstance(error, OSError) and error.filename:
            raise  # the disk's
        raise UnavailableError(
            f"no {TITLES[name]} in {folder / name}, and it cannot be fetched: {reason(error)}.\n"
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
