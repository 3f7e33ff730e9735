"""Tests of common/data/: the digits of scikit-learn, and the order of training."""

import common.data.batches
from common.data.batches import gather_images, passes_per_epoch, reader, shuffled_batches
from common.data.sources import load_dataset

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits
from tfds_copies import check


def test_digits_are_enlarged_and_have_a_margin():
    data = load_dataset("digits")
    check(data, "digits", 1500, 297)
    assert repr(data) == "<digits (scikit-learn): 1,500 + 297 images of 28 x 28 x 1, 10 classes>"
    images = np.concatenate([data.train_images, data.test_images])
    centre = images[:, 4:24, 4:24]
    assert images.sum(dtype=int) == centre.sum(dtype=int)  # the margin is empty
    assert centre.max() == 255
    # In coarse resolution, each image agrees with the 8 x 8 original
    coarse = tf.image.resize(centre, (8, 8), "area").numpy().reshape(-1, 64)
    pairs = zip(coarse, load_digits().data, strict=True)
    assert min(np.corrcoef(one, original)[0, 1] for one, original in pairs) > 0.95


def test_an_epoch_is_as_close_to_the_originals_as_whole_passes_allow():
    passes = {1500: 40, 60_000: 1, 50_000: 1, 25_000: 2, 10**6: 1, 1: 60_000}
    assert [*map(passes_per_epoch, passes)] == [*passes.values()]


@pytest.mark.parametrize("passes", [1, 4])
def test_a_pass_is_a_full_shuffle_without_the_last_short_batch(passes, monkeypatch):
    monkeypatch.setattr(common.data.batches, "EPOCH", passes * 25)
    epochs = [shuffled_batches(25, 4, 3, epoch).numpy() for epoch in range(1, 25 // passes)]
    assert [epoch.shape for epoch in epochs] == [(passes * 6, 4)] * len(epochs)
    orders = np.reshape(epochs, (-1, 24))
    assert all(len(set(order)) == 24 for order in orders)  # no image twice
    assert len(set(map(tuple, orders))) == len(orders)
    assert len({(set(range(25)) - set(order)).pop() for order in orders}) > 5  # images left out
    np.testing.assert_array_equal(shuffled_batches(25, 4, 3, 2), epochs[1])
    assert (shuffled_batches(25, 4, 4, 2).numpy() != epochs[1]).any()
    if passes == 1:  # the documented shuffle
        order = tf.random.experimental.stateless_shuffle(tf.range(25, dtype=tf.int64), seed=(3, 2))
        np.testing.assert_array_equal(order.numpy()[:24], orders[1])


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3), (4, 4, 1)])
def test_images_are_gathered_and_scaled(shape):
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    for indices in (np.zeros(0, int), np.array([8, 0, 0, 5])):
        gathered = gather_images(tf.constant(images), tf.constant(indices))
        np.testing.assert_array_equal(gathered, images[indices])
        for dtype in ("float32", "float64"):
            (x,) = reader(tf.constant(images), dtype)(tf.constant(indices[np.newaxis]))
            assert (gathered.dtype, x.dtype) == (tf.uint8, dtype)
            np.testing.assert_allclose(x, images[indices] / 255, rtol=1e-6)
