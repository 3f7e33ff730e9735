"""Convolutional variational autoencoder trained on the ELBO: eager_cvae.R in Keras 3.

Ports eager_cvae.R of the post "Representation learning with MMD-VAE" (RStudio AI blog, 2018).
Writes figures, losses, settings, checkpoints and the trained models to OUTPUT_DIR/DATASET/.
50 epochs of Fashion-MNIST take 12 to 30 minutes on two cores. mmd_cvae.py is its counterpart.

    python eager_cvae.py --epochs 50
"""

import time

from common.data import gather_images, load_dataset_or_digits, shuffled_batches, to_float
from common.fast import in_batches, side_by_side, to_one_channel
from common.flags import make_parser, number, parse_args
from common.losses import normal_loglik
from common.plotting import (
    generate_random_clothes,
    show_grid,
    show_latent_space,
    show_reconstructions,
)
from common.run import Run, run_script, set_up

import keras
import tensorflow as tf
from keras import layers

# Setup and preprocessing ------------------------------------------------------


def get_args(argv=None):
    """The command line's flags; common/flags.py has what both scripts have in common.

    Raises SystemExit (status 2) for a flag that is unknown, malformed or out of range.
    """
    parser = make_parser("eager_cvae.py", __doc__)
    parser.add_argument(
        "--beta",
        type=number(0, 1e37),
        metavar="B",
        help="sum the reconstruction per image and weigh the KL part by B: 1 is the ELBO, more a "
        "beta-VAE (default: none, the original's sum over the batch)",
    )
    return parse_args(parser, argv)


# Model ------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="eager_cvae")
class Encoder(keras.Model):
    """q(z|x): images to the mean and the log variance of a diagonal Gaussian.

    (n, 28, 28, 1) intensities in [0, 1] to two tensors (n, latent_dim). 28,036 parameters with two
    latent dimensions.
    """

    def __init__(self, latent_dim=2, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.latent_dim = latent_dim
        self.conv1 = layers.Conv2D(32, 3, 2, activation="relu", dtype=dtype, name="conv1")
        self.conv2 = layers.Conv2D(64, 3, 2, activation="relu", dtype=dtype, name="conv2")
        self.flatten = layers.Flatten(dtype=dtype, name="flatten")
        self.dense = layers.Dense(2 * latent_dim, dtype=dtype, name="dense")

    def build(self, input_shape):
        self.conv1.build(input_shape)
        self.conv2.build((None, 13, 13, 32))
        self.dense.build((None, 6 * 6 * 64))

    def call(self, x):
        x = self.conv1(x)  # (n, 13, 13, 32)
        x = self.conv2(x)  # (n, 6, 6, 64)
        x = self.flatten(x)  # (n, 2304)
        x = self.dense(x)  # (n, 2 * latent_dim)
        mean, logvar = tf.split(x, num_or_size_splits=2, axis=1)  # (n, latent_dim) each
        return mean, logvar

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim}


@keras.saving.register_keras_serializable(package="eager_cvae")
class Decoder(keras.Model):
    """p(x|z): latent vectors (n, latent_dim) to logits (n, 28, 28, 1).

    41,953 parameters with two latent dimensions.
    """

    def __init__(self, latent_dim=2, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.latent_dim = latent_dim
        self.dense = layers.Dense(7 * 7 * 32, activation="relu", dtype=dtype, name="dense")
        self.reshape = layers.Reshape((7, 7, 32), dtype=dtype, name="reshape")
        self.deconv1 = layers.Conv2DTranspose(
            64, 3, 2, padding="same", activation="relu", dtype=dtype, name="deconv1"
        )
        self.deconv2 = layers.Conv2DTranspose(
            32, 3, 2, padding="same", activation="relu", dtype=dtype, name="deconv2"
        )
        self.deconv3 = layers.Conv2DTranspose(1, 3, padding="same", dtype=dtype, name="deconv3")

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.deconv1.build((None, 7, 7, 32))
        self.deconv2.build((None, 14, 14, 64))
        self.deconv3.build((None, 28, 28, 32))

    def call(self, z):
        x = self.dense(z)  # (n, 1568)
        x = self.reshape(x)  # (n, 7, 7, 32)
        x = self.deconv1(x)  # (n, 14, 14, 64)
        x = self.deconv2(x)  # (n, 28, 28, 32)
        return to_one_channel(self.deconv3, x)  # (n, 28, 28, 1)

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim}


def reparameterize(mean, logvar, rng):
    """A draw z of N(mean, exp(logvar)) through which gradients flow (Kingma & Welling 2013, 2.4).

    All (n, latent_dim), of any float dtype; `rng` is a tf.random.Generator.
    """
    eps = rng.normal(tf.shape(mean), dtype=mean.dtype)
    return eps * tf.exp(logvar * 0.5) + mean


# Loss and optimizer -----------------------------------------------------------

LOSSES = ("logpx_z_total", "logpz_total", "logqz_x_total", "total")


def compute_loss(x, encoder, decoder, rng, beta=None):
    """The negative ELBO of a batch, estimated from one z an image, and its terms.

    Args:
        x: (n, 28, 28, 1) intensities in [0, 1].
        encoder, decoder: the two models.
        rng: tf.random.Generator, source of eps.
        beta: None for the original's arithmetic; else the weight of the KL part.

    Returns:
        The loss and a float64 tensor of the terms in the order of `LOSSES`, in nats: logpx_z per
        batch where `beta` is None and else per image; logpz and logqz_x per image; the loss.
    """
    mean, logvar = side_by_side(encoder, x)
    z = reparameterize(mean, logvar, rng)
    preds = side_by_side(decoder, z)

    crossentropy_loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=preds)
    # Have gradients added up two at a time: the order in which TensorFlow adds three can vary
    z, logvar = tf.identity(z), tf.identity(logvar)
    logpz = normal_loglik(z, 0.0, 0.0)  # (n,)
    logqz_x = normal_loglik(z, mean, logvar)  # (n,)
    if beta is None:
        # R: k_sum without an axis sums over the batch too, so that the KL part, which is per image,
        # weighs only 1 / batch_size
        logpx_z = -tf.reduce_sum(crossentropy_loss)  # ()
        loss = -tf.reduce_mean(logpx_z + logpz - logqz_x)
    else:
        # Burgess et al. (2018); with beta = 1, Kingma & Welling (2013), equation 2
        logpx_z = -tf.reduce_sum(crossentropy_loss, axis=(1, 2, 3))  # (n,)
        loss = -tf.reduce_mean(logpx_z + beta * (logpz - logqz_x))

    terms = [tf.reduce_mean(term) for term in (logpx_z, logpz, logqz_x, loss)]
    return loss, tf.cast(tf.stack(terms), tf.float64)


def make_optimizer(learning_rate, encoder, decoder):
    """One Adam for both models, with the epsilon of TF 1's (Keras has 1e-7)."""
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    optimizer.build(encoder.trainable_variables + decoder.trainable_variables)
    return optimizer


# Output utilities -------------------------------------------------------------


def draw_figures(run, epoch, encoder, decoder, random_vector_for_generation):
    """Draw and save the four figures of one epoch."""

    def decode(z):
        return tf.sigmoid(decoder(z))

    data, title = run.data, run.title(epoch)
    images, labels, class_names = data.test_images, data.test_labels, data.class_names
    mean, _ = in_batches(encoder, images)
    run.save_figure(
        "clothes", epoch, generate_random_clothes(decode, random_vector_for_generation, title)
    )
    run.save_figure("latentspace", epoch, show_latent_space(mean, labels, class_names, title))
    run.save_figure("grid", epoch, show_grid(decode, mean, title))
    run.save_figure(
        "reconstructions",
        epoch,
        show_reconstructions(decode, mean, images, labels, class_names, title),
    )


# Training loop ----------------------------------------------------------------

IMAGES_PER_CALL = 1000  # or a batch, before Python has a look: at the progress bar, at Ctrl-C


@tf.function(autograph=False)  # nothing to convert; starts half a second sooner
def train_step(x, encoder, decoder, optimizer, rng, beta):
    """Update both models on one batch; return the loss terms of `compute_loss`."""
    with tf.GradientTape() as tape:
        loss, terms = compute_loss(x, encoder, decoder, rng, beta)
    # R: a persistent tape, asked once for each model; one question gives the same gradients
    encoder_gradients, decoder_gradients = tape.gradient(
        loss, (encoder.trainable_variables, decoder.trainable_variables)
    )
    # R: applies twice, which counts every batch twice in Adam's bias correction; once counts right
    optimizer.apply(encoder_gradients + decoder_gradients)
    return terms


@tf.function(autograph=False)
def train_steps(first, last, totals, images, batches, encoder, decoder, optimizer, rng, beta):
    """`train_step` on the batches from `first` to before `last`, without a return to Python.

    Args:
        first, last: () int32, indices into `batches`.
        totals: (len(LOSSES),) float64, to which the terms are added.
        images: (n, 28, 28, 1) uint8, the training set.
        batches: (number of batches, batch_size), indices of images.

    Returns:
        The new totals.
    """

    def step(totals, batch):
        x = to_float(gather_images(images, batches[batch]), encoder.compute_dtype)
        return totals + train_step(x, encoder, decoder, optimizer, rng, beta)

    return tf.foldl(step, tf.range(first, last), totals, parallel_iterations=1)


def train(run, encoder, decoder, optimizer, rng):
    """Train from the last checkpointed epoch up to --epochs, and draw.

    Raises DivergedError for a loss or weight gone bad, OSError for what cannot be written.
    """
    args, beta = run.args, run.args.beta
    if run.is_done():
        return

    # R: drawn once and used at every epoch; from the seed alone, it is the same in both scripts
    random_vector_for_generation = tf.random.stateless_normal(
        (64, args.latent_dim), seed=(args.seed, 0), dtype=args.dtype
    )
    if run.epoch == 0:
        draw_figures(run, 0, encoder, decoder, random_vector_for_generation)

    images, steps = run.data.train_images, max(1, IMAGES_PER_CALL // args.batch_size)
    with run.progress() as bar:
        for epoch in range(run.epoch + 1, args.epochs + 1):
            bar.set_description(f"epoch {epoch}")
            start = time.perf_counter()
            totals = tf.zeros(len(LOSSES), tf.float64)
            batches = shuffled_batches(len(images), args.batch_size, args.seed, epoch)
            for first in tf.range(0, len(batches), steps):
                last = tf.minimum(first + steps, len(batches))
                totals = train_steps(
                    first, last, totals, images, batches, encoder, decoder, optimizer, rng, beta
                )
                bar.update(int(last - first))

            losses = dict(zip(LOSSES, (totals / len(batches)).numpy(), strict=True))
            run.log(epoch, losses, time.perf_counter() - start, places=2)
            if run.is_plot_epoch(epoch):
                draw_figures(run, epoch, encoder, decoder, random_vector_for_generation)
            if epoch == args.epochs:
                run.save_models(encoder=encoder, decoder=decoder)
            # R: before the line and the figures; last, it vouches that they are written
            run.save_checkpoint(epoch)
    print(f"Figures, losses, models and checkpoints are in {run.folder}.")


def main(argv=None):
    """Train and draw, as the flags say."""
    args = get_args(argv)
    data = load_dataset_or_digits(args.dataset, args.data_dir)

    set_up(args.seed, args.dtype)
    rng = tf.random.Generator.from_seed(args.seed)
    encoder, decoder = Encoder(args.latent_dim), Decoder(args.latent_dim)
    encoder.build((None, 28, 28, 1))
    decoder.build((None, args.latent_dim))
    optimizer = make_optimizer(args.learning_rate, encoder, decoder)
    title = "CVAE (ELBO)" if args.beta is None else f"CVAE (beta = {args.beta:g})"
    state = {"optimizer": optimizer, "encoder": encoder, "decoder": decoder, "rng": rng}
    with Run("cvae", title, LOSSES, args, data, **state) as run:
        train(run, encoder, decoder, optimizer, rng)


if __name__ == "__main__":
    run_script(main)
