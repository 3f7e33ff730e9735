"""Load a data set of TensorFlow Datasets (TFDS), and download the data set if it is missing."""

import contextlib
import difflib
import errno
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

from common.data import TITLES
from common.data.images import check_memory, choose_size, fit, read_split
from common.program.errors import UserError, reason

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock
from PIL import Image

NETWORK_TIMEOUT = 3  # seconds
DEFAULT_FOLDER = "~/tensorflow_datasets"
ANY_HOST = "https://storage.googleapis.com/tfds-data/"  # For data sets without a URL
RECORD_FRAME = 16  # A TFRecord file adds this number of bytes to each record
BATCH = 1000  # Images are read in batches of this size


class UnavailableError(UserError):
    """Report a data set that is not on this machine and cannot be downloaded."""


def load(name, data_dir=None, image_size=None):
    """Return a data set of TFDS in the form that `pictures.load` returns."""
    named = data_dir or os.environ.get("TFDS_DATA_DIR")
    folder = Path(os.path.expanduser(named or DEFAULT_FOLDER))
    if named and not folder.is_dir():
        source = "--data-dir" if data_dir else "TFDS_DATA_DIR"
        raise UserError(
            f"The folder {folder}, given by {source}, does not exist. Correct the path, or create "
            "the folder if data sets should be downloaded to it."
        )
    try:
        kind, prepared = _prepared(name, folder)
        if prepared.exists():  # The function tfds.builder might use the network
            builder = tfds.builder_from_directory(prepared)
        else:
            builder = _download(name, kind, folder)
        _check(builder, prepared)
        return _read(builder, name, image_size)
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        what = f"The data set {name} requires a missing package: {reason(error)}."
        raise UserError(f"{what}\nTry: pip install {error.name or reason(error)}") from error
    except Exception as error:  # Damaged files raise many kinds of exceptions
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            error.add_note("Fix this, or give the folder of another copy with --data-dir.")
            raise
        denied = isinstance(error, tf.errors.PermissionDeniedError)
        state = f"{'cannot be read' if denied else 'is damaged'}: {reason(error)}"
        raise UserError(
            f"The copy of {TITLES.get(name, name)} in {prepared} {state}.\nGive the "
            "folder of another copy with --data-dir, or move this copy away to download a new one."
        ) from error


def _prepared(name, folder):
    """Return the builder class of a data set and the folder of its prepared copy."""
    plain, _, config = name.partition("/")
    try:
        kind = tfds.builder_cls(plain)
    except ImportError:
        raise
    except Exception as error:  # Invalid names raise several kinds of exceptions
        all_names = [*tfds.list_builders(with_community_datasets=False), "digits"]
        raise _unknown(name, all_names) from error
    if plain != kind.name:  # TFDS also accepts spellings such as FashionMNIST
        raise _unknown(name, [kind.name + name.removeprefix(plain)])
    configs = {one.name: one for one in kind.BUILDER_CONFIGS}
    if config and config not in configs:
        raise _unknown(name, [f"{plain}/{one}" for one in configs] or [plain])
    if not configs:
        return kind, folder / plain / str(kind.VERSION)
    one = configs[config] if config else kind.default_builder_config
    return kind, folder / plain / one.name / str(one.version or kind.VERSION)


def _unknown(name, names):
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return UserError(
        f"There is no data set called {name!r}.\n{meant}All data sets of TFDS are listed at "
        "https://www.tensorflow.org/datasets/catalog. To train on pictures, use --images DIR."
    )


def _check(builder, prepared):
    """Raise ValueError if files are missing or truncated, or belong to another data set."""
    if builder.name == "fashion_mnist" and not (prepared / "label.labels.txt").is_file():
        raise ValueError("label.labels.txt is missing")  # TFDS would use numbers as class names
    if not prepared.as_posix().endswith(f"/{builder.info.full_name}"):
        raise ValueError(f"the folder contains a copy of {builder.info.full_name}")
    for split in builder.info.splits.values():
        size = sum(Path(path).stat().st_size for path in split.filepaths)
        if size != split.num_bytes + RECORD_FRAME * split.num_examples:
            raise ValueError(f"the files of the split `{split.name}` have the wrong size")


def _usable(name, features):
    """Return the feature `image`, and the feature `label` if its values are classes, else None."""
    features = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(
            f"The data set {name} has no feature `image` with 8 bits per channel.\n"
            f"Its features are: {', '.join(features) or 'unnamed'}. Choose another data set."
        )
    return image, label if isinstance(label, tfds.features.ClassLabel) else None


def _read(builder, name, image_size):
    """Return the training set, test set, class names and notes of a prepared data set."""
    image, label = _usable(name, builder.info.features)
    splits = builder.info.splits
    if "train" not in splits:
        what = f"The data set {name} has no split `train`. Its splits are: {', '.join(splits)}."
        raise UserError(f"{what}\nChoose another data set.")
    used = ["train", "test"] if "test" in splits else ["train"]
    height, width, channels = stored = image.shape
    sizes = {(height, width)} if height and width else _sizes(builder, used)
    size, notes = choose_size(sizes, image_size)
    shape, n = (*size, 1 if channels == 1 else 3), [splits[split].num_examples for split in used]
    check_memory(sum(n), shape, TITLES.get(name, name))
    sets = []
    for split, count in zip(used, n, strict=True):
        batches = _batches(builder, split, stored, shape, label)
        sets += read_split(batches, count, shape, hold_out=len(used) == 1)
    if len(used) == 1:
        notes.append("the data set has no test split, so every 7th image is held out for testing")
    class_names = tuple(label.names) if label else ()
    labels = np.concatenate([labels for _, labels in sets]) if label else np.zeros(0)
    if (labels < 0).any():
        sets, class_names = [(images, None) for images, _ in sets], ()
        notes.append("some images have no class, so classes are not used")
    elif labels.max(initial=-1) >= len(class_names):
        raise ValueError("some classes have no names")
    return *sets, class_names, notes


def _examples(builder, split, batch_size=None):
    once = tfds.ReadConfig(try_autocache=False)
    return tfds.as_numpy(builder.as_dataset(split, batch_size=batch_size, read_config=once))


def _sizes(builder, splits):
    """Return the set of sizes (height, width) of the images, or only two sizes if they differ."""
    sizes = (one["image"].shape[:2] for split in splits for one in _examples(builder, split))
    first = next(sizes)
    return {first, next((size for size in sizes if size != first), first)}


def _batches(builder, split, stored, shape, label):
    """Yield images (n, *shape) and their labels (n,), or None without classes.

    `stored` is the shape of the images in TFDS, with None for a side that varies between images.
    """
    alike = None not in stored  # Only images of one size can be read in batches
    for batch in _examples(builder, split, BATCH if alike else None):
        images = batch["image"] if alike else batch["image"][np.newaxis]
        if stored != shape:
            # Pillow requires grey images without an axis for channels
            plain = images[..., 0] if images.shape[3] == 1 else images
            images = np.stack([fit(Image.fromarray(i), shape[:2], shape[2]) for i in plain])
        yield images, np.atleast_1d(batch["label"]) if label else None


def _download(name, kind, folder):
    """Download a data set to `folder` and return its builder."""
    instructions = kind.MANUAL_DOWNLOAD_INSTRUCTIONS
    manual = folder / "downloads" / "manual"
    if instructions and not (manual.is_dir() and any(manual.iterdir())):
        raise UserError(
            f"The data set {name} must be downloaded manually to {manual}, which is empty.\n"
            f"The instructions of TFDS: {' '.join(instructions.split())}"
        )
    try:
        _check_network(getattr(kind, "URL", ANY_HOST))
        folder.mkdir(parents=True, exist_ok=True)
        # The lock is for two scripts that start at once
        with FileLock(folder / f".{name.replace('/', '_')}.lock"):
            builder = tfds.builder(name, data_dir=folder)
            _usable(name, builder.info.features)
            builder.download_and_prepare()
            return builder
    except (UserError, ImportError):
        raise
    except Exception as error:  # The network and TFDS raise many kinds of exceptions
        if isinstance(error, OSError) and error.filename:  # an error of the disk
            raise
        what = f"{TITLES.get(name, name)} is not in {folder / name} and cannot be downloaded"
        advice = "Name another folder with --data-dir or TFDS_DATA_DIR, or use --dataset digits."
        raise UnavailableError(f"{what}: {reason(error)}.\n{advice}") from error


def _check_network(url):
    """Raise OSError if `url` does not answer in time, because TFDS would try for minutes."""
    problems = [f"within {NETWORK_TIMEOUT} seconds"]

    def ask():
        try:
            with contextlib.suppress(urllib.error.HTTPError):  # An HTTP error is also an answer
                request = urllib.request.Request(url, method="HEAD")
                urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
            problems.clear()
        except Exception as error:  # The host is unknown or unreachable, or `url` is not a string
            problems[0] = f"({getattr(error, 'reason', error)})"

    thread = threading.Thread(target=ask, daemon=True)  # Looking up a host name has no time limit
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if problems:
        raise OSError(f"no answer from {url} {problems[0]}")
