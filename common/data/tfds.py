"""Find a data set of TensorFlow Datasets (TFDS) in the data folder, or download it."""

import contextlib
import difflib
import errno
import os
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

from common.data import TITLES
from common.data.tfds_reader import check_files, check_usable, read
from common.program.errors import UserError, reason
from common.program.flags import DATASET, is_url

import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock

NETWORK_TIMEOUT = 3  # seconds
DEFAULT_FOLDER = "~/tensorflow_datasets"
# This host is contacted if a data set has no URL
ANY_HOST = "https://storage.googleapis.com/tfds-data/"


class UnavailableError(UserError):
    """A data set is not on this machine and cannot be downloaded."""


def load(name, data_dir, choose_size):
    """Load a data set of TFDS: return the training set, the test set, the class names and notes.

    `name` is NAME[/CONFIG][:VERSION]. If `name` contains no version, the newest version in the data
    folder is used. The function `choose_size` chooses a size for a set of sizes.
    """
    named = data_dir or os.environ.get("TFDS_DATA_DIR")
    folder = Path(os.path.expanduser(named or DEFAULT_FOLDER))
    if named and not folder.is_dir():
        source = "--data-dir" if data_dir else "TFDS_DATA_DIR"
        if is_url(str(named)):
            raise UserError(f"{source} is {named}, which is a URL. Give a folder on this machine.")
        raise UserError(
            f"The folder {folder}, given by {source}, does not exist. Correct the path, or create "
            "the folder to download data sets to it."
        )
    try:
        prepared = _find(name, folder) or _download(name, folder, choose_size)
        return _read_copy(name, prepared, choose_size)
    except ImportError as error:
        what = f"The data set {name} requires a missing package: {reason(error)}."
        raise UserError(f"{what}\nTry: pip install {error.name or reason(error)}") from error
    except OSError as error:
        error.add_note("Fix this, or give the folder of another copy with --data-dir.")
        raise


def _read_copy(name, prepared, choose_size):
    """Read the data set in the folder `prepared`. Raise UserError if its files are damaged."""
    try:
        builder = tfds.builder_from_directory(prepared)  # tfds.builder might use the network
        _check_name(name, builder.info, prepared)
        check_files(builder)
        return read(builder, name, choose_size)
    except (UserError, ImportError, MemoryError):
        raise
    except Exception as error:  # Damaged files raise many kinds of exceptions
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        denied = isinstance(error, tf.errors.PermissionDeniedError)
        state = f"{'cannot be read' if denied else 'is damaged'}: {reason(error)}"
        raise UserError(
            f"The copy of {TITLES.get(name, name)} in {prepared} {state}.\nGive the "
            "folder of another copy with --data-dir, or move this copy away to download a new copy."
        ) from error


def _check_name(name, info, prepared):
    """Raise ValueError if the path of a folder names a different data set than it contains.

    Names that TFDS does not know are accepted, because users may rename copied folders.
    """
    plain, _, _ = _parts(name)
    if not prepared.as_posix().endswith(f"/{info.full_name}") and (
        plain == info.name or _builder_class(plain)
    ):
        raise ValueError(f"the folder contains a copy of {info.full_name}")


# Data sets in the data folder -------------------------------------------------


def _parts(name):
    """Split the full name of a data set into its name, its configuration and its version.

    A missing configuration or version is None. If the full name is invalid, all three are None.
    """
    match = DATASET.fullmatch(name)
    return match.groups() if match else (None, None, None)


def _find(name, folder):
    """Return the folder that contains a prepared data set, or None if there is no such folder."""
    plain, config, version = _parts(name)
    # The list is searched because some file systems ignore the case of names
    if plain not in _subfolders(folder):
        return None
    place = folder / plain
    if config is None and not _versions(place):
        config = _default_config(plain, place)
    if config:
        place /= config
    versions = _versions(place)
    if version is None and versions:
        version = versions[-1]
    return place / version if version in versions else None


def _subfolders(folder):
    """Return the names of all sub-folders, or an empty list if the folder does not exist."""
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _versions(folder):
    """Return the names of the sub-folders that are versions, from the oldest to the newest."""
    versions = [name for name in _subfolders(folder) if re.fullmatch(r"\d+\.\d+\.\d+", name)]
    return sorted(versions, key=lambda version: [*map(int, version.split("."))])


def _default_config(plain, place):
    """Return the configuration that is used if the user does not name a configuration."""
    kind = _builder_class(plain)
    if kind and kind.BUILDER_CONFIGS:
        return kind.default_builder_config.name
    configs = sorted(config for config in _subfolders(place) if _versions(place / config))
    if len(configs) > 1:
        raise UserError(
            f"The data set {plain} has several configurations in {place}: {', '.join(configs)}.\n"
            f"Choose one of them, for example --dataset {plain}/{configs[0]}."
        )
    return configs[0] if configs else None


def _copies(plain, folder):
    """Return the full names of all copies of a data set in the data folder."""
    names = [plain, *(f"{plain}/{config}" for config in sorted(_subfolders(folder / plain)))]
    return [f"{name}:{version}" for name in names for version in _versions(folder / name)]


# Downloads --------------------------------------------------------------------


def _builder_class(plain):
    """Return the TFDS class of a data set, or None if TFDS does not know the data set."""
    try:
        return tfds.builder_cls(plain)
    except ImportError:
        raise
    except Exception:  # Invalid names raise several kinds of exceptions
        return None


def _known(name, folder):
    """Return the TFDS class of a data set. Raise UserError if TFDS cannot prepare the data set."""
    plain, config, version = _parts(name)
    kind = plain and _builder_class(plain)
    if kind and plain != kind.name:  # TFDS also accepts spellings such as FashionMNIST
        raise _unknown(name, [kind.name + name.removeprefix(plain)])
    copies, offered = _copies(plain, folder) if plain else [], _offered(kind) if kind else {}
    if kind and config not in offered:
        raise _unknown(name, [f"{plain}/{one}" for one in offered if one] or [plain])
    if not kind and not copies:
        catalog = tfds.list_builders(with_community_datasets=False)
        raise _unknown(name, [*catalog, *_subfolders(folder), "digits"])
    if not kind or (version and version not in offered[config]):
        copies += [f"{name.partition(':')[0]}:{one}" for one in offered.get(config, [])]
        raise UserError(
            f"There is no copy of {name} in {folder}, and TFDS cannot download it.\n"
            f"Choose one of: {', '.join(dict.fromkeys(copies))}."
        )
    return kind


def _offered(kind):
    """Return a dict from each configuration to a list of the versions that TFDS can prepare.

    The key None stands for the default configuration.
    """
    versions = [kind.VERSION, *kind.SUPPORTED_VERSIONS]
    configs = {
        one.name: [one.version, *one.supported_versions] if one.version else versions
        for one in kind.BUILDER_CONFIGS
    }
    configs[None] = configs[kind.default_builder_config.name] if configs else versions
    return {config: [*map(str, versions)] for config, versions in configs.items()}


def _unknown(name, names):
    near = difflib.get_close_matches(name.lower(), {*names}, 3, 0.5)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return UserError(
        f"There is no data set called {name!r}.\n{meant}All data sets of TFDS are listed at "
        "https://www.tensorflow.org/datasets/catalog. To train on pictures, use --images DIR."
    )


def _download(name, folder, choose_size):
    """Download a data set to the data folder, and return the folder of the prepared copy."""
    kind = _known(name, folder)
    instructions = kind.MANUAL_DOWNLOAD_INSTRUCTIONS
    manual = folder / "downloads" / "manual"
    if instructions and not (manual.is_dir() and any(manual.iterdir())):
        raise UserError(
            f"The data set {name} must be downloaded manually to {manual}, which is empty.\n"
            f"Instructions from TFDS: {' '.join(instructions.split())}"
        )
    place = folder.joinpath(*filter(None, _parts(name)))
    try:
        _check_network(getattr(kind, "URL", ANY_HOST))
        folder.mkdir(parents=True, exist_ok=True)
        # Without the lock, two scripts could download the data set at the same time
        with FileLock(folder / f".{'_'.join(filter(None, _parts(name)))}.lock"):
            builder = tfds.builder(name, data_dir=folder)
            check_usable(builder.info, name, choose_size)
            builder.download_and_prepare()
            return Path(builder.data_dir)
    except (UserError, ImportError):
        raise
    except Exception as error:  # The network and TFDS raise many kinds of exceptions
        if isinstance(error, OSError) and error.filename:  # an error of the disk
            raise
        what = f"{TITLES.get(name, name)} is not in {place} and cannot be downloaded"
        names = ["digits", *_copies(_parts(name)[0], folder)]
        advice = "Name another folder with --data-dir or TFDS_DATA_DIR, or use "
        advice += " or ".join(f"--dataset {one}" for one in names) + "."
        raise UnavailableError(f"{what}: {reason(error)}.\n{advice}") from error


def _check_network(url):
    """Raise OSError if `url` does not answer within seconds. TFDS alone would try for minutes."""
    problems = [f"within {NETWORK_TIMEOUT} seconds"]

    def ask():
        try:
            with contextlib.suppress(urllib.error.HTTPError):  # The server answered
                request = urllib.request.Request(url, method="HEAD")
                urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
            problems.clear()
        except Exception as error:  # The host is unknown or unreachable, or `url` is not a string
            problems[0] = f"({getattr(error, 'reason', error)})"

    # A thread is necessary, because the look-up of a host name has no time limit
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if problems:
        raise OSError(f"no answer from {url} {problems[0]}")
