"""Train the network of eager_cvae.py as an MMD-VAE: a port of mmd_cvae.R to Keras 3.

The original is a script of the post "Representation learning with MMD-VAE" (RStudio AI blog, 2018).
It trains on Fashion-MNIST and writes figures, losses, settings, checkpoints and the trained models
to a folder in outputs/fashion_mnist/. 50 epochs take 12 to 30 minutes on two CPU cores.

    python mmd_cvae.py
"""

import math

from common.objectives.flags import mmd_parser
from common.program.startup import run_script, start

# Setup and preprocessing ------------------------------------------------------

BATCH_SIZE, EPOCHS, LEARNING_RATE, LATENT_DIM, FILTERS = 100, 50, 1e-4, 2, (32, 64)


def get_args(argv=None):
    """Return the flags. Their defaults are the original's settings above."""
    settings = BATCH_SIZE, EPOCHS, LEARNING_RATE, LATENT_DIM, FILTERS
    return mmd_parser(*settings).parse_args(argv)


if __name__ == "__main__":
    start(get_args)  # This call answers --help before the imports below, which take seconds

from common.data.sources import load_data
from common.devices.determinism import set_up
from common.devices.distribute import make_strategy, on_replicas
from common.devices.parts import Conv2DTransposeToImage
from common.losses import compute_mmd
from common.objectives.losses import mmd_loss
from common.training.run import Run

import keras
import tensorflow as tf
from keras import layers

# Model ------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="mmd_cvae")
class Encoder(keras.Model):
    """Map images (n, height, width, channels) in [0, 1] to latent vectors (n, latent_dim).

    Each number in `filters` adds a convolution. As in the original, convolutions have no padding.
    """

    def __init__(self, latent_dim, filters=FILTERS, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim, self.filters = latent_dim, tuple(filters)
        for i, n in enumerate(filters, start=1):  # by default, conv1 and conv2
            conv = layers.Conv2D(n, 3, 2, activation="relu", name=f"conv{i}")
            setattr(self, conv.name, conv)
        self.flatten = layers.Flatten(name="flatten")
        self.dense = layers.Dense(latent_dim, name="dense")

    def call(self, x):
        for conv in self.layers[:-2]:  # conv1 and conv2, for images of 28 x 28 pixels:
            x = conv(x)  # (n, 13, 13, 32) and (n, 6, 6, 64)
        x = self.flatten(x)  # (n, 2304)
        return self.dense(x)  # (n, latent_dim)

    def get_config(self):
        sizes = {"latent_dim": self.latent_dim, "filters": self.filters}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable(package="mmd_cvae")
class Decoder(keras.Model):
    """Map latent vectors (n, latent_dim) to images (n, height, width, channels) in [0, 1].

    The layers mirror the encoder's. As in the original, `reshape` has as many channels as conv1.
    """

    def __init__(self, latent_dim, image_shape, filters=FILTERS, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim, self.image_shape = latent_dim, tuple(image_shape)
        self.filters = tuple(filters)
        height, width, channels = image_shape
        scale = 2 ** len(filters)
        shape = (height // scale, width // scale, filters[0])
        self.dense = layers.Dense(math.prod(shape), activation="relu", name="dense")
        self.reshape = layers.Reshape(shape, name="reshape")
        for i, n in enumerate(filters[::-1], start=1):  # by default, deconv1 and deconv2
            deconv = layers.Conv2DTranspose(n, 3, 2, "same", activation="relu", name=f"deconv{i}")
            setattr(self, deconv.name, deconv)
        last = Conv2DTransposeToImage(channels, 3, 1, "same", name=f"deconv{i + 1}")
        setattr(self, last.name, last)  # by default, deconv3

    def call(self, z, logits=False):
        x = self.dense(z)  # (n, 1568) for images of 28 x 28 pixels
        x = self.reshape(x)  # (n, 7, 7, 32)
        for deconv in self.layers[2:]:  # deconv1, deconv2 and deconv3
            x = deconv(x)  # (n, 14, 14, 64), (n, 28, 28, 32) and (n, 28, 28, 1)
        return x if logits else tf.sigmoid(x)

    def get_config(self):
        sizes = {"latent_dim": self.latent_dim, "image_shape": self.image_shape}
        return {**super().get_config(), **sizes, "filters": self.filters}


# Loss and optimizer -----------------------------------------------------------


def compute_loss(x, encoder, decoder, rng):
    """Return the loss, which is the MMD-VAE loss of Zhao, Song & Ermon (2017), and the loss terms.

    `loss_nll` is the mean squared error per pixel. `loss_mmd` is a squared MMD without a unit.
    """
    mean = encoder(x)
    preds = decoder(mean)

    true_samples = rng.normal(tf.shape(mean), dtype=mean.dtype)
    loss_nll = tf.reduce_mean(tf.square(x - preds))
    loss_mmd = compute_mmd(true_samples, mean)
    loss = loss_nll + loss_mmd

    return loss, {"loss_nll": loss_nll, "loss_mmd": loss_mmd}


# Output utilities -------------------------------------------------------------

# The figures of both scripts are in common/plotting.py


def encode(encoder, x):
    """Return the means (n, latent_dim) for images (n, height, width, channels) in [0, 1]."""
    return encoder(x)


def decode(decoder, z):
    """Return the images (n, height, width, channels) in [0, 1] for latent vectors z."""
    return decoder(z)


# Training loop ----------------------------------------------------------------


@on_replicas
@tf.function(autograph=False)
def train_step(x, loss_function, encoder, decoder, optimizer, rng):
    """Update the models on one batch of images x, and return the terms of the loss."""
    variables = encoder.trainable_variables + decoder.trainable_variables
    with tf.GradientTape() as tape:
        loss, losses = loss_function(x, encoder, decoder, rng)
    # R: the original updates each model separately, so its Adam counts each batch twice
    gradients = tape.gradient(loss, variables)
    optimizer.apply(gradients, variables)
    return losses


def main(argv=None):
    """Train the models, draw the figures, and return the run in the same form as `load_run`."""
    args = get_args(argv)
    strategy = make_strategy(args)
    data = load_data(args)
    rng = tf.random.Generator.from_seed(args.seed)
    with set_up(args.seed, args.dtype, strategy):
        encoder = Encoder(args.latent_dim, args.filters)
        decoder = Decoder(args.latent_dim, data.image_shape, args.filters)
        encoder(tf.zeros((1, *data.image_shape), args.dtype))  # The first call creates the weights
        decoder(tf.zeros((1, args.latent_dim), args.dtype))
        # R: TensorFlow 1's Adam has this epsilon by default. In Keras 3, the default is 1e-7
        optimizer = keras.optimizers.Adam(args.learning_rate, epsilon=1e-8)
        state = dict(encoder=encoder, decoder=decoder, optimizer=optimizer, rng=rng)
        loss_function = mmd_loss(args, compute_loss)
        with Run("mmd", args, data, encode, decode, **state) as run:
            for epoch in run.epochs():
                for x in run.batches(epoch):
                    run.add(train_step(x, loss_function, **state))
                run.end_epoch(decimals=4)  # Print losses, save a checkpoint and draw figures
    return run.trained


if __name__ == "__main__":
    run_script(main)
