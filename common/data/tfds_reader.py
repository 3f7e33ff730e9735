"""Read a prepared data set of TensorFlow Datasets (TFDS)."""

import math
import string
from pathlib import Path

from common.data import TITLES
from common.data.images import HELD_OUT, MIXED_SIZE, check_memory, fit, read_split
from common.devices.parts import slices
from common.program.errors import UserError

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

FORMATS = tfds.core.FileFormat
RECORD_FRAME = 16  # number of bytes that a TFRecord file adds to each record
BATCH = 1000  # Images are read in batches of this size
MOST_VALUES = 2**26  # number of pixels times channels in a batch, which limits the memory
ALPHANUMERIC = string.digits + string.ascii_uppercase + string.ascii_lowercase
MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
EMNIST = {  # Each configuration has a first label, and one character per label from there on
    "byclass": (0, ALPHANUMERIC),
    "bymerge": (0, MERGED),
    "balanced": (0, MERGED),
    "letters": (1, string.ascii_uppercase),
    "digits": (0, string.digits),
    "mnist": (0, string.digits),
}


def check_files(builder):
    """Raise ValueError if files of a prepared data set are missing or have the wrong size."""
    if builder.name == "fashion_mnist" and not Path(builder.data_dir, "label.labels.txt").is_file():
        # Without this file, TFDS would use numbers as class names
        raise ValueError("label.labels.txt is missing")
    if builder.info.file_format is not FORMATS.TFRECORD:
        return  # The readers of other formats detect damaged files themselves
    for split in builder.info.splits.values():
        size = sum(Path(path).stat().st_size for path in split.filepaths)
        if size != split.num_bytes + RECORD_FRAME * split.num_examples:
            raise ValueError(f"the files of the split `{split.name}` have the wrong size")


def check_usable(info, name, choose_size):
    """Raise UserError if a data set has no 8-bit images, or if its images do not fit in memory.

    `info` is the DatasetInfo of the data set, which may not be downloaded yet. If the sizes of the
    images vary, the required memory is only estimated. If the numbers of images are unknown, the
    memory is not checked.
    """
    (height, width, channels), _ = _stored(info, name)
    if splits := info.splits:
        size = (height or MIXED_SIZE[0], width or MIXED_SIZE[1])
        size, _ = choose_size({size})
        n = sum(splits[split].num_examples for split in _used(splits, name))
        check_memory(n, (*size, 1 if channels == 1 else 3), TITLES.get(name, name))


def read(builder, name, choose_size):
    """Read a prepared data set: return its training set, test set, class names and notes."""
    info, splits = builder.info, builder.info.splits
    stored, label = _stored(info, name)
    used = _used(splits, name)
    height, width, channels = stored
    sizes = {(height, width)} if height and width else _sizes(builder, used)
    size, notes = choose_size(sizes)
    shape, n = (*size, 1 if channels == 1 else 3), [splits[split].num_examples for split in used]
    check_memory(sum(n), shape, TITLES.get(name, name))
    sets = []
    for split, count in zip(used, n, strict=True):
        batches = _batches(builder, split, stored, shape, label)
        sets += read_split(batches, count, shape, hold_out=len(used) == 1)
    full_name, version = info.full_name.rsplit("/", 1)
    notes.append(f"version {version} of {full_name}")
    if info.name == "emnist":
        notes.append("the images are turned upright, because EMNIST stores them transposed")
    if len(used) == 1:
        notes.append(f"without a test split, every {HELD_OUT}th image is held out for testing")
    sets, class_names, more = _classes(sets, _class_names(info, label))
    return *sets, class_names, notes + more


def _stored(info, name):
    """Return the shape of the stored images, and the feature `label` of the data set.

    The height or width in the shape is None if it varies between images. If the labels are not
    classes, None is returned instead of the feature.
    """
    features = info.features
    features = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(
            f"The data set {name} has no feature `image` with 8 bits per channel.\n"
            f"Its features are: {', '.join(features) or 'unnamed'}. Choose another data set."
        )
    return image.shape, label if isinstance(label, tfds.features.ClassLabel) else None


def _used(splits, name):
    """Return the names of the splits to use. Raise UserError if there is no split `train`."""
    if "train" not in splits:
        what = f"The data set {name} has no split `train`. Its splits are: {', '.join(splits)}."
        raise UserError(f"{what}\nChoose another data set.")
    return ["train", "test"] if "test" in splits else ["train"]


def _class_names(info, label):
    """Return the class names. For EMNIST, return characters instead of the numbers in TFDS."""
    names = list(label.names) if label else []
    if info.name == "emnist" and info.config_name in EMNIST:
        first, characters = EMNIST[info.config_name]
        names[first : first + len(characters)] = characters
    return names


def _classes(sets, names):
    """Remove classes that have no images, and renumber the labels.

    Return the new sets, the class names, and notes for the user.
    """
    if not names:
        return sets, (), []
    labels = np.concatenate([labels for _, labels in sets])
    if (labels < 0).any():
        note = "some images have no class, so classes are not used"
        return [(images, None) for images, _ in sets], (), [note]
    if labels.max(initial=-1) >= len(names):
        raise ValueError("some classes have no names")
    kept = np.unique(labels)
    sets = [(images, np.searchsorted(kept, labels)) for images, labels in sets]
    left_out = len(names) - len(kept)
    notes = [f"classes left out, because they have no images: {left_out}"] if left_out else []
    return sets, tuple(names[k] for k in kept), notes


def _parse_batches(builder, file, label):
    """Return the examples in one TFRecord file in batches, as dicts of arrays.

    All images have the same size. Records that are parsed in batches take a third of TFDS's time.
    """
    kinds = {"image": tf.io.FixedLenFeature((), tf.string)}
    if label:
        kinds["label"] = tf.io.FixedLenFeature((), tf.int64)
    decode = builder.info.features["image"].decode_example

    def parse(records):
        batch = tf.io.parse_example(records, kinds)
        return batch | {"image": tf.map_fn(decode, batch["image"], fn_output_signature=tf.uint8)}

    pixels = math.prod(builder.info.features["image"].shape)
    records = tf.data.TFRecordDataset(file).batch(max(1, min(BATCH, MOST_VALUES // pixels)))
    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).as_numpy_iterator()


def _examples(builder, split, batch_size=None):
    """Return the examples of a split as dicts of arrays, in batches if `batch_size` is given.

    If a split has several TFRecord files, TFDS alternates between these files. It reads ArrayRecord
    files one after the other.
    """
    if builder.info.file_format is FORMATS.ARRAY_RECORD:
        # TFDS would use other libraries, which decode JPEG images to different pixel values
        raw = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        records = tf.data.Dataset.from_generator(
            lambda: map(raw.__getitems__, slices(range(len(raw)), BATCH)),
            output_signature=tf.TensorSpec((None,), tf.string),
        ).unbatch()
        decode = builder.info.features.deserialize_example
        examples = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        return tfds.as_numpy(examples.batch(batch_size) if batch_size else examples)
    once = tfds.ReadConfig(try_autocache=False)
    return tfds.as_numpy(builder.as_dataset(split, batch_size=batch_size, read_config=once))


def _sizes(builder, splits):
    """Return a set with the size (height, width) of all images, or two sizes if images differ."""
    sizes = (one["image"].shape[:2] for split in splits for one in _examples(builder, split))
    first = next(sizes)
    return {first, next((size for size in sizes if size != first), first)}


def _batches(builder, split, stored, shape, label):
    """Yield batches of images (n, *shape) with labels (n,), or with None if there are no classes.

    `stored` is the shape of the images in TFDS. Its height or width is None if it varies.
    """
    alike = None not in stored  # Batches require images of equal size
    files, fmt = builder.info.splits[split].filepaths, builder.info.file_format
    if alike and len(files) == 1 and fmt is FORMATS.TFRECORD:
        examples = _parse_batches(builder, files[0], label)
    else:
        examples = _examples(builder, split, BATCH if alike else None)
    for batch in examples:
        images = batch["image"] if alike else batch["image"][np.newaxis]
        if builder.info.name == "emnist":
            images = images.swapaxes(1, 2)  # Height and width are equal
        if stored != shape:
            # Pillow accepts the array of a grey image only without an axis for channels
            plain = images[..., 0] if images.shape[3] == 1 else images
            images = np.stack([fit(Image.fromarray(i), shape[:2], shape[2]) for i in plain])
        yield images, np.atleast_1d(batch["label"]) if label else None
