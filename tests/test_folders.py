"""Tests of common/data/folders.py: the sets and classes in a folder of pictures."""

import os
import unicodedata

from common.data.folders import list_files, natural
from common.data.sources import path_name

import numpy as np
import pytest
from small_pictures import GREEN, RED, all_images, check_error, load, numbered, paint, save
from support import call


def shade(tone):
    """Return a grey picture that is `tone` in its lower half."""
    return paint((tone, tone, tone), (8, 8), "L")


def tones(images):
    return images[:, 6, 4, 0].tolist()


def test_classes_are_the_sub_folders_with_pictures(tmp_path):
    for name in ("-b %", "c.d"):
        save(tmp_path / name, numbered(7))
    for form, names in (("NFC", numbered(4)), ("NFD", ["4.png", "5.png", "6.png"])):
        save(tmp_path / unicodedata.normalize(form, "Äpfel"), names)  # one class
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    save(tmp_path / ".hidden", "x.png")
    save(tmp_path / "c.d" / "@eaDir" / "0.png", "SYNOPHOTO_THUMB_M.jpg")
    (tmp_path / "c.d" / "link.png").symlink_to("nowhere")
    data = load(tmp_path)
    assert data.class_names == ("-b %", "c.d", "Äpfel")
    assert np.bincount(data.train_labels).tolist() == [6, 6, 6]
    assert np.bincount(data.test_labels).tolist() == [1, 1, 1]
    assert "2 (1 .png, 1 .txt)" in data.notes[1]  # files skipped


def test_classes_with_numbers_are_in_numeric_order(tmp_path):
    order = [1, 2, 3, 9, 10, 11, 20, 100]
    for number in order:
        save(tmp_path / str(number), numbered(2), shade(number))
    data = load(tmp_path)
    assert data.class_names == tuple(map(str, order))
    train = data.train_images.numpy(), data.train_labels
    for images, labels in (train, (data.test_images, data.test_labels)):
        assert tones(images) == [order[label] for label in labels]


def test_the_first_images_and_the_test_set_have_all_kinds_of_pictures(tmp_path):
    """Each of ten classes has 70 pictures. Every 7th file has the same pose."""
    for label in range(10):
        for i in range(70):
            save(tmp_path / str(label), f"{i}.png", shade(20 * label + i % 7))
    data = load(tmp_path)
    assert np.bincount(data.train_labels[:100]).min() > 2  # the mean is 10
    poses = np.bincount(np.array(tones(data.test_images)) % 20)
    assert poses.sum() == 100
    assert poses.min() > 4  # the mean is 14
    assert load(tmp_path).fingerprint == data.fingerprint


def test_names_without_numbers_or_of_one_length_keep_the_order_of_text():
    names = ["(x).png", "0007", "0010", "A-1", "A.b", "Z", "_", "a b", "a.b", "img-1", "img.1", "ä"]
    assert sorted(names, key=natural) == sorted(names)
    assert sorted(["01", "1", "001"], key=natural) == ["001", "01", "1"]


TESTS = ("test", "val", "valid", "validation", "TEST", "Val", "Validation", "eval", "Testing")


@pytest.mark.parametrize("name", TESTS)
def test_a_folder_beside_train_is_the_test_set(name, tmp_path):
    training = {"T": "Training", "V": "Train"}.get(name[0], "train")
    for part, color, n in ((training, RED, 5), (name, GREEN, 3)):
        for label in ("a", "b"):
            save(tmp_path / part / label, numbered(n), paint(color, (28, 28)))
    data = load(tmp_path)
    assert data.class_names == ("a", "b")
    assert np.bincount(data.train_labels).tolist() == [5, 5]
    assert np.bincount(data.test_labels).tolist() == [3, 3]
    assert data.train_images[:, 21, 14].numpy().argmax(-1).tolist() == [0] * 10
    assert data.test_images[:, 21, 14].argmax(-1).tolist() == [1] * 6
    about_split = [note for note in data.notes if f"and {name} for testing" in note]
    assert len(about_split) == (name.lower() != "test")
    *_, classes, number = data.notes
    assert ("2 classes" in classes, "a, b" in classes) == (True, True)
    assert number == "10 training and 6 test pictures"


def test_folders_beside_the_split_are_named_and_loose_pictures_are_refused(tmp_path):
    for part, n in (("train", 7), ("val", 3), ("test", 2), ("extra", 4)):
        for label in ("a", "b"):
            save(tmp_path / part / label, numbered(n))
    (tmp_path / "readme.txt").write_text("no picture")
    data = load(tmp_path)
    assert (len(data.train_images), len(data.test_images)) == (14, 4)
    (note,) = [note for note in data.notes if str(tmp_path / "val") in note]
    assert all(part in note for part in (str(tmp_path / "extra"), "14"))  # files not used
    save(tmp_path, "loose.png")
    check_error(tmp_path, "train", "(1)", "(18)")
    (tmp_path / "loose.png").unlink()
    save(tmp_path / "Test" / "a", "1.png")
    check_error(tmp_path, "Test and test")


def test_a_split_needs_the_same_kind_of_folders_in_both_sets(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            save(tmp_path / part / name, numbered(2))
    (tmp_path / "test" / "a").rename(tmp_path / "test" / "A")
    check_error(tmp_path, "'A' and 'a'", "Rename")
    for file in (tmp_path / "test").rglob("*.png"):
        file.rename(tmp_path / "test" / f"{file.parent.name}{file.name}")
    check_error(tmp_path, tmp_path, "classes", "move test")
    for file in (tmp_path / "test").glob("*.png"):
        file.unlink()
    check_error(tmp_path, tmp_path / "test", "no pictures")


def test_pictures_beside_sub_folders_with_pictures_are_refused_at_any_level(tmp_path):
    save(tmp_path, numbered(5))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    assert len(all_images(load(tmp_path))) == 5
    save(tmp_path / "masks", numbered(3))
    check_error(tmp_path, f"{tmp_path} contains", "(5)", "(3)", "masks")
    save(tmp_path / "deep" / "a", numbered(4))
    save(tmp_path / "deep" / "a" / "b", numbered(2))
    check_error(tmp_path / "deep", tmp_path / "deep" / "a", "(4)", "(2)", ": b.")
    save(tmp_path / "split" / "train", numbered(7))
    save(tmp_path / "split" / "test", numbered(6))
    save(tmp_path / "split" / "test" / "masks", numbered(2))
    check_error(tmp_path / "split", tmp_path / "split" / "test", "(6)", "(2)", "masks")


def test_pictures_in_deeper_folders_are_refused_with_the_folder_to_give(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / "outer" / "inner" / name, numbered(7))
    inner = tmp_path / "outer" / "inner"
    check_error(tmp_path / "outer", "14", f"--images {inner}")
    assert load(inner).class_names == ("cat", "dog")
    save(tmp_path / "outer" / "bird", numbered(7))
    check_error(tmp_path / "outer", "14 of 21", inner / "cat")
    save(tmp_path / "data" / "all" / "train", numbered(7))
    save(tmp_path / "data" / "all" / "val", numbered(7))
    check_error(tmp_path / "data", f"--images {tmp_path / 'data' / 'all'}")


@pytest.mark.parametrize("parts", [("images",), ("train/images", "test/images")])
def test_a_single_class_is_no_class(parts, tmp_path):
    for part in parts:
        save(tmp_path / part, numbered(7))
    data = load(tmp_path)
    assert (data.class_names, data.train_labels, data.test_labels) == ((), None, None)
    assert len(all_images(data)) == 7 * len(parts)
    assert len([note for note in data.notes if "images, so classes are not used" in note]) == 1


@pytest.mark.parametrize("path", ["caf\udce9/1.png", "a/caf\udce9.png", "caf\udce9.txt"])
def test_a_name_that_is_not_utf8_is_one_clear_message(path, tmp_path, capsys):
    save(tmp_path / "a", numbered(7))
    save(tmp_path / "b", numbered(7))
    file = os.fsencode(tmp_path / path)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as stream:
        stream.write((tmp_path / "a" / "1.png").read_bytes())
    words = ("--images", tmp_path, "--output-dir", tmp_path / "out")
    assert call("mmd", *words) == 2
    error = capsys.readouterr().err
    assert "caf\\udce9" in error
    assert len(error.splitlines()) == 2


def test_a_link_to_a_folder_that_contains_it_is_followed_once(tmp_path):
    save(tmp_path / "a", "1.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    assert list_files(tmp_path) == [("a", "1.png"), ("b", "1.png"), ("self",)]


def test_folders_without_pictures_are_refused_with_what_they_contain(tmp_path):
    check_error(tmp_path, tmp_path, "no pictures")
    check_error(tmp_path / "nowhere", tmp_path / "nowhere", "--images")
    for name in ("notes.txt", "1.heic", "2.heic"):
        (tmp_path / name).write_text("x")
    check_error(tmp_path, "no pictures", "3 (2 .heic, 1 .txt)")


def test_names_are_safe_in_paths():
    names = {"Mein Obst": "Mein_Obst", "50 %": "50_", "-dash": "dash", "..": "images", "%": "_"}
    names |= {"a/b": "a_b", "äöü": "äöü", "x" * 300: "x" * 80, "ä" * 300: "ä" * 40}
    assert [*map(path_name, names)] == [*names.values()]
