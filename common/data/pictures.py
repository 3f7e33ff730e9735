"""A folder of pictures."""

import contextlib
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.data.images import check_memory, choose_size, fit, progress, read_split
from common.devices.parts import slices
from common.program.errors import UserError, reason

import numpy as np
from joblib import cpu_count
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}  # Pillow's modes without colour
BATCH = 256  # pictures that are read at a time


def load(folder, image_size=None):
    """Return the pictures of a folder as training and test set.

    The classes are the sub-folders that contain pictures. If the folder has sub-folders `train` and
    `test`, these are the two sets. Otherwise every 7th picture, in the order of the file names, is
    held out for testing. The images are grey if all pictures are grey, else RGB.

    Args:
        folder: its path.
        image_size: "HxW", or None as for `images.choose_size`.

    Returns:
        (train images, labels), (test images, labels), class names, notes for the user. Images are
        uint8 (n, height, width, channels). Labels are int64 (n,), or None without classes.

    Raises:
        UserError: the folder does not exist or contains no pictures, a picture cannot be read, the
            names of two classes are too similar, or the pictures do not fit in memory.
        OSError: a folder cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist. Correct the path after --images.")
    with ThreadPoolExecutor(cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is reported or repaired below
        found, skipped = _find_sets(folder, pool)
        split = len(found) > 1
        class_names = _class_names(folder, found)
        headers = [header for pictures in found for *_, header in pictures]
        size, note = choose_size({size for size, _ in headers}, image_size)
        shape = (*size, 1 if all(mode in GREY for _, mode in headers) else 3)
        check_memory(len(headers), shape, str(folder))
        sets = []
        with progress(len(headers), f"reading {folder.name}") as bar:
            for pictures in found:
                batches = _read(pictures, class_names, shape, pool, bar)
                sets += read_split(batches, len(pictures), shape, hold_out=not split)
    if shape[2] == 3 and all(_is_grey(images) for images, _ in sets):
        sets = [(_first_channel(images), labels) for images, labels in sets]
    notes = [note] if note else []
    if skipped:
        notes.append(f"files skipped (not a picture, or in no class or set): {skipped:,}")
    if not split:
        notes.append("every 7th picture is held out for testing")
    return *sets, class_names, notes


def _find_sets(folder, pool):
    """Return the pictures of one or two sets, as from `_find`, and the number of other files."""
    parts = [folder / "train", folder / "test"]
    found, skipped = [], 0
    if all(part.is_dir() for part in parts):
        beside = [entry for entry in _entries(folder) if entry not in parts]
        skipped = sum(_count(entry) if entry.is_dir() else 1 for entry in beside)
    else:
        parts = [folder]
    for part in parts:
        pictures, others, deeper = _find(part, pool)
        if not pictures:
            raise _without_pictures(part, others, deeper)
        found.append(pictures)
        skipped += others + deeper
    return found, skipped


def _find(folder, pool):
    """Return the pictures of one set, the number of other files, and that of deeper files.

    A picture is (class name or None, file, header as from `_header`). They are sorted by name.
    """
    entries = _entries(folder)
    loose = [entry for entry in entries if not entry.is_dir()]
    pictures, classes, n, deeper = [], {}, len(loose), 0
    for entry in [entry for entry in entries if entry.is_dir()]:
        files = _entries(entry)
        deeper += sum(_count(file) for file in files if file.is_dir())
        files = [file for file in files if not file.is_dir()]
        n += len(files)
        name = unicodedata.normalize("NFC", entry.name).strip()
        if of_class := _pictures(name, files, pool):
            if name in classes:
                raise _same_name(folder, classes[name], entry.name)
            classes[name] = entry.name
            pictures += of_class
    pictures = pictures or _pictures(None, loose, pool)
    return pictures, n - len(pictures), deeper


def _pictures(name, files, pool):
    headers = pool.map(_header, files)
    return [(name, file, header) for file, header in zip(files, headers, strict=True) if header]


def _class_names(folder, found):
    """Return the sorted names of the classes. Raise UserError if two differ only in case."""
    classes = [{name for name, *_ in pictures} for pictures in found]
    if len({None in names for names in classes}) > 1:
        what = f"Only one of the folders train and test in {folder} has classes."
        raise UserError(f"{what} Give both the same sub-folders, or none.")
    names = {}
    for name in sorted(set.union(*classes) - {None}):
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise _same_name(folder, other, name)
    return tuple(names.values())


def _same_name(folder, name, other):
    return UserError(
        f"Two classes in {folder} have names that are too similar: {name!r} and {other!r}.\n"
        "Rename one of them, or move their pictures into one folder."
    )


def _without_pictures(folder, others, deeper):
    if deeper:
        return UserError(
            f"{folder} and its sub-folders contain no pictures, but deeper folders contain files: "
            f"{deeper:,}.\nGive a folder whose sub-folders are the classes. The two sets, if any, "
            "must be called train and test, in small letters."
        )
    aside = f", but other files: {others:,}" * bool(others)
    return UserError(
        f"{folder} contains no pictures{aside}.\nGive a folder of {', '.join(FORMATS)} files, or a "
        "folder with one sub-folder of such files per class."
    )


def _count(folder):
    """Return the number of files in a folder and its sub-folders."""
    return sum(file.is_file() for file in folder.rglob("*"))


def _entries(folder):
    """Return what is in a folder and not hidden, sorted by name."""
    return sorted(f for f in folder.iterdir() if not f.name.startswith((".", "__MACOSX")))


@contextlib.contextmanager
def _naming(file):
    """Turn the exceptions of Pillow into a UserError that names the file."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files raise many kinds of exceptions
        why = getattr(error, "strerror", None) or reason(error)
        message = f"{file} cannot be read: {why}.\nFix it, or remove it from the folder."
        raise UserError(message) from error


def _header(file):
    """Return the (height, width) of a picture as it is displayed, and its mode.

    Return None for a file that is not a picture. Raise UserError if its name is that of a picture.
    """
    if not file.is_file():  # reading from a named pipe would block
        return None
    with _naming(file):
        try:
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                turned = image.getexif().get(0x0112, 1) > 4  # the tag "Orientation"
                return (width, height) if turned else (height, width), image.mode
        except UnidentifiedImageError:
            if Image.registered_extensions().get(file.suffix.lower()) in FORMATS:
                raise ValueError("it is not a complete picture") from None
            return None


def _read(pictures, class_names, image_shape, pool, bar):
    """Yield arrays of images and of their labels, or None without classes, BATCH at a time."""
    *size, channels = image_shape

    def read(file):
        with _naming(file), Image.open(file, formats=FORMATS) as image:
            image.draft(None, (2 * max(size), 2 * max(size)))  # decodes a large JPEG faster
            return fit(ImageOps.exif_transpose(image), tuple(size), channels)

    for batch in slices(pictures, BATCH):
        images = np.stack([*pool.map(read, [file for _, file, _ in batch])])
        bar.update(len(batch))
        yield images, np.array([class_names.index(c) for c, *_ in batch]) if class_names else None


def _is_grey(images):
    return all((image == image[..., :1]).all() for image in images)


def _first_channel(images):
    """Return the first channel of images (n, height, width, 3), in the same memory."""
    n, height, width, _ = images.shape
    grey = images.reshape(-1)[: n * height * width].reshape(n, height, width, 1)
    for target, image in zip(grey, images, strict=True):  # only overwrites what has been copied
        target[:] = image[..., :1]
    return grey
