"""Load the handwritten digits that are part of scikit-learn."""

from common.data.images import fit

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

TRAIN = 1_500  # number of training images; the other 297 images are the test set


def load(choose_size):
    """Load the digits: return the training set, the test set, the class names and notes.

    Each digit is enlarged from 8 x 8 to 20 x 20 pixels and gets a margin of 4 pixels, as in MNIST.
    Then it gets the size that the function `choose_size` chooses for the set {(28, 28)}.
    """
    digits = load_digits()
    images = tf.image.resize(digits.images[..., np.newaxis], (20, 20), "bicubic")
    images = tf.clip_by_value(images / 16 * 255, 0, 255)
    images = tf.cast(tf.round(tf.pad(images, [[0, 0], [4, 4], [4, 4], [0, 0]])), tf.uint8).numpy()
    size, notes = choose_size({(28, 28)})
    images = np.stack([fit(Image.fromarray(image[..., 0]), size, 1) for image in images])
    labels = digits.target.astype(np.int64)
    train, test = (images[:TRAIN], labels[:TRAIN]), (images[TRAIN:], labels[TRAIN:])
    return train, test, tuple("0123456789"), notes
