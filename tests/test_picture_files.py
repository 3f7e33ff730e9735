"""Tests of common/data/picture_files.py: formats, metadata, numbers of bits, transparency."""

import io
import struct
from unittest.mock import Mock

from common.data import picture_files, pictures
from common.data.picture_files import opened, read_header

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from small_pictures import (
    BLUE,
    GREEN,
    RED,
    all_images,
    check_error,
    load,
    numbered,
    paint,
    save,
)  # fmt: skip

TRANSPARENT = paint(size=(28, 28)).convert("RGBA")
TRANSPARENT.putalpha(Image.new("L", (28, 28), 0))
TRANSPARENT.putpixel((0, 0), (0, 0, 0, 255))
SIXTEEN_BITS = Image.fromarray(np.full((28, 28), 128 * 257, np.uint16))
KINDS = {  # file name: the picture, and the colour of the centre of its lower half
    "a.jpg": (paint(RED, (28, 28)), RED),
    "b.png": (paint(GREEN, (28, 28)), GREEN),
    "c.bmp": (paint(BLUE, (28, 28)), BLUE),
    "d.gif": (paint(RED, (28, 28), "P"), RED),
    "e.webp": (paint(BLUE, (28, 28)), BLUE),
    "f.jpeg": (paint(GREEN, (28, 28), "CMYK"), GREEN),
    "g.png": (TRANSPARENT, (255, 255, 255)),
    "h.png": (SIXTEEN_BITS, (128, 128, 128)),
    "i.png": (paint((255, 255, 255), (28, 28), "1"), (255, 255, 255)),
    "j.png": (paint((90, 90, 90), (28, 28), "LA"), (90, 90, 90)),
    "k.PNG": (paint(BLUE, (28, 28), "P"), BLUE),
    "l": (paint(RED, (28, 28)), RED),
    "m.png": (paint((90, 90, 90), (28, 28), "L"), (90, 90, 90)),
    "n.png": (paint(RED, (28, 28)), RED),
}
KINDS |= {  # suffixes do not matter
    "o.tif": (paint(GREEN, (28, 28)), GREEN),
    "p.avif": (paint(BLUE, (28, 28)), BLUE),
    "q.ppm": (paint(RED, (28, 28)), RED),
    "r.tga": (paint(GREEN, (28, 28)), GREEN),
    "s.jp2": (paint(BLUE, (28, 28)), BLUE),
    "t.jpg": (paint(RED, (28, 28)), RED),
    "u.txt": (paint(GREEN, (28, 28)), GREEN),
}
FORMATS = {"l": "PNG", "t.jpg": "TIFF", "u.txt": "AVIF"}


@pytest.fixture(autouse=True)
def in_name_order(monkeypatch):
    """Load pictures in the order of their names instead of a random order."""
    monkeypatch.setattr(pictures, "_in_random_order", lambda _: 0)


def test_pictures_of_every_kind_are_read_in_the_order_of_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "BATCH", 3)
    for name, (image, _) in KINDS.items():
        save(tmp_path, name, image, format=FORMATS.get(name))
    data = load(tmp_path)
    assert (data.image_shape, data.class_names, data.train_labels) == ((28, 28, 3), (), None)
    assert data.title == tmp_path.name
    colors = np.array([color for _, color in KINDS.values()])
    held_out = np.arange(len(KINDS)) % 7 == 6
    assert np.abs(data.train_images.numpy()[:, 21, 14] - colors[~held_out]).max() < 45
    assert np.abs(data.test_images[:, 21, 14] - colors[held_out]).max() < 45
    assert len(data.notes) == 1  # about the split


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "16"])
def test_images_are_grey_if_all_pictures_are_grey(mode, tmp_path):
    image = SIXTEEN_BITS if mode == "16" else paint((80, 80, 80), (28, 28), mode)
    save(tmp_path, numbered(8), image)
    data = load(tmp_path)
    assert data.image_shape == (28, 28, 1)
    assert {"1": 255, "16": 128}.get(mode, 80) in data.train_images.numpy()[:, 21, 14, 0]
    save(tmp_path, "9.png", paint(GREEN, (28, 28)))
    with_color = all_images(load(tmp_path))
    assert with_color.shape == (9, 28, 28, 3)
    np.testing.assert_array_equal(with_color[:7, ..., 0], all_images(data)[:7, ..., 0])


def test_pictures_are_turned_by_exif_and_gifs_give_their_first_frame(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be displayed a quarter turn to the right
    save(tmp_path, numbered(7, "jpg"), paint(size=(40, 24)), exif=exif)
    data = load(tmp_path)
    assert data.image_shape == (40, 24, 3)
    image = data.train_images.numpy()[0]
    assert image[5, 18].min() > 240 > image[5, 5].min()  # the white quarter
    frames = [paint(c, (40, 24), "P") for c in (GREEN, RED)]
    save(tmp_path / "gif", numbered(7, "gif"), frames[0], save_all=True, append_images=frames[1:])
    assert load(tmp_path / "gif").train_images.numpy()[0, 20, 30].argmax() == 1


def exif(orientation, kind=3, count=1, tag=0x0112, more=()):
    """Return EXIF metadata whose only entry may have any type, as bytes."""
    entries = sorted([(tag, kind, count, orientation), *more])
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "tif"])
def test_every_orientation_is_displayed_as_its_definition_says(suffix, tmp_path):
    """Compare with the definition: where the first row and the first column are displayed."""
    stored = np.zeros((24, 40), np.uint8)
    stored[:6], stored[:, :10] = 120, 240  # the first rows, then the first columns
    first_row = "", "top", "top", "bottom", "bottom", "left", "right", "right", "left"
    first_column = "", "left", "right", "right", "left", "top", "top", "bottom", "bottom"
    sides = {"top": np.s_[2, :], "bottom": np.s_[-3, :], "left": np.s_[:, 2]}
    sides["right"] = np.s_[:, -3]
    for n in range(1, 9):
        info = Image.Exif()
        info[0x0112] = n
        picture = Image.fromarray(stored)
        save(tmp_path / str(n), numbered(7, suffix), picture, exif=info.tobytes())
        images = load(tmp_path / str(n)).train_images.numpy()
        assert images.shape == (6, *((40, 24) if n > 4 else (24, 40)), 1)
        image = images[0, ..., 0].astype(int)
        assert abs(np.median(image[sides[first_row[n]]]) - 120) < 20
        assert abs(np.median(image[sides[first_column[n]]]) - 240) < 20


INVALID = [
    (0x0112, 2, 4, b"abc\0"), (0x0112, 3, 1, b"\x09\0\0\0"), (0x0112, 3, 0, b"\0\0\0\0"),
    (0x0112, 1, 1, b"\x06\0\0\0"), (0x0112, 16, 9, b"\xff" * 4), (0x0112, 5, 1, b"\xff" * 4),
    (0x0112, 11, 1, b"\0\0\xc0\x7f"),
]  # fmt: skip
OTHER_TAGS = (0x011A, 0x0128, 0x0131, 0x02BC, 0x8769, 0x8825, 0xA005, 0x9286)
MISTYPED = [(tag, kind, count, value) for tag in OTHER_TAGS for kind in (1, 2, 3, 5, 6, 12)
            for count, value in ((1, b"\xff" * 4), (2, b"ab\0\0"), (100, b"\xff" * 4))]  # fmt: skip


def read_turned(path):
    """Return the (height, width) in a picture's header, and its pixels at 40 x 24."""
    with picture_files.tolerant():
        header = opened(path, read_header)
        image, _ = opened(path, lambda image: picture_files.decode(image, (40, 24), 3, {}))
    return header.size, image


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_mistyped_metadata_cost_neither_the_picture_nor_its_orientation(suffix, tmp_path):
    path, picture = tmp_path / f"x.{suffix}", paint(size=(40, 24))
    for tag, kind, count, value in INVALID:
        picture.save(path, exif=exif(value, kind, count, tag))
        assert read_turned(path)[0] == (24, 40)
    for entry in MISTYPED:
        picture.save(path, exif=exif(b"\x06\0\0\0", more=[entry]))
        check_turned(path)


def check_turned(path):
    """Check that a picture of `paint` is turned a quarter to the right."""
    size, image = read_turned(path)
    assert size == (40, 24)
    assert image[5, 18].min() > 240 > image[5, 5].min()


def tiff(more):
    """Return a TIFF of 40 x 24 pixels to be turned, with further entries, as bytes."""
    size, pixels = struct.Struct("<I").pack, paint(size=(40, 24)).tobytes()
    entries = {0x100: (4, 1, size(40)), 0x101: (4, 1, size(24)), 0x103: (3, 1, size(1)),
               0x106: (3, 1, size(2)), 0x112: (3, 1, size(6)), 0x115: (3, 1, size(3)),
               0x116: (4, 1, size(24)), 0x117: (4, 1, size(len(pixels)))}  # fmt: skip
    entries |= {tag: entry for tag, *entry in more} | {0x102: None, 0x111: None}
    end = 14 + 12 * len(entries)
    entries |= {0x102: (3, 3, size(end)), 0x111: (4, 1, size(end + 6))}
    body = b"".join(struct.pack("<HHI4s", tag, *entries[tag]) for tag in sorted(entries))
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    return head + body + b"\0\0\0\0" + struct.pack("<HHH", 8, 8, 8) + pixels


def test_mistyped_tags_of_a_tiff_cost_neither_the_picture_nor_its_orientation(tmp_path):
    path = tmp_path / "x.tif"
    for entry in [(0x8769, 6, 1, b"\xff" * 4), *[entry for entry in MISTYPED if entry[0] != 0x11A]]:
        path.write_bytes(tiff([entry]))
        check_turned(path)


def test_a_png_with_a_long_text_is_read_and_the_limits_are_restored(tmp_path):
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    long = PngImagePlugin.PngInfo()
    long.add_text("workflow", "x" * (2 * limits[0]), zip=True)
    long.add_itxt("prompt", "y" * (2 * limits[0]), zip=True)
    save(tmp_path, numbered(7), paint(GREEN, (28, 28)), pnginfo=long)
    assert load(tmp_path).train_images.numpy()[0, 21, 14].tolist() == list(GREEN)
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_pictures_are_decoded_once(tmp_path, monkeypatch):
    save(tmp_path, numbered(7))
    decoded, load_pixels = [], PngImagePlugin.PngImageFile.load_end
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end",
                        lambda image: [decoded.append(image), load_pixels(image)])  # fmt: skip
    load(tmp_path)
    assert len(decoded) == 7


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_common_maximum_of_16_bit_files_decides_their_number_of_bits(bits, suffix, tmp_path):
    white = 2**bits - 1
    tones = [*range(0, white // 8, white // 64), white]  # most files are dark
    for number, tone in enumerate(tones):
        save(tmp_path, f"{number}.{suffix}", Image.fromarray(np.full((8, 8), tone, np.uint16)))
    data = load(tmp_path)
    expected = np.array([tone * 255 // white for tone in tones])
    held_out = np.arange(len(tones)) % 7 == 6
    assert data.train_images.numpy()[:, 0, 0, 0].tolist() == expected[~held_out].tolist()
    assert data.test_images[:, 0, 0, 0].tolist() == expected[held_out].tolist()
    assert any(f"so {white} becomes white" in note for note in data.notes) == (bits < 16)


@pytest.mark.parametrize(("values", "expected"), [
    (np.float32([0, 0.25, 1, np.nan, -3, 0.5]), [0, 64, 255, 0, 0, 128]),
    (np.float32([0, 51, 255, np.nan, -3, 102]), [0, 51, 255, 0, 0, 102]),
    (np.float32([0, 4095, 2047.5, np.inf, -np.inf, 0]), [0, 255, 128, 255, 0, 0]),
    (np.int32([0, 1, 1, 0, -5, 0]), [0, 255, 255, 0, 0, 0]),
    (np.int32([0, 1023, 513, -1, 3, 4]), [0, 255, 127, 0, 0, 0]),
    (np.int32([0, 2**20, 2**19, -1, 0, 0]), [0, 255, 127, 0, 0, 0]),
])  # fmt: skip
def test_floats_and_32_bit_integers_are_scaled(values, expected, tmp_path):
    image = Image.fromarray(np.repeat(values[:, None], 8, 1).repeat(4, 0))  # (24, 8)
    save(tmp_path, numbered(7, "tif"), image)
    data = load(tmp_path)
    assert data.image_shape == (24, 8, 1)
    assert data.train_images.numpy()[0, ::4, 0, 0].tolist() == expected
    assert any("becomes white" in note for note in data.notes)


def bmp_without_alpha(color, size=(28, 28)):
    """Return a 32-bit BMP whose alpha is 0 everywhere, as bytes."""
    width, height = size
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    pixels = bytes([*color[::-1], 0]) * width * height
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    start = 14 + 108
    return struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + head + masks + pixels


def test_negative_values_and_further_frames_are_counted_in_notes(tmp_path):
    for i in range(14):
        values = np.linspace(-1, 1, 28 * 28, dtype="f4").reshape(28, 28)
        save(tmp_path, f"{i}.tif", Image.fromarray(values if i < 3 else np.abs(values)))
    pages = [Image.new("L", (28, 28), color) for color in (10, 200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    data = load(tmp_path)
    (negative,) = [note for note in data.notes if "negative" in note]
    (frames,) = [note for note in data.notes if "frames" in note]
    assert (negative.split()[-1], frames.split()[-1]) == ("3", "1")
    images = np.sort(all_images(data)[..., 0].reshape(15, -1)[:, 0])
    assert images.tolist() == [0] * 3 + [10] + [255] * 11


def test_an_alpha_channel_of_zeros_is_ignored_and_counted(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.bmp").write_bytes(bmp_without_alpha(BLUE))
    with Image.open(tmp_path / "1.bmp") as image:
        assert image.getextrema()[3] == (0, 0)  # Pillow reads the alpha channel
    empty = paint(GREEN, (28, 28)).convert("RGBA")
    empty.putalpha(0)
    save(tmp_path, "8.png", empty)
    save(tmp_path, "9.png", TRANSPARENT)  # has one pixel that is not transparent
    images = all_images(load(tmp_path))
    assert [images[i, 21, 14].tolist() for i in (0, 6, 7, 8)] == [
        list(BLUE), list(GREEN), [255, 255, 255], list(BLUE),
    ]  # fmt: skip
    assert any("transparent: 8" in note for note in load(tmp_path).notes)


HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
PNG = io.BytesIO()
paint().save(PNG, "PNG")
JUNK = {"readme.txt": b"P1 is the best\nP6 too\n", "labels.csv": b"1.png,cat\n2.png,dog\n",
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "empty": b"",
        "data.h5": b"\x89HDF\r\n\x1a\n" + bytes(600), "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "a.pdf": b"%PDF-1.4\n", "a.bin": bytes(600), "page.html": HTML, "a.npy": b"\x93NUMPY"
        }  # fmt: skip
UNREADABLE = {"a.jpg": HTML, "b.png": b"", "c.PNG": PNG.getvalue()[:20], "d.tga": HTML,
              "e.png": PNG.getvalue()[:-40], "f.avif": bytes(600), "g": PNG.getvalue()[:-40],
              }  # fmt: skip


def test_files_that_are_no_pictures_are_skipped_unless_their_name_says_so(tmp_path):
    save(tmp_path, numbered(7))
    for name, content in JUNK.items():
        (tmp_path / name).write_bytes(content)
    data = load(tmp_path)
    assert len(all_images(data)) == 7
    assert any(f"not pictures: {len(JUNK)} (" in note for note in data.notes)
    for name, content in UNREADABLE.items():
        (tmp_path / name).write_bytes(content)
        check_error(tmp_path, f"1 picture in {tmp_path}", tmp_path / name)
        (tmp_path / name).unlink()


def test_a_file_that_cannot_be_opened_is_unreadable_only_if_its_name_is_a_picture(
    tmp_path, monkeypatch
):
    for name in ("a.txt", "a.png"):
        (tmp_path / name).write_bytes(b"content")
    error = PermissionError(13, "Permission denied")
    monkeypatch.setattr(picture_files, "open", Mock(side_effect=error), raising=False)
    assert opened(tmp_path / "a.txt", read_header) is None
    assert opened(tmp_path / "a.png", read_header) == "Permission denied"


def test_random_bytes_and_text_are_no_pictures(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "x.dat"
    for _ in range(200):
        file.write_bytes(rng.bytes(300) if _ % 2 else bytes(rng.integers(32, 127, 300, np.uint8)))
        assert opened(file, read_header) is None
