"""Tests of common/names.py: order, length and fonts of the names in figures."""

import io

from common import names, plotting
from common.data.folders import natural
from common.names import drawable, numbers_note, shorten, texts_of, width

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.image import imread

CAT, DOG, THAI = "猫", "犬", "แมว"
COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Return a list of font files that are simulated to be installed beside DejaVu."""
    installed, manager = [], font_manager.fontManager
    dejavu = [font for font in manager.ttflist if font.name.startswith(("DejaVu", "Last"))]
    monkeypatch.setattr(manager, "ttflist", dejavu)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    search = names._fonts_for
    search.cache_clear()
    yield installed
    search.cache_clear()


def make_font(file, letters, empty=()):
    """Write a font whose letters are black squares, except for those in `empty`."""
    names_of = {letter: f"u{ord(letter)}" for letter in letters}
    font, square = FontBuilder(1000, isTTF=True), TTGlyphPen(None)
    font.setupGlyphOrder([".notdef", *names_of.values()])
    font.setupCharacterMap({ord(letter): name for letter, name in names_of.items()})
    square.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        square.lineTo(corner)
    square.closePath()
    blank, black = TTGlyphPen(None).glyph(), square.glyph()
    glyphs = {name: blank if letter in empty else black for letter, name in names_of.items()}
    font.setupGlyf({".notdef": blank} | glyphs)
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *glyphs], (1000, 0)))
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": file.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(file)
    return str(file)


def legend_of(class_names):
    """Return the legend of a latent space with some points per class, and the drawn figure."""
    labels = np.arange(60) % len(class_names)
    mean = np.random.default_rng(0).normal(size=(60, 2))
    figure = plotting.show_latent_space(mean, labels, class_names, "t")
    file = io.BytesIO()
    plotting.save_figure(figure, file)
    image = imread(io.BytesIO(file.getvalue()))[..., :3].mean(axis=2)
    return figure.axes[0].get_legend(), image


def ink(text, image):
    """Return the share of black in the middle of a text's box."""
    box = text.get_window_extent()
    rows = slice(round(len(image) - box.y1) + 3, round(len(image) - box.y0) - 3)
    return 1 - image[rows, round(box.x0) + 3 : round(box.x1) - 3].mean()


def test_names_with_numbers_are_in_numeric_order():
    assert sorted(["10", "9", "1", "02"], key=natural) == ["1", "02", "9", "10"]
    assert sorted(["b", "a10", "B", "a9"], key=natural) == ["B", "a9", "a10", "b"]


def test_long_names_are_shortened_to_their_width():
    assert shorten("T-shirt/top", 11) == "T-shirt/top"
    assert shorten("T-shirt/top", 8) == "T-shirt…"
    assert shorten(CAT * 4, 8) == CAT * 4
    assert shorten(CAT * 5, 8) == CAT * 3 + "…"
    assert (width("cat"), width(CAT)) == (3, 2)
    assert shorten(f" {DECOMPOSED}\n au  lait", 20) == f"{COMPOSED} au lait"


def test_names_that_the_default_font_can_draw_need_no_search(monkeypatch):
    monkeypatch.setattr(names, "_add_new_fonts", None)
    known = ("قطة", "кот", COMPOSED, DECOMPOSED, "a b", "❤\ufe0f", "❤\u200d", "a\U000e0100")
    assert texts_of(known) == {name: name for name in sorted(known, key=natural)}
    assert numbers_note(known) == ""
    monkeypatch.setattr(names, "_fonts_for", None)  # for ASCII, not even one font is opened
    assert texts_of(("cat", "dog")) == {"cat": "cat", "dog": "dog"}
    assert drawable("MMD-VAE, epoch 1") == "MMD-VAE, epoch 1"


def test_names_without_a_font_become_numbers_that_a_line_explains():
    class_names = (CAT, "cat", THAI, "kot", "tab\x01")
    expected = {"cat": "cat", "kot": "kot", "tab\x01": "class 3", THAI: "class 4", CAT: "class 5"}
    assert texts_of(class_names) == expected
    for words in (f"class 4 is {THAI}", f"class 5 is {CAT}", "class 3 is"):
        assert words in numbers_note(class_names)
    legend, _ = legend_of(class_names)
    assert [text.get_text() for text in legend.get_texts()] == list(expected.values())
    images = np.zeros((5, 8, 8, 1), np.uint8)
    figure = plotting.show_reconstructions(
        lambda z: images[:, :] / 1.0, np.zeros((5, 2)), images, np.arange(5), class_names, CAT
    )
    texts = [text.get_text() for text in figure.axes[0].texts[:-1]]
    assert texts == [expected[name] for name in class_names]
    assert figure.texts[0].get_text() == "?"
    assert drawable(f"CVAE, {CAT}と{DOG} 5 (b), epoch 1") == "CVAE, ? 5 (b), epoch 1"


def test_installed_fonts_draw_the_names(installed, tmp_path):
    """Square letters simulate the fonts. They are installed after matplotlib listed all fonts."""
    before = matplotlib.rcParams["font.family"]
    installed += [
        make_font(tmp_path / "Bitmap Emoji.ttf", CAT + DOG, empty=CAT + DOG),
        make_font(tmp_path / "Squares Sans.ttf", CAT + DOG),
        make_font(tmp_path / "Thai.ttf", THAI),
    ]
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    installed.append(str(tmp_path / "damaged.ttf"))
    class_names = (CAT + DOG, "cat", THAI, "한국")
    legend, image = legend_of(class_names)
    texts = legend.get_texts()
    assert [text.get_text() for text in texts] == ["cat", THAI, CAT + DOG, "class 4"]
    shares = [ink(text, image) for text in texts]
    assert shares[1] > 0.85 > 0.6 > shares[0]
    assert shares[2] > 0.85 > 0.6 > shares[3]
    families = texts[2].get_fontfamily()
    assert {"Squares Sans", "Thai"} < {*families}
    assert "Bitmap Emoji" not in families
    assert matplotlib.rcParams["font.family"] == before


def test_names_with_symbols_of_mathematics_are_drawn_as_they_are():
    class_names = ("$x_1$", "$\\frac", "_under_score", "50% \\alpha")
    legend, _ = legend_of(class_names)
    texts = legend.get_texts()
    assert [text.get_text().strip() for text in texts] == sorted(class_names, key=natural)
    assert not any(text.get_parse_math() for text in texts)
