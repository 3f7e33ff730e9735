"""Read one picture file of any format that Pillow can decode."""

import contextlib
import functools
import os
import warnings
from typing import NamedTuple

from common.data.images import fit, flatten
from common.program.errors import reason

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

LONGEST_TEXT = 2**28  # bytes; the longest text that is accepted in a PNG file
# Pillow recognizes these formats, but needs other programs to decode them
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
DEEP = {"I", "F"}  # Pillow's modes with more than 8 bits, in addition to I;16, I;16B and so on
GREY = {"1", "L", "LA", "La"}  # Pillow's other modes without colour
BITS = (1, 8, 10, 12, 14, 16)  # common bit depths of the values in files with 16 or 32 bits
TURNS = {  # Each EXIF orientation requires this operation to turn the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """Properties of a picture that are read before any picture is decoded."""

    size: tuple[int, int]  # (height, width) after the picture is turned upright
    kind: str  # "integer" or "float" for pictures with more than 8 bits, "" for other pictures
    grey: bool
    maximum: float = 0  # largest value of a picture with more than 8 bits, else 0
    minimum: float = 0  # smallest value of such a picture, else 0
    frames: bool = False  # whether the file contains several frames or pages


@contextlib.contextmanager
def tolerant():
    """Let Pillow read long texts in PNG files, and suppress warnings, in a `with` block."""
    kept = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = LONGEST_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = kept


def opened(path, read):
    """Open a picture file as a PIL image, and return `read(image)`.

    Return None if the file has neither the content nor the suffix of a picture. If the file cannot
    be read, return the reason as a str.
    """
    formats, named = _formats(os.path.splitext(path)[1].lower())
    recognized = named
    try:
        if not os.path.isfile(path) and (os.path.exists(path) or os.path.islink(path)):
            return None  # a pipe or a broken link
        # From a path, Pillow 13.0 maps an uncompressed TIFF file to memory and turns it wrongly
        with open(path, "rb") as file, Image.open(file, formats=formats) as image:
            recognized = True
            return read(image)
    except MemoryError:
        raise
    except Exception as error:  # Damaged files raise many kinds of exceptions
        if not recognized and not isinstance(error, Image.DecompressionBombError):
            return None
        if why := getattr(error, "strerror", None):
            return why
        if isinstance(error, UnidentifiedImageError):
            empty = not os.path.getsize(path)
            return "it is empty" if empty else "its content is not a picture, or not complete"
        return reason(error)


@functools.cache
def _formats(suffix):
    """Return the possible formats of a file, and whether `suffix` belongs to picture files.

    Pillow finds the format by the signature in the file. Formats without a signature would match
    any file, so they are only possible if the suffix matches.
    """
    Image.init()
    formats = [name for name in Image.ID if name not in NOT_DECODED]
    named = Image.registered_extensions().get(suffix)
    named = "JPEG" if named == "MPO" else named
    return [f for f in formats if Image.OPEN[f][1] or f == named], named in formats


def _load(image):
    """Decode a PIL image. Decoding can also find an EXIF orientation at the end of the file."""
    if image.format == "TIFF":  # Otherwise Pillow would read all metadata, even if it is damaged
        image.info.pop("xmp", None)
        metadata = image.getexif()
        for tag in {*metadata} - {ExifTags.Base.Orientation}:
            del metadata[tag]
    image.load()


def _orientation(image):
    """Return the EXIF orientation of a PIL image, from 1 to 8. An invalid orientation becomes 1."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        # The `getexif` method of PNG images would decode the picture
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # Damaged metadata can raise many kinds of exceptions
        return 1
    return value if type(value) is int and value in TURNS else 1


def _kind(mode):
    if mode in DEEP or mode.startswith("I;16"):
        return "float" if mode == "F" else "integer"
    return ""


def read_header(image):
    """Return the Header of a PIL image. Decode it only if it has more than 8 bits."""
    kind, maximum, minimum = _kind(image.mode), 0, 0
    # Photographs in the format MPO also contain a preview
    frames = getattr(image, "is_animated", False) and image.format != "MPO"
    if kind:
        _load(image)
        values = np.asarray(image)
        values = values[np.isfinite(values)]
        maximum, minimum = values.max(initial=0).item(), values.min(initial=0).item()
    size = image.size if _orientation(image) > 4 else image.size[::-1]
    return Header(size, kind, bool(kind) or image.mode in GREY, maximum, minimum, frames)


def find_whites(headers):
    """Return the value that becomes white for each kind of picture, and notes for the user.

    All pictures of a kind share one value. Otherwise, dark pictures would become bright.
    """
    whites, notes = {}, []
    for kind in sorted({header.kind for header in headers} - {""}):
        maximum = max(header.maximum for header in headers if header.kind == kind)
        white = next((2**b - 1 for b in BITS if maximum <= 2**b - 1), maximum)
        whites[kind] = white
        if maximum and white != 2**16 - 1:
            notes.append(
                f"the largest {kind} in pictures with more than 8 bits is {maximum:.6g}, so "
                f"{white:.6g} becomes white"
            )
    if n := sum(header.minimum < 0 for header in headers):
        notes.append(f"pictures with negative values, which become black: {n:,}")
    if n := sum(header.frames for header in headers):
        notes.append(f"files with several frames or pages (only the first one is used): {n:,}")
    return whites, notes


def decode(image, size, channels, whites):
    """Convert a PIL image with `fit`. Return the array, and whether it was fully transparent.

    `whites` is the result of `find_whites`.
    """
    image.draft(None, (2 * max(size), 2 * max(size)))  # Large JPEG files are decoded faster
    _load(image)
    if (orientation := _orientation(image)) > 1:
        image = image.transpose(TURNS[orientation])
    if kind := _kind(image.mode):
        image = Image.fromarray(_to_8_bits(np.asarray(image), whites[kind]))
    image, ignored = flatten(image)
    return fit(image, size, channels), ignored


def _to_8_bits(values, white):
    """Convert an array of integers or floats to uint8. NaN and negative values become 0."""
    scaled = np.nan_to_num(values.astype(np.float32), posinf=white) * 255 / white
    if values.dtype.kind == "f":
        scaled = scaled.round()
    return scaled.clip(0, 255).astype(np.uint8)
