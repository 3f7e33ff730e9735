"""The training steps of the scripts: what `main` passes to them, and their losses in NumPy."""

from unittest import mock

import numpy as np
import tensorflow as tf
from scipy.spatial.distance import cdist
from scipy.stats import norm
from support import few_digits

IMQ = [0.1, 0.2, 0.5, 1, 2, 5, 10]  # scales of --kernel imq, from Tolstikhin et al. (2018)


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def passed_to_train_step(script, flags=""):
    """Return the loss function and the state that `main` passes to `train_step`, untrained."""
    fakes = {"Run": mock.DEFAULT, "train_step": mock.DEFAULT, "load_data": few_digits}
    with mock.patch.multiple(script, **fakes):
        run = script.Run.return_value.__enter__.return_value
        run.epochs.return_value = run.batches.return_value = [None]
        script.main(flags.split())
        (_, loss_function), state = script.train_step.call_args
    models = [model for name, model in state.items() if name in ("encoder", "decoder", "prior")]
    state["optimizer"].build([v for model in models for v in model.trainable_variables])
    return loss_function, state


def elbo_terms(x, encoder, decoder, rng):
    """Return log p(x|z), log p(z) and log q(z|x) of each image, (n,), and z (n, latent_dim)."""
    mean, logvar = map(np.asarray, encoder(x))
    sd = np.exp(logvar / 2)
    z = mean + sd * rng.normal(mean.shape, dtype=tf.float64).numpy()
    p, x = 1 / (1 + np.exp(-decoder(z).numpy())), np.asarray(x)
    logpx_z = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3))
    return logpx_z, norm.logpdf(z).sum(axis=1), norm.logpdf(z, mean, sd).sum(axis=1), z


def mmd(x, y, imq=False):
    """Return the biased estimate of the squared MMD between the rows of x and of y."""

    def kernel(a, b):
        squared, dim = cdist(a, b, "sqeuclidean"), a.shape[1]
        if imq:
            return np.mean([2 * dim * s / (2 * dim * s + squared) for s in IMQ])
        return np.exp(-squared / dim**2).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
