"""Load a folder of pictures."""

import functools
import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.data.folders import arrange, find_split, list_files, natural, some
from common.data.images import HELD_OUT, check_memory, progress, read_split
from common.data.picture_files import decode, find_whites, opened, read_header, tolerant
from common.devices.parts import slices
from common.program.errors import UserError

import numpy as np
from joblib import cpu_count

BATCH = 256  # Pictures are read in batches of this size
LISTED = 10  # An error message lists at most this number of unreadable pictures


def load(folder, choose_size, skip_unreadable=False):
    """Return the training set, test set, class names, notes and the number of unreadable pictures.

    Each set is a pair (images, labels). The images are uint8 (n, height, width, channels). The
    labels are int64 (n,), or None without classes. The function `choose_size` chooses a size for a
    set of sizes. Pictures that cannot be read raise UserError, or are skipped with
    `skip_unreadable`. common/data/README.md describes the rules.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {state}. Give the path of a folder of pictures after --images.")
    files = list_files(folder)
    split, notes = find_split(folder, files)
    files = [file for file in files if not split or len(file) == 1 or file[0] in split]
    with ThreadPoolExecutor(cpu_count()) as pool, tolerant():
        headers, unreadable = _read_headers(folder, files, pool)
        if unreadable and not headers:
            raise _unreadable_error(folder, unreadable, skip_unreadable)
        if not headers:
            others = f" Other files: {_by_suffix(files)}." if files else ""
            raise UserError(
                f"{folder} contains no pictures.{others}\nGive a folder of pictures, or a "
                "folder with one sub-folder of pictures per class."
            )
        parts, class_names = arrange(folder, split, [*headers])
        sets, more = _read(folder, parts, class_names, headers, choose_size, pool, unreadable)
    if unreadable and not (skip_unreadable and all(len(images) for images, _ in sets)):
        raise _unreadable_error(folder, unreadable, skip_unreadable)
    sets, class_names, about_classes = _use_classes(sets, class_names)
    notes = more + notes + about_classes
    if skipped := [file for file in files if file not in headers and file not in unreadable]:
        notes.append(f"files skipped because they are not pictures: {_by_suffix(skipped)}")
    if unreadable:
        notes.append(f"pictures left out because they cannot be read: {len(unreadable):,}")
    if class_names:
        notes.append(f"{len(class_names):,} classes: {some(class_names)}")
    train, test = (len(images) for images, _ in sets)
    held_out = "" if split else f": one in {HELD_OUT} pictures, at random, is held out for testing"
    notes.append(f"{train:,} training and {test:,} test pictures{held_out}")
    return *sets, class_names, notes, len(unreadable)


def _read_headers(folder, files, pool):
    """Return a dict with the Header of each readable picture, and a dict of unreadable pictures.

    The second dict maps each unreadable picture to the reason. Both dicts omit all other files.
    """
    headers, unreadable = {}, {}
    found = pool.map(lambda file: opened(os.path.join(folder, *file), read_header), files)
    for file, header in zip(files, found, strict=True):
        if header is not None:
            (unreadable if isinstance(header, str) else headers)[file] = header
    return headers, unreadable


def _read(folder, parts, class_names, headers, choose_size, pool, unreadable):
    """Return two values: a list of the training set and the test set, and notes for the user.

    Pictures that cannot be decoded are added to the dict `unreadable`. `parts` is from
    `folders.arrange`. If it contains only one part, this part is split into two sets.
    """
    size, notes = choose_size({header.size for header in headers.values()})
    shape = (*size, 1 if all(header.grey for header in headers.values()) else 3)
    check_memory(len(headers), shape, str(folder))
    whites, scaled = find_whites(headers.values())
    read = functools.partial(decode, size=size, channels=shape[2], whites=whites)
    sets, transparent = [], []
    with progress(len(headers), f"reading {folder.name}") as bar:
        for part in parts:
            part = sorted(part, key=_in_random_order)
            decoded = _decode(folder, part, read, pool, bar, unreadable)
            batches = _stack(decoded, class_names, transparent)
            sets += read_split(batches, len(part), shape, len(parts) == 1, fewer=True)
    if shape[2] == 3 and all((image == image[..., :1]).all() for x, _ in sets for image in x):
        sets = [(images[..., :1].copy(), labels) for images, labels in sets]
    if n := sum(transparent):
        scaled.append(f"pictures whose transparency is ignored, because all is transparent: {n:,}")
    return sets, notes + scaled


def _in_random_order(picture):
    """Return a sort key that shuffles pairs (class name, picture), in the same way in each run.

    The first images of a set then represent all classes. The order of two pictures depends only on
    their names, so added or unreadable pictures do not change the order of the others.
    """
    _, file = picture
    return hashlib.sha256("/".join(file).encode()).digest()


def _decode(folder, part, read, pool, bar, unreadable):
    """Yield a list of tuples (class name, image, whether it was fully transparent) per batch.

    Add pictures that cannot be decoded to the dict `unreadable`.
    """
    for batch in slices(part, BATCH):
        paths = [os.path.join(folder, *file) for _, file in batch]
        decoded = []
        found = pool.map(lambda path: opened(path, read), paths)
        for (name, file), result in zip(batch, found, strict=True):
            if isinstance(result, tuple):
                decoded.append((name, *result))
            else:
                unreadable[file] = result or "it has changed"
        bar.update(len(batch))
        yield decoded


def _stack(batches, class_names, transparent):
    """Yield the images of each batch (k, height, width, channels) and their labels or None."""
    index = {name: number for number, name in enumerate(class_names)}
    for batch in filter(None, batches):
        names, images, ignored = zip(*batch, strict=True)
        transparent.extend(ignored)
        yield np.stack(images), np.array([index[name] for name in names]) if index else None


def _use_classes(sets, class_names):
    """Remove classes without pictures. If only one class is left, remove all labels.

    Return the new sets, the class names, and notes for the user.
    """
    if not class_names:
        return sets, (), []
    used, labels = np.unique(np.concatenate([labels for _, labels in sets]), return_inverse=True)
    if len(used) == 1:
        note = f"all pictures are in one class, {class_names[used[0]]}, so classes are not used"
        return [(images, None) for images, _ in sets], (), [note]
    parts = np.split(labels, [len(sets[0][1])])
    sets = [(images, part) for (images, _), part in zip(sets, parts, strict=True)]
    return sets, tuple(class_names[number] for number in used), []


def _unreadable_error(folder, unreadable, skipped):
    """Return a UserError that lists the unreadable pictures and the reason for each."""
    files = sorted(unreadable, key=lambda file: [natural(name) for name in file])
    lines = [f"{Path(folder, *file)}: {unreadable[file]}" for file in files[:LISTED]]
    if more := len(files) - len(lines):
        lines.append(f"and {more:,} more")
    n, advice = len(files), "Fix or remove them, or train without them with --skip-unreadable."
    what = f"{n:,} picture{'s' * (n > 1)} in {folder} cannot be read"
    if skipped:
        what, advice = f"{what}, and no others are left in a set", "Fix them, or add others."
    return UserError("\n".join([f"{what}:", *lines, advice]))


def _by_suffix(files):
    """Return a text with the number of files and the most frequent suffixes."""
    suffixes = Counter(os.path.splitext(file[-1])[1].lower() or "no suffix" for file in files)
    common = [f"{n:,} {suffix}" for suffix, n in suffixes.most_common(3)]
    return f"{len(files):,} ({', '.join(common)}{', ...' * (len(suffixes) > 3)})"
