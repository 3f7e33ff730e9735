"""Prepare names for figures: sort and shorten them, and find fonts for their letters."""

import contextlib
import functools
import re
import unicodedata

from common.data.folders import natural

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.font_manager import FontPath, FontProperties
from matplotlib.ft2font import LoadFlags


def with_images(labels, class_names):
    """Return the names of the classes that occur in `labels` (n,), in natural order."""
    return sorted([class_names[label] for label in np.unique(labels)], key=natural)


def one_line(name):
    """Return a name on one line. Combine each letter with its accent if Unicode allows it."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def width(text):
    """Return the width of a text in terminal columns. Chinese letters are two columns wide."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def shorten(name, longest):
    """Return a name on one line, shortened to at most `longest` columns."""
    name = one_line(name)
    if width(name) <= longest:
        return name
    while width(name) > longest - 1:
        name = name[:-1]
    return f"{name}…"


def texts_of(class_names):
    """Return a dict from class names to their labels in figures, in natural order.

    The label is the name itself if installed fonts have all its letters. Otherwise, the label is a
    number, such as "class 2" for the second class in the dict.
    """
    _, missing = _search(class_names)
    return {
        name: f"class {i}" if missing & _letters(name) else name
        for i, name in enumerate(sorted(class_names, key=natural), 1)
    }


def numbers_note(class_names):
    """Return a line with the names of all classes that figures show as numbers, or "".

    The line also tells the user how to see the names in figures.
    """
    texts = texts_of(class_names).items()
    numbers = [f"{text} is {one_line(name)}" for name, text in texts if text != name]
    return bool(numbers) * (
        f"No installed font has the letters of these names, so figures number the classes: "
        f"{', '.join(numbers)}. To see the names, install a font for them, such as Noto Sans."
    )


def drawable(text):
    """Return a text in which "?" replaces each word that no installed font can draw."""
    _, missing = _search([text])
    letters = re.escape("".join(missing))
    return re.sub(rf"\w*[{letters}][\w{letters}]*", "?", one_line(text)) if missing else text


def add_fonts(*texts):
    """Add installed fonts to matplotlib's settings for letters that its default font lacks."""
    fonts, _ = _search(texts)
    known = matplotlib.rcParams["font.family"]
    if more := [font for font in fonts if font not in known]:
        matplotlib.rcParams["font.family"] = [*known, *more]


def _letters(text):
    """Return the visible letters in a text, which a font must contain."""
    return {
        letter
        for letter in one_line(text)
        if not letter.isspace() and unicodedata.category(letter) != "Cf"
        if not unicodedata.name(letter, "").startswith("VARIATION SELECTOR")
    }


def _search(texts):
    """Return the names of the fonts that the texts need besides matplotlib's default font.

    Also return the letters that no installed font has.
    """
    texts = [text for text in texts if not (text.isascii() and text.isprintable())]
    return _fonts_for(frozenset().union(*map(_letters, texts))) if texts else ((), frozenset())


@functools.cache  # The first search opens all font files, which can take a second
def _fonts_for(letters):
    """Return the names of installed fonts for these letters, and the letters that no font has."""
    if not (missing := letters - _drawn(_file("DejaVu Sans"), letters)):
        return (), missing
    _add_new_fonts()
    found, chosen = {}, []
    for font in font_manager.fontManager.ttflist:
        if "lastresort" not in font.name.replace(" ", "").lower():  # This font draws boxes
            drawn = _drawn(FontPath(font.fname, font.index), missing)
            found.setdefault(font.name, set()).update(drawn)
    while found and missing:
        best = max(sorted(found), key=lambda name: (len(found[name] & missing), "Sans" in name))
        if not found.pop(best) & missing:
            break
        # A font can have several files, and matplotlib may choose one with fewer letters
        if drawn := _drawn(_file(best), missing):
            chosen.append(best)
            missing -= drawn
    return tuple(chosen), missing


def _file(font):
    """Return the path of the file that matplotlib uses for a font with this name."""
    properties = FontProperties(family=[font])
    return font_manager.fontManager.findfont(properties, fallback_to_default=False)


def _drawn(file, letters):
    """Return the letters that matplotlib can draw with a font file."""
    found = set()
    # The file may be damaged, or may contain only bitmaps
    with contextlib.suppress(OSError, RuntimeError):
        font = font_manager.get_font(file)
        for letter in letters:
            if index := font.get_char_index(ord(letter)):
                font.load_glyph(index, LoadFlags.NO_SCALE)
                if len(font.get_path()[0]):  # Some emoji fonts have no outlines, only colours
                    found.add(letter)
    return found


def _add_new_fonts():
    """Add fonts that were installed after matplotlib had stored its list of fonts."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for file in sorted({*font_manager.findSystemFonts()} - known):
        with contextlib.suppress(Exception):  # Damaged files raise many kinds of exceptions
            font_manager.fontManager.addfont(file)
