"""The prior p(z) over latent vectors: N(0, I)."""

from common.losses import normal_loglik

import tensorflow as tf


def log_prob(z):
    """Log density of N(0, I) at `z`, (n, latent_dim): (n,) tensor, nats per image."""
    return normal_loglik(z, 0.0, 0.0)


def sample(n, latent_dim, seed, dtype="float32"):
    """Draws of N(0, I) that depend on nothing but the seed and their number.

    Returns:
        (n, latent_dim) tensor of `dtype`.
    """
    return tf.random.stateless_normal((n, latent_dim), seed=(seed, 0), dtype=dtype)
