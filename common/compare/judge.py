"""Train a small classifier, the judge, and map images to points in its feature space."""

import contextlib
import functools
import hashlib
import json
import math
import zipfile
from collections import namedtuple
from collections.abc import Callable
from typing import NamedTuple

from common.compare import metrics
from common.compare.records import MOST_IMAGES
from common.data.batches import gather_images, shuffled_batches, to_float
from common.data.images import progress
from common.data.sources import Dataset
from common.devices.determinism import keras_in
from common.devices.parts import FEW_PARTS, compiled, in_batches, in_parts, slices
from common.program.files import replacing_unlocked
from common.program.signals import signals_wait
from common.trained import fingerprint

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.decomposition import PCA

# Increase a number after a change to the judge of such images, so that judges are retrained. Both
# judges should stay the same, because they measured the study
GREYSCALE, COLOUR = 2, 4
EPOCHS, BATCH, LEARNING_RATE = 6, 64, 2e-3
MOST_BATCHES = 6_000  # This limits the training time. 6 epochs of 60,000 images have 5,625 batches
MOST_PIXELS = 1_024  # Principal components of larger images are computed approximately
# The judge requires this number of training images per class. On the digits, 10, 5 and 1 images
# per class give an accuracy of 89 %, 83 % and 57 %
LEAST_IMAGES = 10
# Features of colour images are scaled to this length. Without this, they are short and thus close
# together if the judge is not sure. Then many blurred images lie in the balls of real images
LENGTH = 20
Seen = namedtuple("Seen", "points p edges")  # (n, dim), (n, classes), (n,)


class Judge(NamedTuple):
    # `look` maps images (n, h, w, c) in [0, 1] to features (n, 64) and p (n, classes)
    look: Callable
    accuracy: float  # on the test images
    fingerprint: str  # of the weights


class Reference(NamedTuple):
    data: Dataset
    images: np.ndarray  # uint8 test images
    look: Callable  # This function maps an iterable of image batches in [0, 1] to one Seen
    around: metrics.Manifold  # of the test images
    narrow: metrics.Manifold  # without outliers
    edges: float  # mean gradient length
    judge: Judge | None  # This is None if `no_judge` states a reason
    no_judge: str  # Why there is no judge. The text is empty if there is a judge


def read_reference(data, folder, seed=0):
    """Return the Reference of a Dataset, with the judge of a seed from `folder`.

    If the judge is missing, train one and write it to `folder`. If the classes have too few images,
    there is no judge.
    """
    images = data.test_images[:MOST_IMAGES]
    reason = why_no_judge(data)
    judge = None if reason else read_judge(data, folder, seed)
    look_at = judge.look if judge else principal_components(images)

    def look(batches):
        found = [(*look_at(batch), metrics.gradient_length(batch)) for batch in batches]
        return Seen(*map(np.concatenate, zip(*found, strict=True)))

    points, _, edges = look(batch / np.float32(255) for batch in slices(images))
    balls, edges = metrics.manifold(points), edges.mean(dtype=float)
    return Reference(data, images, look, balls, metrics.pruned(balls), edges, judge, reason)


def why_no_judge(data):
    """Return the reason why no judge can be trained on a Dataset, or "" if one can be trained.

    A judge requires LEAST_IMAGES training images and 1 test image in at least half of the classes,
    and in at least two classes. A few small classes among large ones do no harm.
    """
    if not data.class_names:
        return "there are no classes"
    n = len(data.class_names)
    train, test = (np.bincount(y, minlength=n) for y in (data.train_labels, data.test_labels))
    classes, enough = np.sum(train + test > 0), np.sum((train >= LEAST_IMAGES) & (test > 0))
    if enough >= max(2, classes / 2):
        return ""
    return (
        f"only {enough} of {classes} classes have at least {LEAST_IMAGES} training images and 1 "
        "test image"
    )


def principal_components(images):
    """Return a function that maps images to 50 principal components.

    The function replaces Judge.look. Its second result is an array without probabilities.
    """
    pixels, solver = images.reshape(len(images), -1), "covariance_eigh"
    if pixels.shape[1] > MOST_PIXELS:
        pixels, solver = pixels[:2000], "randomized"  # bounds the memory
    pca = PCA(min(50, *pixels.shape), svd_solver=solver, random_state=0)
    pca.fit(pixels / np.float32(255))

    def look(found):
        found = np.asarray(found).reshape(len(found), -1)
        return pca.transform(found), np.zeros((len(found), 0))

    return look


def read_judge(data, folder, seed=0):
    """Return the Judge of a Dataset with labels, from the file judge.keras in `folder`.

    If the file is missing, is damaged, or belongs to another data set or seed, train a judge and
    write the file. On one machine, the weights are always the same.
    """
    version = COLOUR if is_colour(data) else GREYSCALE
    digest = hashlib.sha256(repr((version, seed, data.fingerprint)).encode())
    file, name = folder / "judge.keras", f"judge_{digest.hexdigest()}"
    with keras_in("float32"):
        model = _load(file, _make(name, data, seed))
        if model is None:
            model, partial = _train(_make(name, data, seed), data, seed), replacing_unlocked(file)
            with signals_wait(), contextlib.suppress(OSError), partial as path:  # only saves time
                model.name = f"{name}_{fingerprint(model.weights)}"
                model.save(path)
    outputs = [model.get_layer("features").output, *model.outputs]
    both = in_parts(keras.Model(model.inputs, outputs), FEW_PARTS)

    @compiled
    def features_and_p(images):
        features, logits = both(tf.cast(images, "float32"))
        if is_colour(data):
            features = LENGTH * tf.math.l2_normalize(features, axis=1)
        return features, tf.nn.softmax(logits)[:, : len(data.class_names)]

    look = functools.partial(in_batches, features_and_p)
    _, p = in_batches(lambda images: look(images / np.float32(255)), data.test_images)
    accuracy = (p.argmax(axis=1) == data.test_labels).mean()
    return Judge(look, float(accuracy), fingerprint(model.weights))


def _load(file, untrained):
    """Load the weights in a file into an untrained judge, and return this judge.

    Return None if the file is damaged or contains another judge.
    """
    with contextlib.suppress(Exception):  # Damaged files raise many kinds of exceptions
        with zipfile.ZipFile(file) as parts:
            name = json.loads(parts.read("config.json"))["config"]["name"]
        untrained.load_weights(file)
        if name == f"{untrained.name}_{fingerprint(untrained.weights)}":
            return untrained


def is_colour(data):
    """Return whether the images of a Dataset have colours, which requires a larger judge."""
    return data.image_shape[2] > 1


def _train(model, data, seed):
    """Train a judge on the training images and labels of a Dataset, and return the judge.

    Half of the images are spoilt: They are blended with something else, which has the random share
    p. Their labels are blended by the same share: in greyscale with equal probabilities for all
    classes, and in colour with a further class. Without this, the judge would be as sure about
    noise as about images. The method combines mixup (Zhang et al. 2018) with outlier exposure
    (Hendrycks et al. 2019).
    """
    images, labels = tf.convert_to_tensor(data.train_images), tf.constant(data.train_labels)
    n, classes, colour = min(BATCH, len(images)), len(data.class_names), is_colour(data)
    spoil = spoil_colour if colour else spoil_greyscale
    epochs = range(1, EPOCHS + 1)
    batches = [shuffled_batches(len(images), n, seed, epoch) for epoch in epochs]
    batches = tf.concat(batches, axis=0)[:MOST_BATCHES]
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, len(batches))
    optimizer, rng = keras.optimizers.Adam(schedule), tf.random.Generator.from_seed(seed)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def train_step(batch):
        x, p = spoil(to_float(gather_images(images, batch), "float32"), rng)
        y = (1 - p) * tf.one_hot(tf.gather(labels, batch), classes + colour)
        y += p * tf.one_hot(classes, classes + 1) if colour else p / classes
        with tf.GradientTape() as tape:
            # On a CPU, the batch normalization in colour is computed for each part by itself
            logits = in_parts(model, FEW_PARTS)(x, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    with progress(len(batches), f"{data.title}: training the judge (once)") as bar:
        for batch in batches:
            train_step(batch)
            bar.update()
    return model


def spoil_greyscale(x, rng):
    """Blend half of the images with their own shuffled pixels. Return all images and p (n, 1)."""
    n = x.shape[0]
    other = shuffled(x, rng)
    p = rng.uniform((n, 1)) * tf.cast(tf.range(n)[:, tf.newaxis] < n // 2, "float32")
    return x + p[:, :, tf.newaxis, tf.newaxis] * (other - x), p


def spoil_colour(x, rng):
    """Blend half of the images with fine or coarse noise, a blurred copy, or another image.

    Return all images and p (n, 1). If p is 1, another image has the same weight as the image. Fine
    noise consists of the image's own shuffled pixels. Coarse noise consists of shuffled spots with
    a random contrast. Without it, bright fragments pass for real images.
    """
    n, size = x.shape[0], x.shape[1:3]
    blurred = tf.image.resize(tf.image.resize(x, (4, 4), "area"), size)
    average = (x + tf.roll(x, 1, axis=0)) / 2
    spots = tf.image.resize(shuffled(tf.image.resize(x, (8, 8), "area"), rng), size, "bicubic")
    contrast = rng.uniform((n, 1, 1, 1), 1.0, 6.0)
    spots = tf.clip_by_value(0.5 + contrast * (spots - 0.5), 0, 1)
    kinds = tf.stack([shuffled(x, rng), spots, blurred, average], axis=1)
    other = tf.gather(kinds, tf.range(n) // 2 % 4, axis=1, batch_dims=1)
    p = rng.uniform((n, 1)) * tf.cast(tf.range(n)[:, tf.newaxis] % 2, "float32")
    return x + p[:, :, tf.newaxis, tf.newaxis] * (other - x), p


def shuffled(x, rng):
    """Return images with shuffled pixels. The order is the same in all images."""
    order = tf.argsort(rng.uniform((math.prod(x.shape[1:3]),)))
    pixels = tf.reshape(x, (x.shape[0], -1, x.shape[3]))
    return tf.reshape(tf.gather(pixels, order, axis=1), x.shape)


def _make(name, data, seed):
    """Return an untrained judge, which is a Keras model that maps images to logits.

    Colour images are often photographs, which require more layers and batch normalization. Their
    judge has a further logit, for spoilt images.
    """

    def add(kind, *args, activation="relu", **kwargs):
        initial = keras.initializers.GlorotUniform(seed=seed + len(model.weights))
        model.add(kind(*args, activation=activation, kernel_initializer=initial, **kwargs))

    model = keras.Sequential([keras.Input(data.image_shape)], name=name)
    side, logits = max(data.image_shape[:2]), len(data.class_names) + is_colour(data)
    if is_colour(data):
        stride = [math.ceil(side / 32) for side in data.image_shape[:2]]  # sides of at most 32
        for filters, pooled in ((32, True), (64, True), (128, False), (128, True)):
            size = [max(3, each) for each in stride]
            add(layers.Conv2D, filters, size, strides=stride, padding="same", activation=None)
            if pooled:
                model.add(layers.MaxPooling2D(padding="same"))
            model.add(layers.BatchNormalization(momentum=0.9))
            model.add(layers.ReLU())
            stride = 1, 1
    else:
        add(layers.Conv2D, 16, 5, strides=2, padding="same")
        for _ in range(max(0, math.ceil(math.log2(side / 16)))):  # sides of at most 8
            add(layers.Conv2D, 64, 3, strides=2, padding="same")
    model.add(layers.Flatten())
    add(layers.Dense, 64, name="features")
    model.add(layers.Dense(logits, name="logits", kernel_initializer=keras.initializers.Zeros()))
    return model
