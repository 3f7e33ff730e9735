"""TensorBoard's event files, an epoch each, written without the tensorboard package.

tf.summary needs that package for scalars. The files themselves are plain: a TFRecord file of Event
messages, the first of which names the format.
"""

from common import reason

import tensorflow as tf


def event_file(folder, model, epoch):
    """The path of an epoch's file; TensorBoard reads a folder's files in the order of names."""
    return folder / f"events.out.tfevents.{epoch:07}.{model}"


def write_events(file, epoch, wall_time, scalars, images):
    """Write one epoch's event file.

    Args:
        file: path to write to.
        wall_time: of the epoch's end, seconds since 1970.
        scalars: dict from tag to number.
        images: dict from tag to the bytes of a PNG.

    Raises:
        OSError: the disk is full, or the like.
    """
    Summary = tf.compat.v1.Summary  # noqa: N806
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    for tag, png in images.items():
        values.append(Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=png)))
    head = tf.compat.v1.Event(wall_time=wall_time, file_version="brain.Event:2")
    body = tf.compat.v1.Event(wall_time=wall_time, step=epoch, summary=Summary(value=values))
    try:
        with tf.io.TFRecordWriter(str(file)) as writer:
            writer.write(head.SerializeToString())
            writer.write(body.SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(None, reason(error), str(file)) from error
