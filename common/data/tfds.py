"""Data sets that TensorFlow Datasets reads, or downloads and prepares first."""

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
NAMES_FILE, CLASSES_HAVE_NAMES = "label.labels.txt", {"fashion_mnist"}
RECORD_FRAME = 16  # bytes around each record of a TFRecord file
A_TIME = 1000  # images
ANY_HOST = "https://storage.googleapis.com/tfds-data/"  # where a builder does not say


class UnavailableError(UserError):
    """The data set is neither on this machine nor to be had over the network."""


def named_folder(data_dir):
    """The folder that the user named, by flag or environment, if any."""
    return data_dir or os.environ.get("TFDS_DATA_DIR")


def load(name, data_dir=None, image_size=None):
    """What pictures.load returns; args and what is raised are those of sources.load_dataset."""
    named = named_folder(data_dir) or DEFAULT_FOLDER
    try:
        folder = Path(named).expanduser()
        str(folder).encode()
    except UnicodeError:
        raise UserError(f"the bytes of {named!a} are no UTF-8: give it another name.") from None
    except RuntimeError as error:  # the home of nobody
        raise UserError(f"{named}: {reason(error)}. Say where with --data-dir.") from None
    if named_folder(data_dir) and not folder.is_dir():
        source = "--data-dir" if data_dir else "TFDS_DATA_DIR"
        what = "mend that, or make the folder to have data sets downloaded there"
        raise UserError(f"there is no folder {folder}, which {source} names: {what}.")
    kind, prepared = _prepared(name, folder)
    try:
        # Straight from the folder where there is one: tfds.builder might go to the network
        builder = _open(prepared) if prepared.exists() else _download(name, kind, folder)
        _check(builder, prepared)
        return _read(builder, name, image_size)
    except (UserError, MemoryError):
        raise
    except OSError as error:
        if error.errno in (None, errno.ENOENT):  # a part of it is missing
            raise _damaged(name, prepared, error) from error
        error.add_note("Mend that, or point --data-dir to another copy.")
        raise
    except tf.errors.PermissionDeniedError as error:
        raise UserError(f"{prepared} cannot be read: {reason(error)}.") from error
    except Exception as error:  # whatever TFDS, TensorFlow, protobuf or json make of bad files
        raise _damaged(name, prepared, error) from error


def _damaged(name, prepared, error):
    return UserError(
        f"the copy of {_title(name)} in {prepared} is damaged: {reason(error)}.\n"
        "Move that folder away to have it made anew, or point --data-dir to a good copy."
    )


def _title(name):
    return TITLES.get(name, name)


def _prepared(name, folder):
    """A data set's builder, a class, and where TFDS prepares it: NAME[/CONFIG]/VERSION."""
    plain, _, config = name.partition("/")
    try:
        kind = tfds.builder_cls(plain)
    except ImportError as error:
        raise _wants(name, error) from error
    except Exception as error:  # of several kinds, by how the name is wrong
        raise _unknown(
            name, [*tfds.list_builders(with_community_datasets=False), "digits"]
        ) from error
    if plain != kind.name:  # TFDS takes any spelling, and prepares under its own
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
        f"there is no data set {name!r}.\n{meant}TFDS's are listed at "
        "https://www.tensorflow.org/datasets/catalog; a folder of pictures is --images DIR."
    )


def _wants(name, error):
    package = getattr(error, "name", None) or reason(error)
    return UserError(f"TFDS's {name} wants a package: {reason(error)}.\nTry: pip install {package}")


def _open(prepared):
    """TFDS's builder of a folder; raises ValueError for what TFDS would wait for, or do without."""
    for file in prepared.iterdir():
        if not file.is_file() and not file.is_dir():  # such as a pipe
            raise ValueError(f"{file.name} is no regular file")
    if prepared.parent.name in CLASSES_HAVE_NAMES and not (prepared / NAMES_FILE).is_file():
        raise ValueError(f"it lacks {NAMES_FILE}")  # for which TFDS would put numbers
    return tfds.builder_from_directory(prepared)


def _check(builder, prepared):
    """Raise ValueError unless the files are those that the folder's own description is of."""
    config = builder.builder_config and builder.builder_config.name
    if [builder.name, *filter(None, [config])] != list(prepared.parts[-3 if config else -2 : -1]):
        raise ValueError(f"it is a copy of {builder.name}{'/' if config else ''}{config or ''}")
    for split in builder.info.splits.values():
        size = sum(Path(path).stat().st_size for path in split.filepaths)
        if size != split.num_bytes + RECORD_FRAME * split.num_examples:
            raise ValueError(f"its {split.name} split is not of the size that it says")


def _usable(name, features):
    """The features `image` and `label`, the latter None unless it is a ClassLabel.

    Raises UserError where there is no image of 8 bits a channel.
    """
    features = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(
            f"{name} has no feature `image` of 8 bits a channel, and so nothing to train on here.\n"
            f"Its features are: {', '.join(features) or 'none by name'}."
        )
    return image, label if isinstance(label, tfds.features.ClassLabel) else None


def _read(builder, name, image_size):
    """Both splits of a data set, in TFDS's order, with what `load` returns beside."""
    image, label = _usable(name, builder.info.features)
    splits = builder.info.splits
    if "train" not in splits:
        raise UserError(f"{name} has no split `train`; it has {', '.join(splits) or 'none'}.")
    notes, both = [], ["train", *(["test"] if "test" in splits else [])]
    height, width, stored = image.shape
    channels = 1 if stored == 1 else 3
    sizes = {(height, width)} if height and width else _sizes(builder, both)
    size, note = choose_size(sizes, image_size)
    n = {split: splits[split].num_examples for split in both}
    check_memory(sum(n.values()), (*size, channels), _title(name))
    parts = []
    for split in both:
        if note is None and stored in (1, 3):
            batches = _stored(builder, split, label)
        else:
            of_one_size = bool(height and width and stored)
            batches = _fitted(builder, split, label, size, channels, of_one_size)
        parts += read_split(batches, n[split], (*size, channels), len(both) == 1)
    if len(both) == 1:
        notes.append("it has no test split: every 7th image is held out for testing")
    notes = [*filter(None, [note]), *notes]
    class_names = tuple(label.names) if label else ()
    labels = np.concatenate([found for _, found in parts]) if label else np.zeros(0, int)
    if (labels < 0).any():
        parts, class_names = [(images, None) for images, _ in parts], ()
        notes.append("some of its images have no class: it is used without classes")
    elif label and labels.max(initial=0) >= len(class_names):
        raise ValueError("it lacks names of its classes")
    return *parts, class_names, notes


def _examples(builder, split, batch_size=None):
    config = tfds.ReadConfig(try_autocache=False)  # a cache is for who reads twice
    options = {"batch_size": batch_size, "read_config": config}
    return tfds.as_numpy(builder.as_dataset(split=split, **options))


def _sizes(builder, splits):
    """The sizes, (height, width), that the first images differ in, or all have."""
    sizes = set()
    for split in splits:
        for example in _examples(builder, split):
            sizes.add(example["image"].shape[:2])
            if len(sizes) > 1:
                return sizes
    return sizes


def _stored(builder, split, label):
    """Images as they are stored, and their labels."""
    for batch in _examples(builder, split, A_TIME):
        yield batch["image"], batch["label"] if label else None


def _fitted(builder, split, label, size, channels, of_one_size):
    """Images brought to a size, and their labels."""
    for batch in _examples(builder, split, A_TIME if of_one_size else None):
        images = batch["image"] if of_one_size else batch["image"][np.newaxis]
        plain = images[..., 0] if images.shape[3] == 1 else images  # as PIL has grey
        fitted = np.stack([fit(Image.fromarray(image), size, channels) for image in plain])
        yield fitted, np.atleast_1d(batch["label"]) if label else None


def _download(name, kind, folder):
    """TFDS's builder after it has downloaded and prepared the data set in `folder`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}, where the data sets should be, is not a folder.")
    by_hand = kind.MANUAL_DOWNLOAD_INSTRUCTIONS
    manual = folder / "downloads" / "manual"
    if by_hand and not (manual.is_dir() and any(manual.iterdir())):
        raise UserError(
            f"{name} has to be downloaded by hand, to {manual}, and is not there.\n"
            f"TFDS says how: {' '.join(by_hand.split())}"
        )
    place = folder / name
    try:
        url = getattr(kind, "URL", ANY_HOST)
        _check_network(url + "train-images-idx3-ubyte.gz" * url.endswith("mnist/"))
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name.replace('/', '_')}.lock"):  # where both scripts start
            builder = tfds.builder(name, data_dir=folder)
            _usable(name, builder.info.features)
            builder.download_and_prepare()
    except UserError:
        raise
    except Exception as error:  # whatever the network or TFDS come up with
        if isinstance(error, ImportError):
            raise _wants(name, error) from error
        if isinstance(error, OSError) and error.filename:
            raise  # the disk's
        raise UnavailableError(
            f"no {_title(name)} in {place}, and it cannot be fetched: {reason(error)}.\n"
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
        except urllib.error.HTTPError:  # an answer, whatever it thinks of the question
            outcome[0] = None
        except Exception as error:  # no host, no route, no HTTP
            outcome[0] = OSError(f"no answer from {url} ({getattr(error, 'reason', error)})")

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up knows no time limit
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if outcome[0]:
        raise outcome[0]
