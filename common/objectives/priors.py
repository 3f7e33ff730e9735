"""The priors p(z) over latent vectors: N(0, I) and the VampPrior.

A prior has `trainable_variables` and a method `distribution(encoder)`, which returns a
`StandardNormal` or a `Mixture`. Both of these have the same methods:

    log_prob(z): log density at z (n, latent_dim), a tensor (n,) in nats per image.
    draw(rng, like): a draw for each row of `like` (n, latent_dim), with its dtype. The draws come
        from a tf.random.Generator. Gradients flow through them to the parameters of a Mixture.
    sample(n, latent_dim, seed, dtype): a tensor (n, latent_dim) of draws that depend only on the
        seed, on n and on the parameters of the distribution.
"""

import math
from typing import ClassVar, NamedTuple

from common.data.batches import gather_images, to_float
from common.losses import normal_loglik
from common.program.errors import UserError

import keras
import tensorflow as tf


class StandardNormal:
    """N(0, I), the original's prior: a prior without parameters, and its distribution."""

    trainable_variables: ClassVar[list] = []

    def distribution(self, encoder):
        """Return this distribution, which does not depend on the encoder."""
        return self

    def log_prob(self, z):
        """Return the log density at z; see the top of this file."""
        return normal_loglik(z, 0.0, 0.0)

    def draw(self, rng, like):
        """Return a draw for each row of `like`; see the top of this file."""
        return rng.normal(tf.shape(like), dtype=like.dtype)

    def sample(self, n, latent_dim, seed, dtype="float32"):
        """Return draws that depend only on the seed and n; see the top of this file."""
        return tf.random.stateless_normal((n, latent_dim), seed=(seed, 0), dtype=dtype)


class Mixture(NamedTuple):
    """The mixture of K Gaussians N(mean, exp(logvar)) with equal weights."""

    mean: tf.Tensor  # (K, latent_dim)
    logvar: tf.Tensor  # (K, latent_dim)

    def log_prob(self, z):
        """Return the log density at z; see the top of this file."""
        components = normal_loglik(z[:, tf.newaxis], self.mean, self.logvar, reduce_axis=2)
        return tf.reduce_logsumexp(components, axis=1) - math.log(self.mean.shape[0])  # (n,)

    def draw(self, rng, like):
        """Return a draw for each row of `like`; see the top of this file."""
        eps = rng.normal(tf.shape(like), dtype=like.dtype)
        k = rng.uniform(tf.shape(like)[:1], maxval=self.mean.shape[0], dtype=tf.int32)
        return self._draw_from(k, eps)

    def sample(self, n, latent_dim, seed, dtype="float32"):
        """Return draws that depend only on the seed, n and the mixture."""
        eps = tf.random.stateless_normal((n, latent_dim), seed=(seed, 0), dtype=dtype)
        components = {"maxval": self.mean.shape[0], "dtype": tf.int32}
        k = tf.random.stateless_uniform((n,), seed=(seed, 1), **components)
        return self._draw_from(k, eps)

    def _draw_from(self, k, eps):
        mean, logvar = (tf.gather(tf.cast(each, eps.dtype), k) for each in self)  # (n, latent_dim)
        return mean + eps * tf.exp(0.5 * logvar)


@keras.saving.register_keras_serializable(package="priors")
class VampPrior(keras.Model):
    """The VampPrior: the mixture of the encoder's Gaussians q(z|u_k) of K pseudo-inputs u_k.

    The pseudo-inputs are images (K, height, width, channels) that are trained with the models.
    Training keeps them in [0, 1]. Source: Tomczak & Welling (2018), equation 9.
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
        """Return the Mixture of the Gaussians that the encoder gives for the pseudo-inputs."""
        return Mixture(*encoder(tf.convert_to_tensor(self.images)))

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "number": self.number, "image_shape": self.image_shape}


def make_prior(number, images, seed):
    """Return a VampPrior with `number` pseudo-inputs, or a StandardNormal if `number` is None.

    The pseudo-inputs are initially training images, chosen by the seed from uint8 `images` (n,
    height, width, channels). Raises UserError if there are fewer images than `number`.
    """
    if not number:
        return StandardNormal()
    if number > len(images):
        raise UserError(
            f"--vamp-prior {number} is more than the {len(images)} training images. Use "
            f"{len(images)} or less."
        )
    prior = VampPrior(number, images.shape[1:])
    order = tf.random.experimental.stateless_shuffle(tf.range(len(images)), seed=(seed, 0))
    chosen = gather_images(images, order[:number])
    prior.images.assign(to_float(chosen, prior.images.dtype))
    return prior
