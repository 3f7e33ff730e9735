"""A folder of pictures, as people have them."""

import contextlib
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.data.images import check_memory, choose_size, fit, progress, read_split
from common.program.errors import UserError, reason

import numpy as np
from joblib import cpu_count
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}  # Pillow's modes without colour
A_TIME = 256  # pictures


def load(folder, image_size=None):
    """The pictures of a folder, as training and test set.

    Its classes are its sub-folders that have pictures, one level; without such, there are none.
    Where it has a `train` and a `test`, these are the two sets; else every 7th picture, in the
    order of their names, is held out. Grey where all are grey, else RGB.

    Args:
        folder: its path.
        image_size: "HxW", or None (images.choose_size).

    Returns:
        (train images, labels), (test images, labels): uint8 (n, height, width, channels) and int64
        (n,), or None for these without classes; class names; notes, lines on what was done.

    Raises:
        UserError: there is no such folder, no picture in it, or one that cannot be read; two
            classes of one name; no memory for so many. OSError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}, which --images names.")
    parts = [folder / "train", folder / "test"]
    split = all(part.is_dir() for part in parts)
    parts = parts if split else [folder]
    with ThreadPoolExecutor(cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on what is refused or mended below
        passed_over = _aside(folder, parts) if split else 0
        found = []
        for part in parts:
            classes, others, deeper = _find(part, pool)
            passed_over += others + deeper
            if not classes:
                raise _without_pictures(part, others, deeper)
            found.append(classes)
        class_names = _class_names(folder, found)

        every = [pictures for classes in found for pictures in classes.values()]
        headers = [header for pictures in every for _, header in pictures]
        size, note = choose_size({size for size, _ in headers}, image_size)
        shape = (*size, 1 if all(mode in GREY for _, mode in headers) else 3)
        check_memory(len(headers), shape, str(folder))
        sets = []
        with progress(len(headers), f"reading {folder.name}") as bar:
            for classes in found:
                files = [(f, name) for name, pictures in classes.items() for f, _ in pictures]
                batches = _read(files, class_names, shape, pool, bar)
                sets += read_split(batches, len(files), shape, not split)
    if shape[2] == 3 and all(map(_is_grey, (images for images, _ in sets))):
        sets = [(_first_channel(images), labels) for images, labels in sets]
    notes = [note] if note else []
    if passed_over:
        files = _files(passed_over)
        notes.append(f"passed over, as no pictures, or in no class or set: {files}")
    if not split:
        notes.append("every 7th picture is held out for testing")
    return *sets, class_names, notes


def _find(folder, pool):
    """The pictures in a folder, how many files beside are passed over, and how many lie deeper.

    A dict from class name, or None where there are no classes, to pairs of a file and what
    `_header` says of it, in the order of their names.
    """

    def pictures(files):
        headers = pool.map(_header, files)
        return [(f, header) for f, header in zip(files, headers, strict=True) if header]

    entries = _entries(folder)
    files = {None: [entry for entry in entries if not entry.is_dir()]}
    files |= {entry: _entries(entry) for entry in entries if entry.is_dir()}
    deeper = sum(map(_count, (f for some in files.values() for f in some if f.is_dir())))
    files = {entry: [f for f in some if not f.is_dir()] for entry, some in files.items()}
    found = {}
    for entry, some in files.items():
        if entry and (of_class := pictures(some)):
            if _name(entry) in found:
                raise _one_name(folder, _name(entry), entry.name)
            found[_name(entry)] = of_class
    if not found and (loose := pictures(files[None])):
        found = {None: loose}
    n = sum(map(len, found.values()))
    return found, sum(map(len, files.values())) - n, deeper


def _class_names(folder, found):
    """The classes' names, sorted; raises UserError where two can be taken for one another."""
    if len({None in classes for classes in found}) > 1:
        raise UserError(f"of train and test in {folder}, one has classes, and the other none.")
    names = {}
    for name in sorted({name for classes in found for name in classes} - {None}):
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise _one_name(folder, other, name)
    return tuple(names.values())


def _one_name(folder, name, other):
    return UserError(
        f"two classes in {folder} have one name, {name!r} and {other!r}.\n"
        "Rename one of them, or put their pictures together."
    )


def _without_pictures(folder, others, deeper):
    if deeper:
        return UserError(
            f"{folder} has no pictures of its own or in its sub-folders, but {_files(deeper)} a "
            "level deeper.\nGive a folder whose sub-folders are the classes; the two sets are "
            "called train and test, in small letters."
        )
    aside = f", but {_files(others)} of another kind" * bool(others)
    return UserError(
        f"{folder} has no pictures{aside}.\nGive a folder of {', '.join(FORMATS)} files, or one "
        "of sub-folders of these, a class each."
    )


def _files(n):
    return f"{n:,} file{'s' * (n != 1)}"


def _count(folder):
    return sum(file.is_file() for file in folder.rglob("*"))


def _aside(folder, parts):
    """How many files there are in a folder beside its parts."""
    return sum(_count(e) if e.is_dir() else 1 for e in _entries(folder) if e not in parts)


def _entries(folder):
    """What is in a folder and not hidden, in the order of the names."""
    return sorted(f for f in folder.iterdir() if not f.name.startswith((".", "__MACOSX")))


def _name(entry):
    return unicodedata.normalize("NFC", entry.name).strip()


@contextlib.contextmanager
def _named(file):
    """Have what Pillow raises name the file, as UserError."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # bad files raise many kinds
        why = f"{file} cannot be read: {getattr(error, 'strerror', None) or reason(error)}."
        raise UserError(f"{why}\nMend it, or take it out of the folder.") from error


def _header(file):
    """A picture's (height, width) as it is shown, and mode; None of what is no picture.

    A file that is called like a picture, and cannot be read as one, raises UserError.
    """
    if not file.is_file():  # a pipe would wait
        return None
    with _named(file):
        try:
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                sides = (width, height) if image.getexif().get(0x0112, 1) > 4 else (height, width)
                return sides, image.mode
        except UnidentifiedImageError:
            if Image.registered_extensions().get(file.suffix.lower()) in FORMATS:
                raise ValueError("it is no whole picture") from None
            return None


def _read(files, class_names, image_shape, pool, bar):
    """Yield arrays of pictures, some at a time, and of their labels, or None."""
    *size, channels = image_shape

    def read(file):
        with _named(file), Image.open(file, formats=FORMATS) as image:
            image.draft(None, (2 * max(size), 2 * max(size)))  # a large JPEG is read smaller
            return fit(ImageOps.exif_transpose(image), tuple(size), channels)

    for first in range(0, len(files), A_TIME):
        some = files[first : first + A_TIME]
        images = np.stack([*pool.map(read, [file for file, _ in some])])
        bar.update(len(some))
        yield images, np.array([class_names.index(c) for _, c in some]) if class_names else None


def _is_grey(images):
    return all((image == image[..., :1]).all() for image in images)


def _first_channel(images):
    """The first channel of images (n, height, width, 3), in the same memory."""
    n, height, width, _ = images.shape
    grey = images.reshape(-1)[: n * height * width].reshape(n, height, width, 1)
    for to, image in zip(grey, images, strict=True):  # it never gets ahead of what is read
        to[:] = image[..., :1]
    return grey
