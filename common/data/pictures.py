"""Load a folder of pictures."""

import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.data.images import check_memory, choose_size, fit, progress, read_split
from common.devices.parts import slices
from common.program.errors import UserError, reason

import numpy as np
from joblib import cpu_count
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}  # Pillow's modes without colour
BATCH = 256  # Pictures are read in batches of this size


def load(folder, image_size=None):
    """Return the training set, test set, class names and notes for a folder of pictures.

    Each set is a pair: uint8 images (n, height, width, channels), and int64 labels (n,) or None
    without classes. `image_size` is "HxW" or None. common/data/README.md has the rules.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist. Correct the path after --images.")
    with ThreadPoolExecutor(cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # This function handles the problems that Pillow warns of
        split = [folder / "train", folder / "test"]
        hold_out = not all(part.is_dir() for part in split)
        found = [_find(part, pool) for part in ([folder] if hold_out else split)]
        class_names = _class_names(folder, found)
        headers = [header for pictures in found for *_, header in pictures]
        size, notes = choose_size({size for size, _ in headers}, image_size)
        shape = (*size, 1 if all(mode in GREY for _, mode in headers) else 3)
        check_memory(len(headers), shape, str(folder))
        sets = []
        with progress(len(headers), f"reading {folder.name}") as bar:
            for pictures in found:
                batches = _read(pictures, class_names, shape, pool, bar)
                sets += read_split(batches, len(pictures), shape, hold_out)
    if shape[2] == 3 and all((image == image[..., :1]).all() for x, _ in sets for image in x):
        sets = [(images[..., :1].copy(), labels) for images, labels in sets]
    if skipped := len(_files(folder)) - len(headers):
        notes.append(f"files skipped (not a picture, or in no class or set): {skipped:,}")
    if hold_out:
        notes.append("every 7th picture is held out for testing")
    return *sets, class_names, notes


def _find(folder, pool):
    """Return a list of tuples (class name or None, file, header), one per picture in a folder."""
    files = _files(folder)
    for depth in (2, 1):  # Use loose pictures only if sub-folders have none
        here = [file for file in files if len(file.parts) == len(folder.parts) + depth]
        # A broken link is not a file
        headers = pool.map(lambda file: _opened(file, _header) if file.is_file() else None, here)
        pictures = []
        for file, header in zip(here, headers, strict=True):
            if header:
                name = unicodedata.normalize("NFC", file.parent.name).strip()
                pictures.append((name if depth == 2 else None, file, header))
        if pictures:
            return pictures
    raise UserError(
        f"{folder} contains no pictures. Other files, or files in deeper folders: {len(files):,}.\n"
        f"Give a folder of {', '.join(FORMATS)} files, or a folder of such folders, one per class. "
        "Folders of training and test pictures must be called train and test, in small letters."
    )


def _files(folder):
    """Return the files in a folder and its sub-folders that are not hidden, sorted by path."""
    entries = sorted(f for f in folder.iterdir() if not f.name.startswith((".", "__MACOSX")))
    return [f for entry in entries for f in (_files(entry) if entry.is_dir() else [entry])]


def _class_names(folder, found):
    """Return the sorted class names. Raise UserError if two names differ only in case."""
    classes = [{name for name, *_ in pictures} for pictures in found]
    if len({None in names for names in classes}) > 1:
        what = f"Only one of the folders train and test in {folder} has classes."
        raise UserError(f"{what} Give both the same sub-folders, or none.")
    names = {}
    for name in sorted(set.union(*classes) - {None}):
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"The names of two classes in {folder} differ only in case: {other!r} and {name!r}."
                "\nRename one of them, or move their pictures into one folder."
            )
    return tuple(names.values())


def _opened(file, read):
    """Return `read(image)` for the PIL image in a file, or None if the file is not a picture.

    Raise UserError if a picture, or a file with the extension of a picture, cannot be read.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            return read(image)
    except Exception as error:  # Damaged files raise many kinds of exceptions
        why = getattr(error, "strerror", None) or reason(error)
        if isinstance(error, UnidentifiedImageError):
            if Image.registered_extensions().get(file.suffix.lower()) not in FORMATS:
                return None
            why = "the picture is not complete"
        message = f"{file} cannot be read: {why}.\nFix this file, or remove it from the folder."
        raise UserError(message) from error


def _header(image):
    """Return the (height, width) at which a PIL image is displayed, and its colour mode."""
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
    return image.size if turned else image.size[::-1], image.mode


def _read(pictures, class_names, image_shape, pool, bar):
    """Yield batches of images and labels. If there are no classes, the labels are None."""
    *size, channels = image_shape

    def read(image):
        image.draft(None, (2 * max(size), 2 * max(size)))  # A large JPEG is decoded faster
        return fit(ImageOps.exif_transpose(image), tuple(size), channels)

    for batch in slices(pictures, BATCH):
        images = np.stack([*pool.map(lambda picture: _opened(picture[1], read), batch)])
        bar.update(len(batch))
        yield images, np.array([class_names.index(c) for c, *_ in batch]) if class_names else None
