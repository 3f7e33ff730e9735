"""Find the training set, the test set and the classes in a folder of pictures."""

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

from common.program.errors import UserError

# Names of the folders for training and testing, in lower case. The first existing name is used
TRAINING = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation", "eval", "evaluation", "dev")
# Names with these prefixes are skipped: hidden files, and folders that operating systems add
IGNORED = (".", "__MACOSX", "@eaDir")
LONGEST_NUMBER = 20  # Numbers with more digits than this are compared as text


def natural(name):
    """Return a sort key that orders numbers in names by their value: 1, 2, 10."""
    return re.sub("[0-9]+", lambda number: number[0].zfill(LONGEST_NUMBER), name), name


def list_files(folder):
    """Return all files in a folder and its sub-folders in natural order, except hidden files.

    Each file is a tuple: the names of the sub-folders that lead to it, and its own name. Raise
    UserError for a name that is not UTF-8.
    """

    def walk(path, names, above):
        status = os.stat(path)
        this = status.st_dev, status.st_ino
        if this in above:  # A link to an outer folder would cause an endless loop
            return
        for entry in sorted(os.scandir(path), key=lambda entry: natural(entry.name)):
            if entry.name.startswith(IGNORED):
                continue
            _check_utf8(path, entry.name)
            if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
                yield from walk(entry.path, (*names, entry.name), (*above, this))
            else:
                yield *names, entry.name

    return [*walk(folder, (), ())]


def _check_utf8(path, name):
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The name {name!a} in {path} is not valid UTF-8, so it cannot be shown.\nRename this "
            "file or folder."
        ) from None


def find_split(folder, files):
    """Return the names of the training folder and the test folder, and notes for the user.

    If `folder` does not contain both of them, return an empty list instead of the names. `files` is
    the result of `list_files`.
    """
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.lower() in (*TRAINING, *TEST) and (folder / name).is_dir():
            found.setdefault(name.lower(), []).append(name)
    both = [[found[name] for name in names if name in found] for names in (TRAINING, TEST)]
    if not all(both):
        return [], []
    for names, *_ in both:
        if len(names) > 1:
            raise UserError(
                f"The names of two folders in {folder} differ only in case: {' and '.join(names)}."
                "\nRename one of them, or move their pictures into one folder."
            )
    names = [both[0][0][0], both[1][0][0]]
    others = Counter(file[0] for file in files if len(file) > 1 and file[0] not in names)
    notes = []
    if names[1].lower() != TEST[0]:
        notes.append(f"{names[0]} is used for training and {names[1]} for testing")
    if others:
        notes.append(
            f"the {others.total():,} files in {some(folder / name for name in others)} are not "
            f"used, because {names[0]} and {names[1]} are the two sets"
        )
    return names, notes


def arrange(folder, split, pictures):
    """Return one or two sets of pictures, and the class names.

    A set is a list of pairs (class name, picture). The class name is None if there are no classes.
    `split` is from `find_split`, and `pictures` are files as `list_files` returns them. Raise
    UserError if it is not clear which pictures to use.
    """
    if not split:
        sets = [_classify(folder, pictures, split)]
        return sets, _class_names(folder, sets, split)
    loose = sum(len(picture) == 1 for picture in pictures)
    if loose and loose < len(pictures):
        raise _mixed(folder, loose, len(pictures) - loose, split)
    sets = []
    for part in split:
        inner = [picture[1:] for picture in pictures if picture[0] == part]
        classified = _classify(folder / part, inner, split)
        sets.append([(name, (part, *picture)) for name, picture in classified])
    return sets, _class_names(folder, sets, split)


def _classify(folder, pictures, split):
    """Return a list of pairs (class name or None, picture) for the pictures of one set.

    Raise UserError unless all pictures are in `folder` itself, or all are in its sub-folders.
    """
    if not pictures:
        raise UserError(
            f"{folder} contains no pictures.\nAdd pictures, or move the folder elsewhere."
        )
    direct, below = Counter(picture[:-1] for picture in pictures), Counter()
    for inner, n in direct.items():
        below.update({inner[:depth]: n for depth in range(len(inner))})
    for inner, n in direct.items():
        if below[inner]:
            depth = len(inner)
            deeper = [other for other in direct if other[:depth] == inner != other]
            names = dict.fromkeys(other[depth] for other in deeper)
            raise _mixed(Path(folder, *inner), n, below[inner], names)
    if deep := [inner for inner in direct if len(inner) > 1]:
        n = sum(direct[inner] for inner in deep)
        raise _too_deep(folder, deep, n, len(pictures), split)
    return [(_class(picture), picture) for picture in pictures]


def _class(picture):
    """Return the class name of a picture, or None if the picture is not in a sub-folder."""
    return unicodedata.normalize("NFC", picture[-2]).strip() if len(picture) > 1 else None


def _class_names(folder, sets, split):
    """Return the class names in natural order. Raise UserError if the names are ambiguous."""
    classes = [{name for name, _ in pictures} for pictures in sets]
    if len({None in names for names in classes}) > 1:
        raise UserError(
            f"Only one of the folders {' and '.join(split)} in {folder} has classes.\n"
            f"Create the same sub-folders in both folders, or move {split[1]} elsewhere."
        )
    names = {}
    for name in sorted(set.union(*classes) - {None}, key=natural):
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"The names of two classes in {folder} differ only in case: {other!r} and {name!r}."
                "\nRename one of them, or move their pictures into one folder."
            )
    return tuple(names.values())


def _mixed(folder, loose, inner, names):
    """Return a UserError for a folder that contains both pictures and sub-folders with pictures."""
    return UserError(
        f"{folder} contains both pictures ({loose:,}) and sub-folders with pictures ({inner:,}): "
        f"{some(names)}.\nTo use the pictures, move the sub-folders elsewhere. To use the "
        "sub-folders, move the pictures beside them elsewhere."
    )


def _too_deep(folder, deep, n, total, split):
    """Return a UserError for `n` pictures in `deep`, which are sub-folders of class folders."""
    where = [Path(folder, *inner) for inner in deep]
    above = Path(os.path.commonpath([inner.parent for inner in where]))
    alone = n == total and above != folder and not split
    use = f"Use --images {above}, or move" if alone else "Move"
    return UserError(
        f"{n:,} of {total:,} pictures in {folder} are in folders of its sub-folders: "
        f"{some(where)}.\nThe given folder must contain the pictures, or the folders of the "
        f"classes. {use} them."
    )


def some(names):
    """Return a text with the first three names and the number of other names."""
    names = [str(name) for name in names]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
