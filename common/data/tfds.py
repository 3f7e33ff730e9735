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
    named = named_folder(data_dir)
    folder = Path(os.path.expanduser(named or DEFAULT_FOLDER))
    if named and not folder.is_dir():
        source = "--data-dir" if data_dir else "TFDS_DATA_DIR"
        raise UserError(
            f"The folder {folder}, given by {source}, does not exist. Correct the path, or create "
            "the folder to download data sets to it."
        )
    try:
        kind, prepared = _prepared(name, folder)
        if prepared.exists():  # opened directly, because tfds.builder may use the network
            builder = tfds.builder_from_directory(prepared)
        else:
            builder = _download(name, kind, folder)
        _check(builder, prepared)
        return _read(builder, name, image_size)
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        what = f"The data set {name} requires a package: {reason(error)}."
        raise UserError(f"{what}\nTry: pip install {error.name or reason(error)}") from error
    except Exception as error:  # damaged files raise many kinds of exceptions
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            error.add_note("Fix this, or give the folder of another copy with --data-dir.")
            raise
        if isinstance(error, tf.errors.PermissionDeniedError):
            what, advice = "cannot be read", "Change its permissions"
        else:
            what, advice = "is damaged", "Move that folder away to download the data set again"
        raise UserError(
            f"The copy of {TITLES.get(name, name)} in {prepared} {what}: {reason(error)}.\n"
            f"{advice}, or give the folder of another copy with --data-dir."
        ) from error


def _prepared(name, folder):
    """Return the builder class of a data set, and its folder: NAME[/CONFIG]/VERSION."""
    plain, _, config = name.partition("/")
    try:
        kind = tfds.builder_cls(plain)
    except ImportError:
        raise
    except Exception as error:  # invalid names raise several kinds of exceptions
        all_names = [*tfds.list_builders(with_community_datasets=False), "digits"]
        raise _unknown(name, all_names) from error
    if plain != kind.name:  # TFDS accepts other spellings, but uses its own for the folder
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
    near += [one for one in names if name in one and one not in near][: 3 - len(near)]
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return UserError(
        f"There is no data set called {name!r}.\n{meant}The data sets of TFDS are listed at "
        f"{CATALOG}. To train on a folder of pictures, use --images DIR."
    )


def _check(builder, prepared):
    """Raise ValueError if a file is missing or damaged, or belongs to another data set."""
    if builder.name in HAVE_NAMES and not (prepared / NAMES_FILE).is_file():
        raise ValueError(f"{NAMES_FILE} is missing")  # TFDS uses numbers as names
    if not prepared.as_posix().endswith(f"/{builder.info.full_name}"):
        raise ValueError(f"it is a copy of {builder.info.full_name}")
    for split in builder.info.splits.values():
        size = sum(Path(path).stat().st_size for path in split.filepaths)
        if size != split.num_bytes + RECORD_FRAME * split.num_examples:
            raise ValueError(f"the files of its {split.name} split have the wrong size")


def _usable(name, features):
    """Return the features `image`, with 8 bits per channel, and `label`, if it gives classes."""
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
    height, width, channels = stored = image.shape
    sizes = {(height, width)} if height and width else _sizes(builder, used)
    size, note = choose_size(sizes, image_size)
    if len(sizes) == 1:
        stored = (*min(sizes), channels)
    shape, n = (*size, 1 if channels == 1 else 3), [splits[split].num_examples for split in used]
    check_memory(sum(n), shape, TITLES.get(name, name))
    sets, notes = [], [note] if note else []
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
        raise ValueError("the names of some classes are missing")
    return *sets, class_names, notes


def _examples(builder, split, batch_size=None):
    options = {"read_config": tfds.ReadConfig(try_autocache=False)}  # it is read only once
    return tfds.as_numpy(builder.as_dataset(split=split, batch_size=batch_size, **options))


def _sizes(builder, splits):
    """Return the (height, width) of all images as a set, or the first two if there are several."""
    sizes = (one["image"].shape[:2] for split in splits for one in _examples(builder, split))
    first = next(sizes)
    return {first, next((size for size in sizes if size != first), first)}


def _batches(builder, split, stored, shape, label):
    """Yield arrays of images, and of their labels or None without classes.

    The images have the shape `stored`, with None for what varies, and are resized to `shape`.
    """
    alike = None not in stored  # so they can be read in batches
    for batch in _examples(builder, split, BATCH if alike else None):
        images = batch["image"] if alike else batch["image"][np.newaxis]
        if stored != shape:
            plain = images[..., 0] if images.shape[3] == 1 else images  # Pillow's grey has no axis
            images = np.stack([fit(Image.fromarray(i), shape[:2], shape[2]) for i in plain])
        yield images, np.atleast_1d(batch["label"]) if label else None


def _download(name, kind, folder):
    """Return the builder of a data set after TFDS has downloaded it to `folder`."""
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
            return builder
    except (UserError, ImportError):
        raise
    except Exception as error:  # the network and TFDS raise many kinds of exceptions
        if isinstance(error, OSError) and error.filename:  # about the disk
            raise
        what = f"{TITLES.get(name, name)} is not in {folder / name} and cannot be downloaded"
        advice = "Name another folder with --data-dir or TFDS_DATA_DIR, or use --dataset digits."
        raise UnavailableError(f"{what}: {reason(error)}.\n{advice}") from error


def _check_network(url):
    """Raise OSError unless `url` answers within NETWORK_TIMEOUT. TFDS would try for minutes."""
    problems = [f"within {NETWORK_TIMEOUT} seconds"]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
            problems.clear()
        except urllib.error.HTTPError:  # also an answer
            problems.clear()
        except Exception as error:  # the host is unknown or not reachable, or URL is not a string
            problems[0] = f"({getattr(error, 'reason', error)})"

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up has no time limit
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if problems:
        raise OSError(f"no answer from {url} {problems[0]}")
