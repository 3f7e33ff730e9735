"""A folder of pictures, as people have them."""

import contextlib
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.data.images import choose_size, fit, progress, read_split
from common.files import UserError, reason

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
    both = [folder / "train", folder / "test"]
    split = all(part.is_dir() for part in both)
    with ThreadPoolExecutor(cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on what is refused or mended below
        found = [_find(part, pool) for part in (both if split else [folder])]
        passed_over = sum(others for _, others in found)
        by_class = [classes for classes, _ in found]
        for part, classes in zip(both if split else [folder], by_class, strict=True):
            if not classes:
                aside = f", but {_files(passed_over)} of another kind" * bool(passed_over)
                raise UserError(
                    f"{part} has no pictures{aside}.\nGive a folder of {', '.join(FORMATS)} "
                    "files, or one of sub-folders of these, a class each."
                )
        if len({None in classes for classes in by_class}) > 1:
            raise UserError(f"of train and test in {folder}, one has classes, and the other none.")
        class_names = tuple(sorted({*by_class[0], *by_class[-1]} - {None}))

        headers = [header for c in by_class for files in c.values() for _, header in files]
        size, note = choose_size({size for size, _ in headers}, image_size)
        channels = 1 if all(mode in GREY for _, mode in headers) else 3
        with progress(len(headers), f"reading {folder.name}") as bar:
            parts = []
            for classes in by_class:
                files = [(f, name) for name, files in classes.items() for f, _ in files]
                batches = _read(files, class_names, size, channels, pool, bar)
                shape = (*size, channels)
                parts += read_split(batches, len(files), shape, str(folder), not split)
    if channels == 3 and all(map(_is_grey, (images for images, _ in parts))):
        parts = [(_first_channel(images), labels) for images, labels in parts]
    notes = [note] if note else []
    if passed_over:
        notes.append(f"passed over, as no pictures or not in a class: {_files(passed_over)}")
    if not split:
        notes.append("every 7th picture is held out for testing")
    return *parts, class_names, notes


def _find(folder, pool):
    """The pictures in a folder, and how many files are none, or have no class.

    A dict from class name, or None where there are no classes, to pairs of a file and what
    `_header` says of it, in the order of their names.
    """
    loose, inside, deeper = [], {}, 0
    for entry in _entries(folder):
        if entry.is_dir():
            files = _entries(entry)
            inside[entry] = [file for file in files if not file.is_dir()]
            deeper += sum(f.is_file() for d in files if d.is_dir() for f in d.rglob("*"))
        else:
            loose.append(entry)

    def pictures(files):
        headers = pool.map(_header, files)
        return [(f, header) for f, header in zip(files, headers, strict=True) if header]

    classes = {entry: found for entry, files in inside.items() if (found := pictures(files))}
    n = len(loose) + deeper + sum(map(len, inside.values()))
    if not classes:
        found = pictures(loose)
        return ({None: found} if found else {}), n - len(found)
    names = {}
    for entry in classes:
        other = names.setdefault(_name(entry).casefold(), entry)
        if other != entry:
            raise UserError(
                f"two classes in {folder} have one name, {other.name!r} and {entry.name!r}.\n"
                "Rename one of them, or put their pictures together."
            )
    n -= sum(map(len, classes.values()))
    return {_name(entry): found for entry, found in classes.items()}, n


def _files(n):
    return f"{n:,} file{'s' * (n != 1)}"


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
                if width * height > Image.MAX_IMAGE_PIXELS:
                    raise ValueError(f"{width:,} x {height:,} pixels are a decompression bomb")
                sides = (width, height) if image.getexif().get(0x0112, 1) > 4 else (height, width)
                return (
                    sides,
                    "RGB" if image.has_transparency_data and image.mode == "P" else image.mode,
                )
        except UnidentifiedImageError:
            if Image.registered_extensions().get(file.suffix.lower()) in FORMATS:
                raise ValueError("it is no whole picture") from None
            return None


def _read(files, class_names, size, channels, pool, bar):
    """Yield arrays of pictures, some at a time, and of their labels, or None."""

    def read(file):
        with _named(file), Image.open(file, formats=FORMATS) as image:
            image.draft(None, (2 * max(size), 2 * max(size)))  # a large JPEG is read smaller
            return fit(ImageOps.exif_transpose(image), size, channels)

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
