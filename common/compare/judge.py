"""The judge: a small classifier of a data set's images, in whose features images are compared."""

import contextlib
import functools
import hashlib
import json
import math
import zipfile
from collections.abc import Callable
from typing import NamedTuple

from common.data.batches import gather_images, shuffled_batches, to_float
from common.data.images import progress
from common.devices.determinism import keras_in
from common.devices.parts import compiled, in_batches, in_parts
from common.program.files import regular, replacing_unlocked
from common.program.signals import signals_wait
from common.trained import fingerprint

import keras
import numpy as np
import tensorflow as tf
from keras import layers

VERSION = 2  # of what it is and how it is trained; one of another version is trained anew
EPOCHS, BATCH, LEARNING_RATE = 6, 64, 2e-3
MOST_BATCHES = 6_000  # of large data sets; 60,000 images six times are 5,625


class Judge(NamedTuple):
    """A trained judge."""

    look: Callable  # from images (n, h, w, c) in [0, 1] to features (n, 64) and p (n, classes)
    accuracy: float  # the share of the test images that it puts into their class
    fingerprint: str  # of its weights, in hexadecimal


def read_judge(data, folder, seed=0):
    """The `Judge` of a data set, a common.data.sources.Dataset with labels.

    It is kept as judge.keras in `folder`, if that can be written. Where there is none, or one that
    is damaged, or of other images, labels or another `seed`, it is trained: on one machine always
    to the same bits.
    """
    digest = hashlib.sha256(repr((VERSION, seed, data.fingerprint)).encode())
    file, name = folder / "judge.keras", f"judge_{digest.hexdigest()}"
    make = functools.partial(_make, name, data.image_shape, len(data.class_names), seed)
    with keras_in("float32"):
        model = _load(file, make())
    if model is None:
        with keras_in("float32"):
            model = _train(make(), data, seed)
        partial = replacing_unlocked(file)
        with contextlib.suppress(OSError), signals_wait(), partial as path:  # it only saves time
            model.name = f"{name}_{fingerprint(model.weights)}"
            model.save(path)

    both = in_parts(keras.Model(model.inputs, [model.get_layer("features").output, *model.outputs]))

    def features_and_p(images):
        features, logits = both(images)
        return features, tf.nn.softmax(logits)

    look_at = compiled(lambda images: features_and_p(tf.cast(images, "float32")))

    def look(images):
        return in_batches(look_at, images)

    _, p = in_batches(lambda images: look(images / np.float32(255)), data.test_images)
    accuracy = (p.argmax(axis=1) == data.test_labels).mean()
    return Judge(look, float(accuracy), fingerprint(model.weights))


def _load(file, untrained):
    """The untrained judge with the weights in a file, if that is whole and of its name; else None.

    The name, that of a judge with the fingerprint of its weights, and these are all that is taken
    from there.
    """
    with contextlib.suppress(Exception):  # whatever bad files raise
        with zipfile.ZipFile(regular(file)) as parts:
            name = json.loads(parts.read("config.json"))["config"]["name"]
        untrained.load_weights(file)
        if name == f"{untrained.name}_{fingerprint(untrained.weights)}":
            return untrained


def _train(model, data, seed):
    """The untrained judge, trained on the data set's training images and labels."""
    n = len(data.train_images)
    batches = [shuffled_batches(n, min(BATCH, n), seed, epoch) for epoch in range(1, EPOCHS + 1)]
    batches = tf.concat(batches, axis=0)[:MOST_BATCHES]
    falling = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, len(batches))
    optimizer = keras.optimizers.Adam(falling)
    optimizer.build(model.trainable_variables)
    rng, labels = tf.random.Generator.from_seed(seed), tf.constant(data.train_labels)
    with progress(len(batches), f"{data.title}: training the judge, once") as bar:
        for batch in batches:
            train_step(batch, data.train_images, labels, model, optimizer, rng)
            bar.update()
    return model


def _make(name, image_shape, classes, seed):
    """An untrained judge, images to logits, by the name that tells what it is trained on."""

    def some(kind, *args, **kwargs):
        initial = keras.initializers.GlorotUniform(seed=seed + len(model.weights))
        model.add(kind(*args, activation="relu", kernel_initializer=initial, **kwargs))

    model = keras.Sequential([keras.Input(image_shape)], name=name)
    side = max(image_shape[:2])
    some(layers.Conv2D, 16, 5, strides=2, padding="same")
    for _ in range(max(0, math.ceil(math.log2(side / 16)))):  # until it is 8 x 8 or smaller
        some(layers.Conv2D, 64, 3, strides=2, padding="same")
    model.add(layers.Flatten())
    some(layers.Dense, 64, name="features")
    model.add(layers.Dense(classes, name="logits", kernel_initializer=keras.initializers.Zeros()))
    return model


@tf.function(autograph=False)
def train_step(batch, images, labels, judge, optimizer, rng):
    """Teach the judge one batch, and not to be sure of what is no picture.

    Half of its images are blended with their own pixels in disorder, by a random share p, and the
    label with "every class alike" by the same (after mixup, Zhang et al. 2018, and outlier
    exposure, Hendrycks et al. 2019). A classifier that never saw such is as sure of noise as of
    images.
    """
    x = to_float(gather_images(images, batch), "float32")
    n, height, width, channels = x.shape
    classes = judge.output_shape[-1]
    order = tf.argsort(rng.uniform((height * width,)))
    disorder = tf.gather(tf.reshape(x, (n, -1, channels)), order, axis=1)
    p = rng.uniform((n, 1)) * tf.cast(tf.range(n)[:, tf.newaxis] < n // 2, "float32")
    x += p[:, :, tf.newaxis, tf.newaxis] * (tf.reshape(disorder, x.shape) - x)
    y = (1 - p) * tf.one_hot(tf.gather(labels, batch), classes) + p / classes
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, in_parts(judge)(x)))
    optimizer.apply(tape.gradient(loss, judge.trainable_variables), judge.trainable_variables)
