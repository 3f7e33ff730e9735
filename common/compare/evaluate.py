"""Measure trained runs, real images, noise and untrained networks."""

from types import SimpleNamespace
from typing import NamedTuple

from common.compare import metrics
from common.compare.records import DECODED, GROUPS, PRIOR_DRAWS, RECORDS
from common.data.batches import to_float
from common.data.images import progress
from common.devices.determinism import set_up
from common.devices.parts import FEW_PARTS, in_batches, in_parts, slices
from common.latent_plane import latent_grid, latent_plane
from common.load import SCRIPTS, untrained
from common.objectives.priors import StandardNormal, make_prior
from common.trained import Trained, check_codes
from eager_cvae import reparameterize

import keras
import numpy as np
import tensorflow as tf

MOST_LISTED = 3  # dimensions of a stored mean and covariance, which comparison.md lists
BASELINES = {
    "real images": f"The first {PRIOR_DRAWS:,} training images (or all, if there are fewer) "
    "replace the decoded draws, and the test images are their own reconstructions.",
    "white noise": "Images with pixels drawn uniformly from [0, 1] replace the decoded draws.",
    "untrained": "The network of the first run is measured with its weights before training.",
}


class Result(NamedTuple):
    run: Trained
    values: dict[str, float]  # by metric name
    # Mean and covariance of the latent vectors, or () with more than MOST_LISTED dimensions
    latent_mean: list[float] = ()
    latent_covariance: list[list[float]] = ()


def evaluate(run, reference, args=None):
    """Measure a run and return its Result. If `args` is None, skip the slow likelihood."""
    images, data, flags = reference.images, reference.data, run.flags
    rng = tf.random.Generator.from_seed(0)
    if run.model == "cvae":
        mean, logvar = in_batches(lambda x: run.encoder(to_float(x, flags["dtype"])), images)
        z = reparameterize(tf.constant(mean), logvar, rng).numpy()
    else:
        mean = z = run.encode(images)
    check_codes(run, z)
    centre, covariance = z.mean(axis=0, dtype=float), np.atleast_2d(np.cov(z, rowvar=False))
    normal = StandardNormal().sample(PRIOR_DRAWS, flags["latent_dim"], 0, flags["dtype"]).numpy()

    def see(z):
        return reference.look(map(run.decode, slices(z)))

    measured = SimpleNamespace(
        run=run, args=args, reference=reference, data=data, mean=mean,
        labels=data.test_labels[: len(images)] if data.class_names else None,
        centre=centre, covariance=covariance,
        sds=np.sqrt(np.linalg.eigvalsh(covariance).clip(0)),  # ascending
        mmd=metrics.unbiased_mmd(z, run.draw(len(z))),
        reconstruction=reconstruct(images, run.decode, mean),
        draws=see(run.draw(PRIOR_DRAWS)),
        own_draws=see(metrics.to_gaussian(normal, centre, covariance)),
        grid=see(latent_plane(mean)[1](latent_grid())),
    )  # fmt: skip
    groups = {*GROUPS} - {"likelihood"}
    if args and run.model == "cvae":
        measured.bounds = bounds(run, images, args, mean, logvar, z, rng)
        groups.add("likelihood")
    gaussian = (centre.tolist(), covariance.tolist()) if len(centre) <= MOST_LISTED else ()
    return Result(run, values_of(measured, groups), *gaussian)


def values_of(measured, groups):
    """Return a dict from the names of all metrics in `groups` to their values.

    `measured` contains the measurements from `evaluate`.
    """
    records = [m for m in RECORDS if measured.reference.judge or not m.classes]
    return {m.name: float(m.function(measured)) for m in records if m.group in groups}


def bounds(run, images, args, mean, logvar, z, rng):
    """Return the ELBO and the KL divergence of each image.

    For the first --iw-images images, also return the importance-weighted bound and the effective
    number of samples.
    """
    some, prior = slice(args.iw_images), run.mixture()

    @tf.function(autograph=False)
    def loglik(images, z):
        x = to_float(images, run.decoder.compute_dtype)
        return metrics.bernoulli_loglik(x, in_parts(run.decoder, FEW_PARTS)(z))

    def draw():
        bar.update()
        z = reparameterize(mean[some], logvar[some], rng)
        logpx_z = in_batches(loglik, images[some], z)
        return metrics.log_weight(z, mean[some], logvar[some], logpx_z, prior)

    with progress(args.iw_samples, f"{run.folder}: importance-weighted bound") as bar:
        bound, effective = metrics.importance_weighted_bound(draw, args.iw_samples)
    if isinstance(prior, StandardNormal):
        kl = metrics.normal_kl(mean, logvar).numpy()
    else:  # no closed form
        kl = -metrics.log_weight(z, mean, logvar, 0.0, prior).numpy()
    elbo = in_batches(loglik, images, z) - kl
    return SimpleNamespace(elbo=elbo, kl=kl, bound=bound, effective=effective)


def reconstruct(images, decode, mean):
    """Compare uint8 images with their reconstructions `decode(mean)`.

    Return the averages of `error`, `crossentropy` and `edges`.
    """

    def by_image(images, mean):
        x, preds = to_float(images, "float32"), tf.cast(decode(mean), "float32")
        error = tf.reduce_mean(keras.losses.mean_squared_error(x, preds), axis=(1, 2))
        return error, metrics.binary_crossentropy(x, preds), *metrics.edges(x, preds)

    found = in_batches(by_image, images, mean)
    error, crossentropy, kept, total = (each.mean(dtype=float) for each in found)
    edges = kept / total if total else 1.0
    return SimpleNamespace(error=error, crossentropy=crossentropy, edges=edges)


def baselines(run, reference):
    """Return a dict with the Results of real images, white noise and the untrained network."""
    data, images, rng = reference.data, reference.images, np.random.default_rng(0)

    def real(n):
        return reference.look(batch / np.float32(255) for batch in slices(data.train_images[:n]))

    def noise(n):
        shapes = [(len(batch), *data.image_shape) for batch in slices(range(n))]
        return reference.look(rng.random(shape, "float32") for shape in shapes)

    draws = real(PRIOR_DRAWS)
    photos = SimpleNamespace(reference=reference, draws=draws, own_draws=draws, grid=real(256))
    photos.reconstruction = reconstruct(images, lambda x: to_float(x, "float32"), images)
    pixels = SimpleNamespace(reference=reference, draws=noise(PRIOR_DRAWS))
    pixels.own_draws, pixels.grid = noise(PRIOR_DRAWS), noise(256)
    return {
        "real images": Result(run, values_of(photos, ("reconstruction", *DECODED))),
        "white noise": Result(run, values_of(pixels, DECODED)),
        "untrained": Result(run, evaluate(before_training(run, data), reference).values),
    }


def before_training(run, data):
    """Return a copy of a run whose models have the weights from before the training."""
    script, flags = SCRIPTS[run.model], run.flags
    with set_up(flags["seed"], flags["dtype"]):
        models = untrained(script, flags, data.image_shape)
        models["prior"] = make_prior(flags.get("vamp_prior"), data.train_images, flags["seed"])
    return Trained(run.folder, run.settings, models, script.encode, script.decode)
