"""The judge, a small classifier, and the test images as points in the space of its features."""

import contextlib
import functools
import hashlib
import json
import math
import zipfile
from collections.abc import Callable
from typing import NamedTuple

from common.compare import metrics
from common.compare.records import MOST_IMAGES
from common.data.batches import gather_images, shuffled_batches, to_float
from common.data.images import progress
from common.data.sources import Dataset
from common.devices.determinism import keras_in
from common.devices.parts import compiled, in_batches, in_parts, slices
from common.program.files import replacing_unlocked
from common.program.signals import signals_wait
from common.trained import fingerprint

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.decomposition import PCA

VERSION = 2  # of the model and its training; a judge of another version is replaced
EPOCHS, BATCH, LEARNING_RATE = 6, 64, 2e-3
MOST_BATCHES = 6_000  # for large data sets; 6 epochs of 60,000 images have 5,625
MOST_PIXELS = 1_024  # of images whose principal components are computed exactly


class Judge(NamedTuple):
    look: Callable  # from images (n, h, w, c) in [0, 1] to features (n, 64) and p (n, classes)
    accuracy: float  # share of the test images that it classifies correctly
    fingerprint: str  # hexadecimal digest of its weights


class Seen(NamedTuple):  # of n images
    points: np.ndarray  # (n, dim), features
    p: np.ndarray  # (n, classes), the judge's probabilities; no columns without a judge
    edges: np.ndarray  # (n,), mean lengths of the gradients


class Reference(NamedTuple):  # a data set and the points of its test images
    data: Dataset
    images: np.ndarray  # test images, uint8 (n, height, width, channels)
    look: Callable  # from an iterable of batches of images in [0, 1] to their Seen
    around: metrics.Manifold  # of the test images
    narrow: metrics.Manifold  # the smaller half of its balls
    edges: float  # mean length of the gradients in them
    judge: Judge | None  # None without classes


def read_reference(data, folder):
    """Return the Reference of a Dataset, whose judge is read from `folder`, or trained."""
    images = data.test_images[:MOST_IMAGES]
    judge = read_judge(data, folder) if data.class_names else None
    look_at = judge.look if judge else principal_components(images)

    def look(batches):
        found = [(*look_at(batch), metrics.gradient_length(batch)) for batch in batches]
        return Seen(*map(np.concatenate, zip(*found, strict=True)))

    points, _, edges = look(map(to_float32, slices(images)))
    balls, edges = metrics.manifold(points), edges.mean(dtype=float)
    return Reference(data, images, look, balls, metrics.pruned(balls), edges, judge)


def principal_components(images):
    """Return a function like Judge.look. It returns 50 principal components, no probabilities."""
    pixels, solver = images.reshape(len(images), -1), "covariance_eigh"
    if pixels.shape[1] > MOST_PIXELS:
        pixels, solver = pixels[:2000], "randomized"  # bounds the memory
    pca = PCA(min(50, *pixels.shape), svd_solver=solver, random_state=0)
    pca.fit(pixels / np.float32(255))
    return lambda found: (pca.transform(found.reshape(len(found), -1)), np.zeros((len(found), 0)))


def to_float32(images):
    """Return the intensities in [0, 1] of uint8 images as a NumPy array."""
    return to_float(images, "float32").numpy()


def read_judge(data, folder, seed=0):
    """Return the Judge of a Dataset with labels, read from judge.keras in `folder`.

    If that is missing, damaged, or of other images, labels or another seed, the judge is trained
    and written there. On one machine, the result is always the same.
    """
    digest = hashlib.sha256(repr((VERSION, seed, data.fingerprint)).encode())
    file, name = folder / "judge.keras", f"judge_{digest.hexdigest()}"
    make = functools.partial(_make, name, data.image_shape, len(data.class_names), seed)
    with keras_in("float32"):
        model = _load(file, make())
        if model is None:
            model, partial = _train(make(), data, seed), replacing_unlocked(file)
            with signals_wait(), contextlib.suppress(OSError), partial as path:  # only saves time
                model.name = f"{name}_{fingerprint(model.weights)}"
                model.save(path)
    both = in_parts(keras.Model(model.inputs, [model.get_layer("features").output, *model.outputs]))

    @compiled
    def features_and_p(images):
        features, logits = both(tf.cast(images, "float32"))
        return features, tf.nn.softmax(logits)

    look = functools.partial(in_batches, features_and_p)
    _, p = in_batches(lambda images: look(images / np.float32(255)), data.test_images)
    accuracy = (p.argmax(axis=1) == data.test_labels).mean()
    return Judge(look, float(accuracy), fingerprint(model.weights))


def _load(file, untrained):
    """Return the untrained judge with the weights of a file, or None if its name does not fit."""
    with contextlib.suppress(Exception):  # damaged files raise many kinds of exceptions
        with zipfile.ZipFile(file) as parts:
            name = json.loads(parts.read("config.json"))["config"]["name"]
        untrained.load_weights(file)
        if name == f"{untrained.name}_{fingerprint(untrained.weights)}":
            return untrained


def _train(model, data, seed):
    """Train a judge on the training images and labels of a Dataset, and return it."""
    n = len(data.train_images)
    batches = [shuffled_batches(n, min(BATCH, n), seed, epoch) for epoch in range(1, EPOCHS + 1)]
    batches = tf.concat(batches, axis=0)[:MOST_BATCHES]
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, len(batches))
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(model.trainable_variables)
    rng, labels = tf.random.Generator.from_seed(seed), tf.constant(data.train_labels)
    with progress(len(batches), f"{data.title}: training the judge (once)") as bar:
        for batch in batches:
            train_step(batch, data.train_images, labels, model, optimizer, rng)
            bar.update()
    return model


def _make(name, image_shape, classes, seed):
    """Return an untrained judge, a Keras model from images to logits, with a name."""

    def add(kind, *args, **kwargs):
        initial = keras.initializers.GlorotUniform(seed=seed + len(model.weights))
        model.add(kind(*args, activation="relu", kernel_initializer=initial, **kwargs))

    model = keras.Sequential([keras.Input(image_shape)], name=name)
    side = max(image_shape[:2])
    add(layers.Conv2D, 16, 5, strides=2, padding="same")
    for _ in range(max(0, math.ceil(math.log2(side / 16)))):  # until the sides are at most 8
        add(layers.Conv2D, 64, 3, strides=2, padding="same")
    model.add(layers.Flatten())
    add(layers.Dense, 64, name="features")
    model.add(layers.Dense(classes, name="logits", kernel_initializer=keras.initializers.Zeros()))
    return model


@tf.function(autograph=False)
def train_step(batch, images, labels, judge, optimizer, rng):
    """Train the judge on one batch, given as the numbers of its images.

    Half of the images are blended with a shuffled copy of their own pixels, by a random share p.
    Their labels are blended with equal probabilities for all classes, by the same share. Otherwise
    the judge would be as sure of noise as of images. This combines mixup (Zhang et al. 2018) with
    outlier exposure (Hendrycks et al. 2019).
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
