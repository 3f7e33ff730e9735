"""The two models in JAX. The whole training step is compiled."""

from functools import partial

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

SAME, VALID = "SAME", "VALID"


def make(model, images, batch_size, phases):
    """Return a function that trains on a number of batches, as in tensorflow_vae.py.

    `phases` says whether deconv1 and deconv2 are computed by `in_phases`.
    """
    latents = 4 if model == "cvae" else 2
    height, width, channels = images.shape[1:]
    quarter = height // 4, width // 4
    flat = ((height - 3) // 4) * ((width - 3) // 4) * 64
    shapes = {
        "conv1": (3, 3, channels, 32),
        "conv2": (3, 3, 32, 64),
        "dense1": (flat, latents),
        "dense2": (2, 32 * quarter[0] * quarter[1]),
        "deconv1": (3, 3, 32, 64),
        "deconv2": (3, 3, 64, 32),
        "deconv3": (3, 3, 32, channels),
    }
    initial = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(jax.random.key(0), len(shapes))
    weights = {
        name: {"kernel": initial(key, shape), "bias": jnp.zeros(shape[-1])}
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [(weights, zeros, jax.tree.map(jnp.zeros_like, weights), 0)]
    images = jnp.asarray(images)
    order = np.random.default_rng(0).permutation(len(images))
    upsample = in_phases if phases else partial(lax.conv_transpose, strides=(2, 2), padding=SAME)
    loss_of = {"cvae": cvae_loss, "mmd": mmd_loss}[model]
    loss_of = partial(loss_of, decode=partial(decode, upsample=upsample, quarter=quarter))

    @partial(jax.jit, donate_argnums=0)
    def train_step(state, images, rows, key):
        weights, m, v, step = state
        x = images[rows].astype(jnp.float32) / 255
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, jax.random.fold_in(key, step))
        step += 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        rate = 1e-4 * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, m, v)
        return (weights, m, v, step), loss

    def run(steps):
        key = jax.random.key(1)
        for batch in range(steps):
            rows = order[batch * batch_size :][:batch_size]
            state[0], loss = train_step(state[0], images, rows, key)
        loss.block_until_ready()
        return int(state[0][3])

    return run


def encode(weights, x):
    """Map images (n, height, width, channels) to (n, latents)."""
    for name in ("conv1", "conv2"):
        x = lax.conv_general_dilated(
            x, weights[name]["kernel"], (2, 2), VALID, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + weights[name]["bias"])
    return x.reshape(len(x), -1) @ weights["dense1"]["kernel"] + weights["dense1"]["bias"]


def in_phases(x, kernel):
    """Return `lax.conv_transpose` with stride 2 and "SAME", from one 2 x 2 convolution.

    The convolution gives the four phases: the pixels in even and odd rows and columns.

    Args:
        x: (n, height, width, channels).
        kernel: (3, 3, channels, features).

    Returns:
        An array (n, 2 * height, 2 * width, features).
    """
    n, height, width, channels = x.shape
    features = kernel.shape[3]
    taps = np.array([[0, 3], [2, 1]])  # by place and phase; index 3 is the padding
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    kernel = kernel[taps[:, None, :, None], taps[None, :, None, :]]  # places, phases, channels
    kernel = kernel.transpose(0, 1, 4, 2, 3, 5).reshape(2, 2, channels, 4 * features)
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 0), (1, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = y.reshape(n, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, 2 * height, 2 * width, features)


def decode(weights, z, upsample, quarter):
    """Map latent vectors (n, 2) to logits. `quarter` is a quarter of height and width."""
    x = jax.nn.relu(z @ weights["dense2"]["kernel"] + weights["dense2"]["bias"])
    x = x.reshape(-1, *quarter, 32)
    for name in ("deconv1", "deconv2"):
        x = jax.nn.relu(upsample(x, weights[name]["kernel"]) + weights[name]["bias"])
    x = lax.conv_transpose(x, weights["deconv3"]["kernel"], (1, 1), SAME)
    return x + weights["deconv3"]["bias"]


def normal_loglik(z, mean, logvar):
    """Return the log density (n,) of the rows of z."""
    return -0.5 * jnp.sum((z - mean) ** 2 * jnp.exp(-logvar) + logvar + jnp.log(2 * jnp.pi), axis=1)


def cvae_loss(weights, x, key, decode):
    """Return the loss of eager_cvae.py, with the reconstruction summed over the batch."""
    mean, logvar = jnp.split(encode(weights, x), 2, axis=1)
    z = jax.random.normal(key, mean.shape) * jnp.exp(0.5 * logvar) + mean
    logits = decode(weights, z)
    cross_entropy = jax.nn.relu(logits) - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    logpx_z = -jnp.sum(cross_entropy)
    zero = jnp.zeros_like(z)
    return -jnp.mean(logpx_z + normal_loglik(z, zero, zero) - normal_loglik(z, mean, logvar))


def kernel(x, y):
    """Return the kernel (n, n) of the rows of x and y."""
    return jnp.exp(-jnp.mean((x[:, None] - y) ** 2, axis=2) / x.shape[1])


def mmd_loss(weights, x, key, decode):
    """Mean squared error and the biased MMD."""
    mean = encode(weights, x)
    preds = jax.nn.sigmoid(decode(weights, mean))
    true_samples = jax.random.normal(key, mean.shape)
    mmd = kernel(true_samples, true_samples).mean() + kernel(mean, mean).mean()
    mmd -= 2 * kernel(true_samples, mean).mean()
    return jnp.mean((preds - x) ** 2) + mmd
