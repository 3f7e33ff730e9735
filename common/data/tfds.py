"""Data sets that TensorFlow Datasets (TFDS) reads, or downloads and prepares first."""

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
CATALOG = "https://www.tensorflow.org/datasets/catalog"
ANY_HOST = "https://storage.googleapis.com/tfds-data/"  # for builders without a URL
NAMES_FILE, HAVE_NAMES = "label.labels.txt", {"fashion_mnist"}  # data sets whose classes have names
RECORD_FRAME = 16  # bytes around each record of a TFRecord file
BATCH = 1000  # images that are read at a time


class UnavailableError(UserError):
    """The data set is not on this machine and cannot be downloaded."""


def named_folder(data_dir):
    """Return the folder that the user named, by flag or environment variable, if any."""
    return data_dir or os.environ.get("TFDS_DATA_DIR")


def load(name, data_dir=None, image_size=None):
    """Return a data set as `pictures.load` does. See `sources.load_dataset` for the arguments."""
    folder = _folder(data_dir)
    kind, prepared = _prepared(name, folder)
    try:
        # Opened directly if it exists, because tfds.builder may use the network
        builder = _open(prepared) if prepared.exists() else _download(name, kind, folder)
        _check(builder, prepared)
        return _read(builder, name, image_size)
    except (UserError, MemoryError):
        raise
    except OSError as error:
        if error.errno in (None, errno.ENOENT):  # a file is missing
            raise _damaged(name, prepared, error) from error
        error.add_note("Fix this, or give the folder of another copy with --data-dir.")
        raise
    except tf.errors.PermissionDeniedError as error:
        raise UserError(
            f"{prepared} cannot be read: {reason(error)}. Change its permissions, or give the "
            "folder of another copy with --data-dir."
        ) from error
    except Exception as error:  # damaged files raise many kinds of exceptions
        raise _damaged(name, prepared, error) from error


def _folder(data_dir):
    """Return the folder of the data sets. Raise UserError if the user named one that is missing."""
    named = named_folder(data_dir) or DEFAULT_FOLDER
    try:
        folder = Path(named).expanduser()
        str(folder).encode()
    except UnicodeError:
        raise UserError(f"The path {named!a} is not valid UTF-8. Rename the folder.") from None
    except RuntimeError as error:  # ~ of a user who does not exist
        raise UserError(f"{named}: {reason(error)}. Give another folder with --data-dir.") from None
    if named_folder(data_dir) and not folder.is_dir():
        source = "--data-dir" if data_dir else "TFDS_DATA_DIR"
        raise UserError(
            f"The folder {folder}, given by {source}, does not exist. Correct the path, or create "
            "the folder to download data sets to it."
        )
    return folder


def _damaged(name, prepared, error):
    return UserError(
        f"The copy of {TITLES.get(name, name)} in {prepared} is damaged: {reason(error)}.\n"
        "Move that folder away to download the data set again, or give the folder of a good copy "
        "with --data-dir."
    )


def _prepared(name, folder):
    """Return the builder class of a data set, and its folder: NAME[/CONFIG]/VERSION."""
    plain, _, config = name.partition("/")
    try:
        kind = tfds.builder_cls(plain)
    except ImportError as error:
        raise _package_missing(name, error) from error
    except Exception as error:  # invalid names raise several kinds of exceptions
        names = [*tfds.list_builders(with_community_datasets=False), "digits"]
        raise _unknown(name, names) from error
    if plain != kind.name:  # TFDS accepts other spellings, but uses its own for the folder
        raise _unknown(name, [f"{kind.name}{name[len(plain) :]}"])
    configs = {one.name: one for one in kind.BUILDER_CONFIGS}
    if config and config not in configs:
        raise _unknown(name, [f"{plain}/{one}" for one in configs] or [plain])
    if not configs:
        return kind, folder / plain / str(kind.VERSION)
    one = configs[config] if config else kind.default_builder_config
    return kind, folder / plain / one.name / str(one.version or kind.VERSION)


def _unknown(name, names):
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
    near += [one for one in names if name in one and one not in near][: 3 - len(near)]
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return UserError(
        f"There is no data set called {name!r}.\n{meant}The data sets of TFDS are listed at "
        f"{CATALOG}. To train on a folder of pictures, use --images DIR."
    )


def _package_missing(name, error):
    why, package = reason(error), getattr(error, "name", None) or reason(error)
    return UserError(f"The data set {name} requires a package: {why}.\nTry: pip install {package}")


def _open(prepared):
    """Return the builder of a folder. Raise ValueError if a file is missing or not regular."""
    for file in prepared.iterdir():
        if not file.is_file() and not file.is_dir():  # TFDS would wait for a named pipe
            raise ValueError(f"{file.name} is not a regular file")
    if prepared.parent.name in HAVE_NAMES and not (prepared / NAMES_FILE).is_file():
        raise ValueError(f"{NAMES_FILE} is missing")  # TFDS would use numbers as names
    return tfds.builder_from_directory(prepared)


def _check(builder, prepared):
    """Raise ValueError unless name and file sizes are those that the folder and its JSON state."""
    config = builder.builder_config and builder.builder_config.name
    full_name = [builder.name, *filter(None, [config])]
    if full_name != list(prepared.parts[-1 - len(full_name) : -1]):
        raise ValueError(f"it is a copy of {'/'.join(full_name)}")
    for split in builder.info.splits.values():
        size = sum(Path(path).stat().st_size for path in split.filepaths)
        if size != split.num_bytes + RECORD_FRAME * split.num_examples:
            raise ValueError(f"the files of its {split.name} split have the wrong size")


def _usable(name, features):
    """Return the features `image` and `label`, or None for a label that is not a ClassLabel.

    Raise UserError if there are no images with 8 bits per channel.
    """
    features = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(
            f"{name} cannot be used, because it has no feature `image` with 8 bits per channel.\n"
            f"Its features are: {', '.join(features) or 'unnamed'}. Choose another data set."
        )
    return image, label if isinstance(label, tfds.features.ClassLabel) else None


def _read(builder, name, image_size):
    """Return both sets of a data set, in the order of TFDS, as `load` does."""
    image, label = _usable(name, builder.info.features)
    splits = builder.info.splits
    if "train" not in splits:
        has = f"It has {', '.join(splits) or 'no splits'}. Choose another data set."
        raise UserError(f"{name} cannot be used, because it has no split `train`.\n{has}")
    used = ["train", "test"] if "test" in splits else ["train"]
    height, width, stored = image.shape
    channels = 1 if stored == 1 else 3
    sizes = {(height, width)} if height and width else _sizes(builder, used)
    size, note = choose_size(sizes, image_size)
    shape, n = (*size, channels), [splits[split].num_examples for split in used]
    check_memory(sum(n), shape, TITLES.get(name, name))
    as_stored = note is None and stored in (1, 3)
    alike = as_stored or bool(height and width and stored)  # so they can be read in batches
    sets, notes = [], [note] if note else []
    for split, count in zip(used, n, strict=True):
        batches = _batches(builder, split, label, None if as_stored else shape, alike)
        sets += read_split(batches, count, shape, hold_out=len(used) == 1)
    if len(used) == 1:
        notes.append("the data set has no test split, so every 7th image is held out for testing")
    class_names = tuple(label.names) if label else ()
    if label:
        labels = np.concatenate([labels for _, labels in sets])
        if (labels < 0).any():
            sets, class_names = [(images, None) for images, _ in sets], ()
            notes.append("some images have no class, so classes are not used")
        elif labels.max(initial=0) >= len(class_names):
            raise ValueError("the names of some classes are missing")
    return *sets, class_names, notes


def _examples(builder, split, batch_size=None):
    config = tfds.ReadConfig(try_autocache=False)  # the data set is read only once
    options = {"batch_size": batch_size, "read_config": config}
    return tfds.as_numpy(builder.as_dataset(split=split, **options))


def _sizes(builder, splits):
    """Return the (height, width) of all images as a set, or the first two if there are several."""
    examples = (example for split in splits for example in _examples(builder, split))
    sizes = (example["image"].shape[:2] for example in examples)
    first = next(sizes)
    return {first, next((size for size in sizes if size != first), first)}


def _batches(builder, split, label, shape, alike):
    """Yield arrays of images and of their labels, or None without classes.

    Images are resized to `shape`, unless it is None. `alike` says that all have one shape.
    """
    for batch in _examples(builder, split, BATCH if alike else None):
        images = batch["image"] if alike else batch["image"][np.newaxis]
        if shape:
            plain = images[..., 0] if images.shape[3] == 1 else images  # Pillow's grey has no axis
            images = np.stack([fit(Image.fromarray(i), shape[:2], shape[2]) for i in plain])
        yield images, np.atleast_1d(batch["label"]) if label else None


def _download(name, kind, folder):
    """Return the builder of a data set after TFDS has downloaded it to `folder`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give a folder for data sets with --data-dir.")
    instructions = kind.MANUAL_DOWNLOAD_INSTRUCTIONS
    manual = folder / "downloads" / "manual"
    if instructions and not (manual.is_dir() and any(manual.iterdir())):
        raise UserError(
            f"{name} must be downloaded manually to {manual}, and is not there.\n"
            f"The instructions of TFDS: {' '.join(instructions.split())}"
        )
    try:
        _check_network(getattr(kind, "URL", ANY_HOST))
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name.replace('/', '_')}.lock"):  # both scripts may start at once
            builder = tfds.builder(name, data_dir=folder)
            _usable(name, builder.info.features)
            builder.download_and_prepare()
    except UserError:
        raise
    except ImportError as error:
        raise _package_missing(name, error) from error
    except Exception as error:  # the network and TFDS raise many kinds of exceptions
        if isinstance(error, OSError) and error.filename:  # about the disk
            raise
        title = TITLES.get(name, name)
        raise UnavailableError(
            f"{title} is not in {folder / name} and cannot be downloaded: {reason(error)}.\n"
            "Name another folder with --data-dir or TFDS_DATA_DIR, or use --dataset digits."
        ) from error
    return builder


def _check_network(url):
    """Raise OSError unless `url` answers within NETWORK_TIMEOUT. TFDS would try for minutes."""
    outcome = [TimeoutError(f"no answer from {url} within {NETWORK_TIMEOUT} seconds")]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
            outcome[0] = None
        except urllib.error.HTTPError:  # also an answer
            outcome[0] = None
        except Exception as error:  # the host is unknown or not reachable, or URL is not a string
            outcome[0] = OSError(f"no answer from {url} ({getattr(error, 'reason', error)})")

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up has no time limit
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if outcome[0]:
        raise outcome[0]
