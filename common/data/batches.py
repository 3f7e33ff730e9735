"""The batches of an epoch, and images as the models take them."""

import tensorflow as tf

EPOCH = 60_000  # images in the original's epoch, its `buffer_size`


def passes_per_epoch(n):
    """Return how many passes over `n` images are closest to the original's epoch, at least 1."""
    return max(1, round(EPOCH / n))


def shuffled_batches(n, batch_size, seed, epoch):
    """Return the batches of one epoch over `n` images, in an order set by `seed` and `epoch`.

    The batches are rows of an int64 tensor (n_batches, batch_size) of indices. Each pass over the
    images is a full shuffle, like R's dataset_shuffle(60000), without the last short batch. The
    original's 60,000 images make 600 batches of 100. Epochs count from 1.
    """
    # int64, because TensorFlow slices int32 on the host even if there is a GPU
    indices = tf.range(n, dtype=tf.int64)
    passes = passes_per_epoch(n)
    orders = [
        tf.random.experimental.stateless_shuffle(indices, seed=(seed, one))[: n - n % batch_size]
        for one in range((epoch - 1) * passes + 1, epoch * passes + 1)
    ]
    return tf.reshape(tf.concat(orders, axis=0), (-1, batch_size))


def to_float(images, dtype):
    """Return images of integers from 0 to 255 as a tensor of `dtype` in [0, 1]. R: `/`(255)."""
    return tf.cast(images, dtype) / 255


def gather_images(images, indices):
    """Return `tf.gather(images, indices)` for uint8 images (n, height, width, channels).

    It also works on a GPU, where TensorFlow cannot gather uint8. Height and width are multiples of
    4, like those of all images here.
    """
    n, *shape = images.shape
    rows = tf.bitcast(tf.reshape(images, (n, -1, 8)), tf.int64)  # the same memory
    return tf.reshape(tf.bitcast(tf.gather(rows, indices), tf.uint8), (-1, *shape))


def reader(images, dtype):
    """Return a function that reads batches of these uint8 images, several in one call.

    It maps indices (k, n) to a list of k tensors (n, height, width, channels) in [0, 1].
    """

    def read(batches):
        return [to_float(gather_images(images, batch), dtype) for batch in tf.unstack(batches)]

    return tf.function(read)
