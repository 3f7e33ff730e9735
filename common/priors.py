"""The priors p(z) over latent vectors: N(0, I), and the VampPrior.

The VampPrior (Tomczak & Welling 2018, equation 9) is the even mixture of the encoder's Gaussians
q(z|u_k) of K pseudo-inputs u_k, images that are trained with the rest. `mixture` is everywhere
the pair (mean, logvar) of these, (K, latent_dim) tensors each; None: N(0, I).
"""

import math

from common.data.batches import gather_images, to_float
from common.files import UserError
from common.losses import normal_loglik

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="priors")
class PseudoInputs(keras.Model):
    """The VampPrior's images u_k, (K, height, width, channels), which training keeps in [0, 1]."""

    def __init__(self, number, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.number, self.image_shape = number, tuple(image_shape)
        self.images = self.add_weight(
            name="images", shape=(number, *image_shape), initializer="zeros",
            constraint=lambda images: tf.clip_by_value(images, 0.0, 1.0),
        )  # fmt: skip
        self.built = True

    def mixture(self, encoder):
        """The mixture that an encoder makes of them."""
        return encoder(tf.convert_to_tensor(self.images))

    def get_config(self):
        """Of the constructor."""
        return {**super().get_config(), "number": self.number, "image_shape": self.image_shape}


def begin_pseudo_inputs(number, images, seed):
    """`PseudoInputs` that begin as so many of the training images, uint8 (n, ...); None of none.

    Which ones, follows from the seed. Raises UserError where there are fewer.
    """
    if not number:
        return None
    if number > len(images):
        raise UserError(
            f"--vamp-prior {number} is more than the {len(images)} training images: give "
            f"{len(images)} at most."
        )
    pseudo_inputs = PseudoInputs(number, images.shape[1:])
    order = tf.random.experimental.stateless_shuffle(tf.range(len(images)), seed=(seed, 0))
    chosen = gather_images(images, order[:number])
    pseudo_inputs.images.assign(to_float(chosen, pseudo_inputs.images.dtype))
    return pseudo_inputs


def log_prob(z, mixture=None):
    """Log density of the prior at `z`, (n, latent_dim): (n,) tensor, nats per image."""
    if mixture is None:
        return normal_loglik(z, 0.0, 0.0)
    mean, logvar = mixture
    components = normal_loglik(z[:, tf.newaxis], mean, logvar, reduce_axis=2)  # (n, K)
    return tf.reduce_logsumexp(components, axis=1) - math.log(mean.shape[0])


def sample(n, latent_dim, seed, dtype="float32", mixture=None):
    """Draws of the prior that depend on nothing but the seed, their number and the mixture.

    Returns:
        (n, latent_dim) tensor of `dtype`.
    """
    eps = tf.random.stateless_normal((n, latent_dim), seed=(seed, 0), dtype=dtype)
    if mixture is None:
        return eps
    k = tf.random.stateless_uniform(
        (n,), seed=(seed, 1), maxval=mixture[0].shape[0], dtype=tf.int32
    )
    return _of_components(eps, k, mixture)


def draw(rng, like, mixture=None):
    """As many draws of the prior as `like`, (n, latent_dim), has rows, and of its dtype.

    From a tf.random.Generator; gradients flow through them to the mixture.
    """
    eps = rng.normal(tf.shape(like), dtype=like.dtype)
    if mixture is None:
        return eps
    k = rng.uniform(tf.shape(like)[:1], maxval=mixture[0].shape[0], dtype=tf.int32)
    return _of_components(eps, k, mixture)


def _of_components(eps, k, mixture):
    mean, logvar = (tf.gather(tf.cast(each, eps.dtype), k) for each in mixture)
    return mean + eps * tf.exp(0.5 * logvar)
