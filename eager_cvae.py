"""Convolutional variational autoencoder trained on the ELBO: eager_cvae.R in Keras 3.

Ports eager_cvae.R of the post "Representation learning with MMD-VAE" (RStudio AI blog, 2018).
Writes figures, losses, settings, checkpoints and the trained models to OUTPUT_DIR/DATASET/cvae/.
50 epochs of Fashion-MNIST take 12 to 30 minutes on two cores. mmd_cvae.py is its counterpart.

    python eager_cvae.py --epochs 50
"""

import math

from common.cli import add_elbo_flags, make_parser, run_script, start

# Setup and preprocessing ------------------------------------------------------


def get_args(argv=None):
    """The flags, common/cli.py's and this script's own; raises UserError for what is wrong."""
    parser = make_parser("eager_cvae.py", "Train a convolutional VAE on the ELBO, as eager_cvae.R.")
    add_elbo_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)  # answers --help and wrong flags before TensorFlow takes seconds to load

from common.data.batches import shuffled_batches
from common.data.sources import load_dataset_or_digits
from common.devices import in_parts, make_strategy, set_up, train_steps
from common.layers import Conv2DTransposeToImage
from common.losses import compute_mmd, normal_loglik
from common.objectives import elbo_title, elbo_weights
from common.priors import begin_pseudo_inputs, draw, log_prob
from common.run import Run

import keras
import tensorflow as tf
from keras import layers

# Model ------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="eager_cvae")
class Encoder(keras.Model):
    """q(z|x): images to the mean and the log variance of a diagonal Gaussian.

    (n, height, width, channels) intensities in [0, 1] to two tensors (n, latent_dim). 28,036
    parameters with two latent dimensions and images of 28 x 28 x 1.
    """

    def __init__(self, latent_dim, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.conv1 = layers.Conv2D(32, 3, 2, activation="relu", name="conv1")
        self.conv2 = layers.Conv2D(64, 3, 2, activation="relu", name="conv2")
        self.flatten = layers.Flatten(name="flatten")
        self.dense = layers.Dense(2 * latent_dim, name="dense")

    def call(self, x):
        x = self.conv1(x)  # (n, 13, 13, 32) of images of 28 x 28
        x = self.conv2(x)  # (n, 6, 6, 64)
        x = self.flatten(x)  # (n, 2304)
        x = self.dense(x)  # (n, 2 * latent_dim)
        mean, logvar = tf.split(x, num_or_size_splits=2, axis=1)  # (n, latent_dim) each
        return mean, logvar

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim}


@keras.saving.register_keras_serializable(package="eager_cvae")
class Decoder(keras.Model):
    """p(x|z): latent vectors (n, latent_dim) to logits (n, height, width, channels).

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

    def call(self, z):
        x = self.dense(z)  # (n, 1568) for images of 28 x 28 x 1
        x = self.reshape(x)  # (n, 7, 7, 32)
        x = self.deconv1(x)  # (n, 14, 14, 64)
        x = self.deconv2(x)  # (n, 28, 28, 32)
        return self.deconv3(x)  # (n, 28, 28, 1)

    def get_config(self):
        shapes = {"latent_dim": self.latent_dim, "image_shape": self.image_shape}
        return {**super().get_config(), **shapes}


def reparameterize(mean, logvar, rng):
    """A draw z of N(mean, exp(logvar)) through which gradients flow (Kingma & Welling 2013, 2.4).

    All (n, latent_dim), of any float dtype; `rng` is a tf.random.Generator.
    """
    eps = rng.normal(tf.shape(mean), dtype=mean.dtype)
    return eps * tf.exp(logvar * 0.5) + mean


# Loss and optimizer -----------------------------------------------------------

LOSSES = ("logpx_z_total", "logpz_total", "logqz_x_total", "total")


def loss_names(weights):
    """The terms' names: `LOSSES`, and the MMD before the total where it takes part."""
    return (*LOSSES[:3], *["loss_mmd_total"] * bool(weights and weights.mmd), *LOSSES[3:])


def compute_loss(x, encoder, decoder, rng, weights=None, prior=None):
    """The negative ELBO of a batch, estimated from one z an image, and its terms.

    Args:
        x: (n, height, width, channels) intensities in [0, 1].
        encoder, decoder: the two models.
        rng: tf.random.Generator, source of eps.
        weights: None for the original's arithmetic; else an objectives.Weights.
        prior: None for N(0, I); else a priors.PseudoInputs.

    Returns:
        The loss and a float64 tensor of the terms in the order of `loss_names`, in nats: logpx_z
        per batch where `weights` is None and else per image; logpz and logqz_x per image; the MMD,
        unweighted; the loss.
    """
    mean, logvar = encoder(x)
    z = reparameterize(mean, logvar, rng)
    preds = decoder(z)

    crossentropy_loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=preds)
    # Have gradients added up two at a time: the order in which TensorFlow adds three can vary
    codes, logvar = tf.identity(z), tf.identity(logvar)
    z = tf.identity(codes)
    mixture = prior and prior.mixture(encoder)
    logpz = log_prob(z, mixture)  # (n,)
    logqz_x = normal_loglik(z, mean, logvar)  # (n,)
    loss_mmd = []
    if weights is None:
        # R: k_sum without an axis sums over the batch too, so that the KL part, which is per image,
        # weighs only 1 / batch_size
        logpx_z = -tf.reduce_sum(crossentropy_loss)  # ()
        loss = -tf.reduce_mean(logpx_z + logpz - logqz_x)
    else:
        logpx_z = -tf.reduce_sum(crossentropy_loss, axis=(1, 2, 3))  # (n,)
        loss = -tf.reduce_mean(logpx_z + weights.kl * (logpz - logqz_x))
        if weights.mmd:
            loss_mmd = [compute_mmd(draw(rng, codes, mixture), codes, weights.kernel)]
            loss += weights.mmd * loss_mmd[0]

    terms = [tf.reduce_mean(term) for term in (logpx_z, logpz, logqz_x, *loss_mmd, loss)]
    return loss, tf.cast(tf.stack(terms), tf.float64)


def make_optimizer(learning_rate, *models):
    """One Adam for all models, with the epsilon of TF 1's (Keras has 1e-7)."""
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    optimizer.build([variable for model in models for variable in model.trainable_variables])
    return optimizer


# Output utilities -------------------------------------------------------------

# The figures themselves, which both scripts share, are in common/plotting.py


def encode(encoder, x):
    """The means (n, latent_dim) of images (n, height, width, channels) in [0, 1]."""
    mean, _ = encoder(x)
    return mean


def decode(decoder, z):
    """The intensities (n, height, width, channels) in [0, 1] of latent vectors (n, latent_dim)."""
    return tf.sigmoid(decoder(z))


# Training loop ----------------------------------------------------------------


@tf.function(autograph=False)  # nothing to convert; starts half a second sooner
def train_step(x, encoder, decoder, optimizer, rng, weights=None, prior=None):
    """Update the models on one batch; return the loss terms of `compute_loss`."""
    models = [model for model in (encoder, decoder, prior) if model]
    variables = [variable for model in models for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss, terms = compute_loss(x, in_parts(encoder), in_parts(decoder), rng, weights, prior)
    # R: a persistent tape, asked once for each model; one question gives the same gradients
    gradients = tape.gradient(loss, variables)
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
        weights, prior = elbo_weights(args), begin_pseudo_inputs(args.vamp_prior, images, args.seed)
        models = {"encoder": encoder, "decoder": decoder} | ({"prior": prior} if prior else {})
        optimizer = make_optimizer(args.learning_rate, *models.values())
        state = {**models, "optimizer": optimizer, "rng": rng}
        names = loss_names(weights)
        with Run("cvae", elbo_title(args), args, data, encode, decode, **state) as run:
            for epoch in run.epochs():
                totals = tf.zeros(len(names), tf.float64)
                batches = shuffled_batches(len(images), args.batch_size, args.seed, epoch)
                for first, last in run.calls(batches):
                    totals = train_steps(
                        train_step, first, last, totals, images, batches,
                        encoder, decoder, optimizer, rng, weights, prior,
                    )  # fmt: skip
                losses = dict(zip(names, totals.numpy() / len(batches), strict=True))
                run.end_epoch(losses, places=2)  # checkpoint, line and figures
    return run.trained


if __name__ == "__main__":
    run_script(main)
