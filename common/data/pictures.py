"""A folder of pictures."""

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
BATCH = 256  # number of pictures that are read together


def load(folder, image_size=None):
    """Return the pictures of a folder as training and test set.

    The classes are the sub-folders that contain pictures. If the folder has sub-folders `train` and
    `test`, these are the two sets. Otherwise every 7th picture, in the order of their paths, is
    held out for testing. The images are grey if all pictures are grey, else RGB. `image_size` is
    "HxW" or None, as for `sources.load_dataset`, which also lists the exceptions.

    Returns:
        (train images, labels), (test images, labels), class names, notes for the user. Images are
        uint8 (n, height, width, channels). Labels are int64 (n,), or None without classes.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist. Correct the path after --images.")
    with ThreadPoolExecutor(cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is reported or repaired below
        split = [folder / "train", folder / "test"]
        hold_out = not all(part.is_dir() for part in split)
        found = [_find(part, pool) for part in ([folder] if hold_out else split)]
        class_names = _class_names(folder, found)
        headers = [header for pictures in found for *_, header in pictures]
        size, note = choose_size({size for size, _ in headers}, image_size)
        shape = (*size, 1 if all(mode in GREY for _, mode in headers) else 3)
        check_memory(len(headers), shape, str(folder))
        sets = []
        with progress(len(headers), f"reading {folder.name}") as bar:
            for pictures in found:
                batches = _read(pictures, class_names, shape, pool, bar)
                sets += read_split(batches, len(pictures), shape, hold_out)
    if shape[2] == 3 and all((image == image[..., :1]).all() for x, _ in sets for image in x):
        sets = [(_first_channel(images), labels) for images, labels in sets]
    notes = [note] if note else []
    if skipped := len(_files(folder)) - len(headers):
        notes.append(f"files skipped (not a picture, or in no class or set): {skipped:,}")
    if hold_out:
        notes.append("every 7th picture is held out for testing")
    return *sets, class_names, notes


def _find(folder, pool):
    """Return the pictures of one set, sorted by class and file.

    A picture is (class name or None, file, header as from `_header`).
    """
    files = _files(folder)
    depths = [len(file.relative_to(folder).parts) for file in files]
    loose, inner = ([f for f, d in zip(files, depths, strict=True) if d == i] for i in (1, 2))
    pictures, folders = [], {}  # from class names to folders
    for file, header in zip(inner, pool.map(_header, inner), strict=True):
        if header:
            name = unicodedata.normalize("NFC", file.parent.name).strip()
            if folders.setdefault(name, file.parent) != file.parent:
                raise _same_name(folder, folders[name].name, file.parent.name)
            pictures.append((name, file, header))
    if not pictures:
        headers = zip(loose, pool.map(_header, loose), strict=True)
        pictures = [(None, file, header) for file, header in headers if header]
    if pictures:
        return pictures
    if deeper := len(files) - len(loose) - len(inner):
        raise UserError(
            f"{folder} and its sub-folders contain no pictures, but deeper folders contain files: "
            f"{deeper:,}.\nGive a folder whose sub-folders are the classes. The two sets, if any, "
            "must be called train and test, in small letters."
        )
    aside = f", but other files: {len(files):,}" * bool(files)
    raise UserError(
        f"{folder} contains no pictures{aside}.\nGive a folder of {', '.join(FORMATS)} files, or a "
        "folder with one sub-folder of such files per class."
    )


def _files(folder):
    """Return the files in a folder and its sub-folders that are not hidden, sorted by path."""
    entries = sorted(f for f in folder.iterdir() if not f.name.startswith((".", "__MACOSX")))
    return [f for entry in entries for f in (_files(entry) if entry.is_dir() else [entry])]


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


def _opened(file, read):
    """Return `read(image)` for the picture in a file, or None for a file that is not a picture.

    Raise UserError if the picture cannot be read, or if only the file's name is that of a picture.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            return read(image)
    except Exception as error:  # damaged files raise many kinds of exceptions
        why = getattr(error, "strerror", None) or reason(error)
        if isinstance(error, UnidentifiedImageError):
            if Image.registered_extensions().get(file.suffix.lower()) not in FORMATS:
                return None
            why = "it is not a complete picture"
        message = f"{file} cannot be read: {why}.\nFix it, or remove it from the folder."
        raise UserError(message) from error


def _header(file):
    """Return the (height, width) of a picture as it is displayed, and its mode; or None."""

    def read(image):
        turned = image.getexif().get(0x0112, 1) > 4  # the tag "Orientation"
        return image.size if turned else image.size[::-1], image.mode

    return _opened(file, read) if file.is_file() else None  # it may be a broken link


def _read(pictures, class_names, image_shape, pool, bar):
    """Yield arrays of images and of their labels, or None without classes, BATCH at a time."""
    *size, channels = image_shape

    def read(image):
        image.draft(None, (2 * max(size), 2 * max(size)))  # decodes a large JPEG faster
        return fit(ImageOps.exif_transpose(image), tuple(size), channels)

    for batch in slices(pictures, BATCH):
        images = np.stack([*pool.map(lambda picture: _opened(picture[1], read), batch)])
        bar.update(len(batch))
        yield images, np.array([class_names.index(c) for c, *_ in batch]) if class_names else None


def _first_channel(images):
    """Return the first channel of images (n, height, width, 3), in the same memory."""
    grey = images.reshape(-1)[: images[..., 0].size].reshape(*images.shape[:3], 1)
    for target, image in zip(
        grey, images, strict=True
    ):  # overwrites only pixels that have been copied
        target[:] = image[..., :1]
    return grey
