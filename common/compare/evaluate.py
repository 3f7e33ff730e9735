"""Measure a trained run, and what it is compared with: real images, noise, an untrained network."""

import functools
from types import SimpleNamespace
from typing import NamedTuple

from common.compare import metrics
from common.compare.records import GROUPS, PRIOR_DRAWS, applicable
from common.compare.reference import to_float32
from common.data.batches import to_float
from common.data.images import progress
from common.devices.determinism import set_up
from common.devices.parts import in_batches, in_parts, slices
from common.load import SCRIPTS, untrained
from common.objectives.priors import StandardNormal, make_prior
from common.latent_plane import latent_grid, latent_plane
from common.trained import Trained, check_codes

import numpy as np
import tensorflow as tf
from eager_cvae import reparameterize

BASELINES = {
    "real images": "The test images as perfect reconstructions of themselves, and the first "
    f"{PRIOR_DRAWS:,} training images (or all, if there are fewer) in place of decoded draws.",
    "white noise": "Pixels from a uniform distribution on [0, 1], in place of decoded draws.",
    "untrained": "The network of the first run before its training.",
}


class Result(NamedTuple):
    """The measurements of a run."""

    run: Trained
    values: dict[str, float]  # by the name of the metric
    latent_mean: list[float]  # of one z ~ q(z|x) per test image, or of the MMD-VAE's codes
    latent_covariance: list[list[float]]


class Reconstruction(NamedTuple):
    """How far reconstructions differ from the test images, averaged over the images."""

    error: float
    crossentropy: float
    edges: float


class Bounds(NamedTuple):
    """Lower bounds of log p(x) in nats per image; the last two for the first --iw-images only."""

    elbo: np.ndarray
    kl: np.ndarray
    bound: np.ndarray
    effective: np.ndarray


class Measured:
    """A run and the intermediate results of its metrics. Each is computed when first used."""

    def __init__(self, run, reference, args=None):
        """Store a common.trained.Trained, its Reference, and the flags; None if without bounds."""
        self.run, self.reference, self.args = run, reference, args
        self.rng = tf.random.Generator.from_seed(0)
        self.labels = reference.data.test_labels
        self.labels = None if self.labels is None else self.labels[: len(reference.images)]
        images, dtype, self.logvar = reference.images, run.flags["dtype"], None
        if run.model == "cvae":
            encoded = in_batches(lambda x: run.encoder(to_float(x, dtype)), images)
            self.mean, self.logvar = encoded
            self.z = reparameterize(tf.constant(self.mean), self.logvar, self.rng).numpy()
        else:
            self.mean = self.z = run.encode(images)
        check_codes(run, self.z)
        self.centre = self.z.mean(axis=0, dtype=float)
        self.covariance = np.atleast_2d(np.cov(self.z, rowvar=False))
        self.sds = np.sqrt(np.linalg.eigvalsh(self.covariance).clip(0))  # ascending

    @functools.cached_property
    def bounds(self):
        """Return the Bounds."""
        run, images, some = self.run, self.reference.images, slice(self.args.iw_images)
        mean, logvar, prior = self.mean, self.logvar, run.mixture()

        @tf.function(autograph=False)
        def loglik(images, z):
            x = to_float(images, run.decoder.compute_dtype)
            return metrics.bernoulli_loglik(x, in_parts(run.decoder)(z))

        def draw():
            bar.update()
            z = reparameterize(mean[some], logvar[some], self.rng)
            logpx_z = in_batches(loglik, images[some], z)
            return metrics.log_weight(z, mean[some], logvar[some], logpx_z, prior)

        with progress(self.args.iw_samples, f"{run.folder}: importance-weighted bound") as bar:
            bound, effective = metrics.importance_weighted_bound(draw, self.args.iw_samples)
        if isinstance(prior, StandardNormal):
            kl = metrics.normal_kl(mean, logvar).numpy()
        else:  # has no closed form
            kl = -metrics.log_weight(tf.constant(self.z), mean, logvar, 0.0, prior).numpy()
        return Bounds(in_batches(loglik, images, self.z) - kl, kl, bound, effective)

    @functools.cached_property
    def mmd(self):
        """Return the squared MMD of latent vectors and draws of the prior, and its error."""
        return metrics.unbiased_mmd(self.z, self.run.draw(len(self.z)))

    @functools.cached_property
    def reconstruction(self):
        """Return the Reconstruction from the means."""
        return reconstruct(self.reference.images, self.run.decode, self.mean)

    @functools.cached_property
    def draws(self):
        """Return what is Seen in decoded draws of the prior."""
        return self._decoded(self.run.draw(PRIOR_DRAWS))

    @functools.cached_property
    def own_draws(self):
        """Return what is Seen in decoded draws of the Gaussian with the latent vectors' moments."""
        flags = self.run.flags
        normal = StandardNormal().sample(PRIOR_DRAWS, flags["latent_dim"], 0, flags["dtype"])
        return self._decoded(metrics.to_gaussian(normal.numpy(), self.centre, self.covariance))

    @functools.cached_property
    def grid(self):
        """Return what is Seen in the latent grid."""
        _, lift, _ = latent_plane(self.mean)
        return self._decoded(lift(latent_grid()))

    def _decoded(self, z):
        return self.reference.look(map(self.run.decode, slices(z)))


def reconstruct(images, decode, mean):
    """Return the Reconstruction of uint8 test images (n, height, width, channels)."""

    def by_image(images, mean):
        x, preds = to_float(images, "float32"), tf.cast(decode(mean), "float32")
        errors = metrics.mean_squared_error(x, preds), metrics.binary_crossentropy(x, preds)
        return *errors, *metrics.edges(x, preds)

    found = in_batches(by_image, images, mean)
    error, crossentropy, kept, total = (float(each.mean(dtype=float)) for each in found)
    return Reconstruction(error, crossentropy, kept / total if total else 1.0)


def values_of(measured, groups, step):
    """Return the values of all metrics of some groups by name.

    Args:
        measured: Measured, or an object with those of its attributes that these metrics use.
        groups: the groups.
        step: function that is called with the name of each metric before it is computed.
    """
    values = {}
    for metric in applicable(groups, measured.reference.judge):
        step(metric.name)
        values[metric.name] = float(metric.function(measured))
    return values


def evaluate(run, reference, args, step):
    """Return the Result of a run. Without `args`, the flags, it has no bounds, which take long."""
    measured = Measured(run, reference, args)
    bounded = run.model == "cvae" and args
    groups = [group for group in GROUPS if group != "likelihood" or bounded]
    values = values_of(measured, groups, step)
    return Result(run, values, measured.centre.tolist(), measured.covariance.tolist())


def baselines(run, reference, step):
    """Return the values of each of the BASELINES by title. `run` is the one to be untrained."""
    data, images = reference.data, reference.images
    rng = np.random.default_rng(0)

    def real(n):
        return reference.look(map(to_float32, slices(data.train_images[:n])))

    def noise(n):
        shapes = ((len(part), *data.image_shape) for part in slices(range(n)))
        return reference.look(rng.random(shape, "float32") for shape in shapes)

    step("real images")
    draws, reconstruction = real(PRIOR_DRAWS), reconstruct(images, to_float32, images)
    of_real = SimpleNamespace(draws=draws, own_draws=draws, grid=real(256))
    of_real.reference, of_real.reconstruction = reference, reconstruction
    step("white noise")
    of_noise = {
        name: noise(n)
        for name, n in (("draws", PRIOR_DRAWS), ("own_draws", PRIOR_DRAWS), ("grid", 256))
    }
    of_noise = SimpleNamespace(reference=reference, **of_noise)
    decoded = ("draws", "beyond the prior")
    return {
        "real images": values_of(of_real, ("reconstruction", *decoded), step),
        "white noise": values_of(of_noise, decoded, step),
        "untrained": evaluate(before_training(run, data), reference, None, step).values,
    }


def before_training(run, data):
    """Return a run, a common.trained.Trained, with the weights from before its training."""
    script, flags = SCRIPTS[run.model], run.flags
    with set_up(flags["seed"], flags["dtype"]):
        models = untrained(script, flags, data.image_shape)
        if number := flags.get("vamp_prior"):
            models["prior"] = make_prior(number, data.train_images, flags["seed"])
    return Trained(run.folder, run.settings, models, script.encode, script.decode)
