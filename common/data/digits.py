"""The handwritten digits that are part of scikit-learn."""

from common.data.images import choose_size, fit

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

TRAIN = 1_500  # images; the other 297 are the test set


def load(image_size=None):
    """Return the 8 x 8 digits, enlarged to 20 x 20 with a margin of 4 pixels, like MNIST's.

    The argument and the result are those of `pictures.load`.
    """
    digits = load_digits()
    images = tf.image.resize(digits.images[..., np.newaxis], (20, 20), "bicubic")
    images = tf.clip_by_value(images / 16 * 255, 0, 255)
    images = tf.pad(images, [[0, 0], [4, 4], [4, 4], [0, 0]])
    images = tf.cast(tf.round(images), tf.uint8).numpy()
    size, note = choose_size({images.shape[1:3]}, image_size)
    if note:
        images = np.stack([fit(Image.fromarray(image[..., 0]), size, 1) for image in images])
    labels = digits.target.astype(np.int64)
    train, test = (images[:TRAIN], labels[:TRAIN]), (images[TRAIN:], labels[TRAIN:])
    return train, test, tuple("0123456789"), [note] if note else []
