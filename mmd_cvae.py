"""The same convolutional autoencoder trained as an MMD-VAE: mmd_cvae.R in Keras 3.

Ports mmd_cvae.R of the post "Representation learning with MMD-VAE" (RStudio AI blog, 2018).
Writes figures, losses, settings, checkpoints and the trained models to OUTPUT_DIR/DATASET/mmd/.
50 epochs of Fashion-MNIST take 12 to 30 minutes on two cores. eager_cvae.py is its counterpart.

    python mmd_cvae.py
"""

import math

from common.cli import add_mmd_flags, make_parser, run_script, start

# Setup and preprocessing ------------------------------------------------------


def get_args(argv=None):
    """The flags, common/cli.py's and this script's own; raises UserError for what is wrong."""
    parser = make_parser("mmd_cvae.py", "Train a convolutional MMD-VAE, as mmd_cvae.R.")
    add_mmd_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)  # answers --help and wrong flags before TensorFlow takes seconds to load

from common.data.batches import shuffled_batches
from common.data.sources import load_dataset_or_digits
from common.devices import in_parts, make_strategy, set_up, train_steps
from common.layers import Conv2DTransposeToImage
from common.losses import compute_kernel, compute_mmd
from common.objectives import mmd_kernel, mmd_title, mmd_weight
from common.run import Run

import keras
import tensorflow as tf
from keras import layers

# Model ------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="mmd_cvae")
class Encoder(keras.Model):
    """Images (n, height, width, channels) in [0, 1] to latent vectors (n, latent_dim).

    23,426 parameters with two latent dimensions and images of 28 x 28 x 1.
    """

    def __init__(self, latent_dim, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.conv1 = layers.Conv2D(32, 3, 2, activation="relu", name="conv1")
        self.conv2 = layers.Conv2D(64, 3, 2, activation="relu", name="conv2")
        self.flatten = layers.Flatten(name="flatten")
        self.dense = layers.Dense(latent_dim, name="dense")

    def call(self, x):
        x = self.conv1(x)  # (n, 13, 13, 32) of images of 28 x 28
        x = self.conv2(x)  # (n, 6, 6, 64)
        x = self.flatten(x)  # (n, 2304)
        return self.dense(x)  # (n, latent_dim)

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim}


@keras.saving.register_keras_serializable(package="mmd_cvae")
class Decoder(keras.Model):
    """Latent vectors (n, latent_dim) to intensities (n, height, width, channels) in [0, 1].

    41,953 parameters with two latent dimensions and images of 28 x 28 x 1; height and width are
    multiples of 4.
    """

    def __init__(self, latent_dim, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim, self.image_shape = latent_dim, tuple(image_shape)
        height, width, channels = image_shape
        shape = (height // 4, width // 4, 32)
        self.dense = layers.Dense(math.prod(shape), activation="relu", name="dense")
        self.reshape = layers.Reshape(shape, name="reshape")
        self.deconv1 = layers.Conv2DTranspose(64, 3, 2, "same", activation="relu", name="deconv1")
        self.deconv2 = layers.Conv2DTranspose(32, 3, 2, "same", activation="relu", name="deconv2")
        self.deconv3 = Conv2DTransposeToImage(channels, 3, 1, "same", name="deconv3")

    def call(self, z, logits=False):
        x = self.dense(z)  # (n, 1568) for images of 28 x 28 x 1
        x = self.reshape(x)  # (n, 7, 7, 32)
        x = self.deconv1(x)  # (n, 14, 14, 64)
        x = self.deconv2(x)  # (n, 28, 28, 32)
        x = self.deconv3(x)  # (n, 28, 28, 1)
        return x if logits else tf.sigmoid(x)

    def get_config(self):
        shapes = {"latent_dim": self.latent_dim, "image_shape": self.image_shape}
        return {**super().get_config(), **shapes}


# Loss and optimizer -----------------------------------------------------------

LOSSES = ("loss_nll_total", "loss_mmd_total", "total")


def compute_loss(x, encoder, decoder, rng, weight=1.0, cross_entropy=False, kernel=compute_kernel):
    """The MMD-VAE loss of a batch (Zhao, Song & Ermon 2017) and its terms.

    Args:
        x: (n, height, width, channels) intensities in [0, 1].
        encoder, decoder: the two models.
        rng: tf.random.Generator, source of true_samples.
        weight: of the MMD.
        cross_entropy: whether the reconstruction is measured by that.
        kernel: of the MMD, a function as losses.compute_kernel.

    Returns:
        The loss and a float64 tensor of the terms in the order of `LOSSES`: the mean squared error
        a pixel (or the mean cross entropy, in nats), the squared maximum mean discrepancy from the
        prior a batch, their weighted sum.
    """
    mean = encoder(x)
    preds = decoder(mean, logits=cross_entropy)

    true_samples = rng.normal(tf.shape(mean), dtype=mean.dtype)
    loss_mmd = compute_mmd(true_samples, mean, kernel)
    if cross_entropy:
        loss_nll = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=preds)
    else:
        loss_nll = tf.square(x - preds)
    loss_nll = tf.reduce_mean(loss_nll)
    loss = loss_nll + weight * loss_mmd

    return loss, tf.cast(tf.stack([loss_nll, loss_mmd, loss]), tf.float64)


def make_optimizer(learning_rate, *models):
    """One Adam for all models, with the epsilon of TF 1's (Keras has 1e-7)."""
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    optimizer.build([variable for model in models for variable in model.trainable_variables])
    return optimizer


# Output utilities -------------------------------------------------------------

# The figures themselves, which both scripts share, are in common/plotting.py


def encode(encoder, x):
    """The means (n, latent_dim) of images (n, height, width, channels) in [0, 1]."""
    return encoder(x)


def decode(decoder, z):
    """The intensities (n, height, width, channels) in [0, 1] of latent vectors (n, latent_dim)."""
    return decoder(z)


# Training loop ----------------------------------------------------------------


@tf.function(autograph=False)  # nothing to convert; starts half a second sooner
def train_step(x, encoder, decoder, optimizer, rng, *objective):
    """Update both models on one batch; return the loss terms of `compute_loss`."""
    with tf.GradientTape() as tape:
        loss, terms = compute_loss(x, in_parts(encoder), in_parts(decoder), rng, *objective)
    # R: a persistent tape, asked once for each model; one question gives the same gradients
    gradients = tape.gradient(loss, encoder.trainable_variables + decoder.trainable_variables)
    # R: applies twice, which counts every batch twice in Adam's bias correction; once counts right
    optimizer.apply(gradients)
    return terms


def main(argv=None):
    """Train and draw, as the flags say; return the run as common.trained.load_run does."""
    args = get_args(argv)
    strategy = make_strategy(args)
    data = load_dataset_or_digits(args.dataset, args.data_dir, args.images, args.image_size)
    images = data.train_images

    rng = tf.random.Generator.from_seed(args.seed)
    with set_up(args.seed, args.dtype, strategy):
        encoder, decoder = Encoder(args.latent_dim), Decoder(args.latent_dim, data.image_shape)
        encoder(tf.zeros((1, *data.image_shape), args.dtype))
        decoder(tf.zeros((1, args.latent_dim), args.dtype))
        optimizer = make_optimizer(args.learning_rate, encoder, decoder)
        state = {"encoder": encoder, "decoder": decoder, "optimizer": optimizer, "rng": rng}
        objective = mmd_weight(args), args.cross_entropy, mmd_kernel(args)
        with Run("mmd", mmd_title(args), args, data, encode, decode, **state) as run:
            for epoch in run.epochs():
                totals = tf.zeros(len(LOSSES), tf.float64)
                batches = shuffled_batches(len(images), args.batch_size, args.seed, epoch)
                for first, last in run.calls(batches):
                    totals = train_steps(
                        train_step, first, last, totals, images, batches,
                        encoder, decoder, optimizer, rng, *objective,
                    )  # fmt: skip
                losses = dict(zip(LOSSES, totals.numpy() / len(batches), strict=True))
                run.end_epoch(losses, places=4)  # checkpoint, line and figures
    return run.trained


if __name__ == "__main__":
    run_script(main)
