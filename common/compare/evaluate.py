"""Measure trained runs, real images, noise and untrained networks."""

from functools import cached_property
from types import SimpleNamespace
from typing import NamedTuple

from common.compare import metrics
from common.compare.records import DECODED, GROUPS, PRIOR_DRAWS, RECORDS
from common.compare.reference import to_float32
from common.data.batches import to_float
from common.data.images import progress
from common.devices.determinism import set_up
from common.devices.parts import in_batches, in_parts, slices
from common.latent_plane import latent_grid, latent_plane
from common.load import SCRIPTS, untrained
from common.objectives.priors import StandardNormal, make_prior
from common.trained import Trained, check_codes
from eager_cvae import reparameterize

import numpy as np
import tensorflow as tf

BASELINES = {
    "real images": "The test images as their own reconstructions, and the first "
    f"{PRIOR_DRAWS:,} training images (or all, if there are fewer) instead of decoded draws.",
    "white noise": "Pixels drawn uniformly from [0, 1] instead of decoded draws.",
    "untrained": "The network of the first run before training.",
}


class Result(NamedTuple):
    """The measurements of a run."""

    run: Trained
    values: dict[str, float]  # by the name of the metric
    latent_mean: list[float]  # of one z ~ q(z|x) per test image; of the MMD-VAE's codes
    latent_covariance: list[list[float]]


class Measured:
    """A run and the intermediate results of its metrics, most of them computed when first used.

    `mean`, `logvar` and `z` are q(z|x) and a draw from it for each test image, (n, latent_dim). The
    MMD-VAE has only `mean`, its code, and `z` is the same. `centre` and `covariance` are moments of
    z, and `sds` its standard deviations along the principal axes. `draws`, `own_draws` and `grid`
    are what is Seen of decoded draws of the prior, of decoded draws of the Gaussian with the
    moments of z, and of the latent grid.
    """

    def __init__(self, run, reference, args=None):
        """Encode the test images of a Reference. Without `args`, the flags, there are no bounds."""
        self.run, self.reference, self.args = run, reference, args
        self.rng = tf.random.Generator.from_seed(0)
        images, data, dtype = reference.images, reference.data, run.flags["dtype"]
        self.labels = data.test_labels[: len(images)] if data.class_names else None
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

    def _see(self, z):
        return self.reference.look(map(self.run.decode, slices(z)))

    mmd = cached_property(lambda m: metrics.unbiased_mmd(m.z, m.run.draw(len(m.z))))
    train_mean = cached_property(lambda m: m.run.encode(m.reference.data.train_images))
    reconstruction = cached_property(
        lambda m: reconstruct(m.reference.images, m.run.decode, m.mean)
    )
    draws = cached_property(lambda m: m._see(m.run.draw(PRIOR_DRAWS)))
    grid = cached_property(lambda m: m._see(latent_plane(m.mean)[1](latent_grid())))

    @cached_property
    def own_draws(self):
        flags = self.run.flags
        normal = StandardNormal().sample(PRIOR_DRAWS, flags["latent_dim"], 0, flags["dtype"])
        return self._see(metrics.to_gaussian(normal.numpy(), self.centre, self.covariance))

    @cached_property
    def bounds(self):
        """Return `elbo` and `kl` of the test images, and `bound` of the first --iw-images.

        They are arrays in nats per image. `effective` is the effective number of the bound's
        samples.
        """
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
            kl = -metrics.log_weight(self.z, mean, logvar, 0.0, prior).numpy()
        elbo = in_batches(loglik, images, self.z) - kl
        return SimpleNamespace(elbo=elbo, kl=kl, bound=bound, effective=effective)


def reconstruct(images, decode, mean):
    """Return the average `error`, `crossentropy` and `edges` of reconstructions, `decode(mean)`.

    The images are uint8 (n, height, width, channels), and `mean` has n rows.
    """

    def by_image(images, mean):
        x, preds = to_float(images, "float32"), tf.cast(decode(mean), "float32")
        errors = metrics.mean_squared_error(x, preds), metrics.binary_crossentropy(x, preds)
        return *errors, *metrics.edges(x, preds)

    found = [each.mean(dtype=float) for each in in_batches(by_image, images, mean)]
    error, crossentropy, kept, total = found
    edges = kept / total if total else 1.0
    return SimpleNamespace(error=error, crossentropy=crossentropy, edges=edges)


def values_of(measured, groups, step):
    """Return the values of all metrics of some groups by name.

    `measured` has those attributes of Measured that these metrics use. `step` is called with the
    name of each metric before it is computed.
    """
    values = {}
    for metric in RECORDS:
        if metric.group in groups and (measured.reference.judge or not metric.classes):
            step(metric.name)
            values[metric.name] = float(metric.function(measured))
    return values


def evaluate(run, reference, args, step):
    """Return the Result of a run. Without `args`, the flags, it has no bounds, which take long."""
    measured = Measured(run, reference, args)
    bounded = args and run.model == "cvae"
    groups = [group for group in GROUPS if group != "likelihood" or bounded]
    values = values_of(measured, groups, step)
    return Result(run, values, measured.centre.tolist(), measured.covariance.tolist())


def baselines(run, reference, step):
    """Return the values of each of the BASELINES by title. `run` is also measured untrained."""
    data, images, rng = reference.data, reference.images, np.random.default_rng(0)

    def real(n):
        return reference.look(map(to_float32, slices(data.train_images[:n])))

    def noise(n):
        shapes = [(len(batch), *data.image_shape) for batch in slices(range(n))]
        return reference.look(rng.random(shape, "float32") for shape in shapes)

    draws = real(PRIOR_DRAWS)
    photos = SimpleNamespace(reference=reference, draws=draws, own_draws=draws, grid=real(256))
    photos.reconstruction = reconstruct(images, to_float32, images)
    pixels = SimpleNamespace(reference=reference, draws=noise(PRIOR_DRAWS))
    pixels.own_draws, pixels.grid = noise(PRIOR_DRAWS), noise(256)
    return {
        "real images": values_of(photos, ("reconstruction", *DECODED), step),
        "white noise": values_of(pixels, DECODED, step),
        "untrained": evaluate(before_training(run, data), reference, None, step).values,
    }


def before_training(run, data):
    """Return a run, a common.trained.Trained, with its weights from before the training."""
    script, flags = SCRIPTS[run.model], run.flags
    with set_up(flags["seed"], flags["dtype"]):
        models = untrained(script, flags, data.image_shape)
        models["prior"] = make_prior(flags.get("vamp_prior"), data.train_images, flags["seed"])
    return Trained(run.folder, run.settings, models, script.encode, script.decode)
