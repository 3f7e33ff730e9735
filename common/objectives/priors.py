"""Define the priors p(z) over latent vectors: N(0, I) and the VampPrior."""

import math
from typing import ClassVar, NamedTuple

from common.data.batches import gather_images, to_float
from common.losses import normal_loglik
from common.program.errors import UserError

import keras
import tensorflow as tf


class StandardNormal:
    """The standard normal distribution N(0, I), which is the prior in the original scripts.

    Its method `distribution` returns `self`.
    """

    trainable_variables: ClassVar[list] = []

    def distribution(self, encoder):
        """Return the prior as a distribution, which is a StandardNormal or a Mixture."""
        return self

    def log_prob(self, z):
        """Return the log density (n,) at z (n, latent_dim), in nats per image."""
        return normal_loglik(z, 0.0, 0.0)

    def draw(self, rng, like):
        """Return draws with the shape (n, latent_dim) and the dtype of `like`, for training."""
        return rng.normal(tf.shape(like), dtype=like.dtype)

    def sample(self, n, latent_dim, seed, dtype="float32"):
        """Return draws (n, latent_dim), which are always the same for the same seed."""
        return tf.random.stateless_normal((n, latent_dim), seed=(seed, 0), dtype=dtype)


class Mixture(NamedTuple):
    """Represent the mixture of K Gaussians N(mean, exp(logvar)) with equal weights."""

    mean: tf.Tensor  # (K, latent_dim)
    logvar: tf.Tensor  # (K, latent_dim)

    def log_prob(self, z):
        components = normal_loglik(z[:, tf.newaxis], self.mean, self.logvar, reduce_axis=2)
        return tf.reduce_logsumexp(components, axis=1) - math.log(self.mean.shape[0])  # (n,)

    def draw(self, rng, like):
        eps = rng.normal(tf.shape(like), dtype=like.dtype)
        k = rng.uniform(tf.shape(like)[:1], maxval=self.mean.shape[0], dtype=tf.int32)
        return self._draw_from(k, eps)

    def sample(self, n, latent_dim, seed, dtype="float32"):
        eps = tf.random.stateless_normal((n, latent_dim), seed=(seed, 0), dtype=dtype)
        k = tf.random.stateless_uniform((n,), (seed, 1), maxval=self.mean.shape[0], dtype=tf.int32)
        return self._draw_from(k, eps)

    def _draw_from(self, k, eps):
        mean, logvar = (tf.gather(tf.cast(each, eps.dtype), k) for each in self)  # (n, latent_dim)
        return mean + eps * tf.exp(0.5 * logvar)


@keras.saving.register_keras_serializable(package="priors")
class VampPrior(keras.Model):
    """Represent the mixture of the encoder's Gaussians q(z|u_k) for K pseudo-inputs u_k.

    The pseudo-inputs are images (K, height, width, channels) with values in [0, 1]. They are
    trained with the models. Source: Tomczak & Welling (2018), equation 9.
    """

    def __init__(self, number, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.number, self.image_shape = number, tuple(image_shape)
        self.images = self.add_weight(
            name="images", shape=(number, *image_shape), initializer="zeros",
            constraint=lambda images: tf.clip_by_value(images, 0.0, 1.0),
        )  # fmt: skip
        self.built = True

    def distribution(self, encoder):
        return Mixture(*encoder(tf.convert_to_tensor(self.images)))

    def get_config(self):
        return {**super().get_config(), "number": self.number, "image_shape": self.image_shape}


def make_prior(number, images, seed):
    """Return a VampPrior with `number` pseudo-inputs, or a StandardNormal if `number` is None.

    The initial pseudo-inputs are training images, which are chosen at random with the seed.
    `images` are uint8 (n, height, width, channels). Raises UserError if `number` is larger than n.
    """
    if not number:
        return StandardNormal()
    if number > (n := len(images)):
        raise UserError(
            f"--vamp-prior {number} exceeds the number of training images, {n}. Use at most {n}."
        )
    prior = VampPrior(number, images.shape[1:])
    order = tf.random.experimental.stateless_shuffle(tf.range(n), seed=(seed, 0))
    prior.images.assign(to_float(gather_images(images, order[:number]), prior.images.dtype))
    return prior
