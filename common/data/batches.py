"""Choose the images of each batch, and convert them to floating-point numbers."""

import tensorflow as tf

EPOCH = 60_000  # The original trains on 60,000 images per epoch


def passes_per_epoch(n):
    """Return the number of passes over `n` images per epoch.

    An epoch processes about EPOCH images, which are several passes over a small data set.
    """
    return max(1, round(EPOCH / n))


def shuffled_batches(n, batch_size, seed, epoch):
    """Return the indices of the images in each batch of an epoch: int64 (n_batches, batch_size).

    Each pass shuffles all `n` images, like dataset_shuffle(60000) in R, and drops a last batch that
    is too short. `seed` and `epoch`, which counts from 1, determine the order.
    """
    # TensorFlow slices int32 tensors on the CPU even if there is a GPU, so the indices are int64
    indices = tf.range(n, dtype=tf.int64)
    passes = passes_per_epoch(n)
    orders = [
        tf.random.experimental.stateless_shuffle(indices, seed=(seed, one))[: n - n % batch_size]
        for one in range((epoch - 1) * passes + 1, epoch * passes + 1)
    ]
    return tf.reshape(tf.concat(orders, axis=0), (-1, batch_size))


def to_float(images, dtype):
    """Convert images with values from 0 to 255 to a tensor of `dtype` with values in [0, 1].

    R: `/`(255).
    """
    return tf.cast(images, dtype) / 255


def gather_images(images, indices):
    """Return the uint8 images at the given indices.

    `images` is an array (n, height, width, channels). TensorFlow cannot gather uint8 values on a
    GPU, so this function gathers 8 bytes as one int64.
    """
    n, *shape = images.shape
    rows = tf.bitcast(tf.reshape(images, (n, -1, 8)), tf.int64)  # shares the memory
    return tf.reshape(tf.bitcast(tf.gather(rows, indices), tf.uint8), (-1, *shape))


def reader(images, dtype):
    """Return a function that takes indices (k, n) and returns k batches of n images in [0, 1]."""

    def read(batches):
        return [to_float(gather_images(images, batch), dtype) for batch in tf.unstack(batches)]

    return tf.function(read)
