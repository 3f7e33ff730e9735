"""A trained run in numbers: the metrics of common/metrics.py, of what, and what is kept of them."""

import contextlib
import json
import math
from typing import NamedTuple

import eager_cvae
from common import UserError, metrics
from common.data import Dataset, load_dataset, to_float
from common.fast import in_batches, side_by_side
from common.plotting import latent_grid, latent_plane
from common.report import CVAE_ALONE, METRICS, PRIOR_DRAWS
from common.run import replacing_unlocked
from common.trained import Trained

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from tqdm import tqdm

VERSION = 3  # of the metrics; what is kept of another one is measured anew
BATCH = 1000  # images or draws decoded at a time: 300 MB
DARKEST = 0.01  # of the test images; a cell of the grid that is darker than these counts as black


class Result(NamedTuple):
    """A run, measured: metrics by key, and its latent vectors' moments."""

    run: Trained
    values: dict[str, float]
    latent_mean: list[float]
    latent_covariance: list[list[float]]


class Reference(NamedTuple):
    """A data set and what all its runs are held against."""

    data: Dataset
    images: np.ndarray  # the test set's, float32 (n, 28, 28, 1) in [0, 1]
    pca: PCA
    manifold: metrics.Manifold
    real: dict[str, float]  # metrics of real images in place of decoded ones


def read_reference(name, data_dir):
    """Load a data set, find the principal components and the manifold of its test images.

    Raises UserError where the data set cannot be had (common.data.load_dataset).
    """
    data = load_dataset(name, data_dir)
    images = to_float(data.test_images, "float32").numpy()
    pixels = images.reshape(len(images), -1)
    pca = PCA(min(50, len(pixels)), svd_solver="covariance_eigh").fit(pixels)
    manifold = metrics.manifold(pca.transform(pixels))
    others = to_float(data.train_images[:PRIOR_DRAWS], "float32").numpy()
    real = reconstruction(images, images) | variety(others, images, pca, manifold)
    return Reference(data, images, pca, manifold, real)


def by_batch(function):
    """`function`, from rows of tensors to rows of an array, on BATCH rows at a time.

    Whole batches go through a graph, in which `side_by_side` has several cores to work on.
    """
    graph = tf.function(function, autograph=False)

    def call(*tensors):
        batches = [[t[i : i + BATCH] for t in tensors] for i in range(0, len(tensors[0]), BATCH)]
        return np.concatenate(
            [(graph if len(batch[0]) == BATCH else function)(*batch) for batch in batches]
        )

    return call


def prior(n, run):
    """The same draws of N(0, I), (n, latent_dim), for every run of so many latent dimensions."""
    return tf.random.stateless_normal(
        (n, run.flags["latent_dim"]), seed=(0, 0), dtype=run.decoder.compute_dtype
    )


def reconstruction(images, preds):
    """How well test images (n, 28, 28, 1) come back, by key."""
    return {
        "mse": metrics.mean_squared_error(images, preds),
        "crossentropy": metrics.binary_crossentropy(images, preds),
        "sharpness_back": metrics.gradient_magnitude(preds) / metrics.gradient_magnitude(images),
    }


def features(pca, images):
    """Images (n, 28, 28, 1) as points in the space of their manifold."""
    return pca.transform(images.reshape(len(images), -1))


def brightness(images):
    """Mean intensity of each image, (n, 28, 28, 1) to (n,)."""
    return images.mean(axis=(1, 2, 3), dtype=float)


def variety(drawn, images, pca, manifold):
    """How draws (m, 28, 28, 1) resemble the test images, whose `manifold` that is, by key."""
    fake = metrics.manifold(features(pca, drawn))
    return {
        "precision": float(metrics.inside(fake.points, manifold).mean()),
        "recall": float(metrics.inside(manifold.points, fake).mean()),
        "coverage": metrics.coverage(fake.points, manifold),
        "sharpness": metrics.gradient_magnitude(drawn) / metrics.gradient_magnitude(images),
    }


def bounds(run, images, mean, logvar, z, rng, args):
    """ELBO, its KL part and the importance-weighted bound, by key: nats an image.

    Args:
        images: uint8 (n, 28, 28, 1).
        mean, logvar, z: (n, latent_dim), of q(z|x) and a draw of it.
        rng: tf.random.Generator, source of further draws.
    """

    @by_batch
    def logpx_z(images, z):
        x = to_float(images, run.decoder.compute_dtype)
        return metrics.bernoulli_loglik(x, side_by_side(run.decoder, z))

    some = slice(args.iw_images)

    def draw():
        bar.update()
        z = eager_cvae.reparameterize(mean[some], logvar[some], rng)
        return metrics.log_weight(z, mean[some], logvar[some], logpx_z(images[some], z))

    with progress(args.iw_samples, f"{run.place}: importance-weighted bound") as bar:
        bound, effective_samples = metrics.importance_weighted_bound(draw, args.iw_samples)
    kl = metrics.normal_kl(mean, logvar).numpy()
    elbo = logpx_z(images, z) - kl
    return {
        "elbo": float(elbo.mean(dtype=float)),
        "kl": float(kl.mean(dtype=float)),
        "elbo_of_some": float(elbo[some].mean(dtype=float)),
        "bound": float(bound.mean()),
        "effective_samples": float(np.median(effective_samples)),
    }


def make_decode(run):
    """A function from latent vectors (n, latent_dim) to intensities (n, 28, 28, 1)."""

    @by_batch
    def decode(z):
        output = side_by_side(run.decoder, tf.cast(z, run.decoder.compute_dtype))
        return tf.sigmoid(output) if run.model == "cvae" else output

    return decode


def evaluate(run, reference, args, step):
    """Measure one run.

    Args:
        step: function of the run and a word about what begins.

    Returns:
        Result.
    """
    data, images, pca, manifold, _ = reference
    decode, rng = make_decode(run), tf.random.Generator.from_seed(0)

    step(run, "encoding")
    train = in_batches(run.encoder, data.train_images)
    codes = mean = z = in_batches(run.encoder, data.test_images)
    values = {}
    if run.model == "cvae":
        (mean, logvar), train = codes, train[0]
        z = eager_cvae.reparameterize(mean, logvar, rng)
        values |= bounds(run, data.test_images, mean, logvar, z, rng, args)
    mean, train, z = mean.numpy(), train.numpy(), z.numpy()

    step(run, "latent space")
    latent_mean, covariance = z.mean(axis=0, dtype=float), np.atleast_2d(np.cov(z, rowvar=False))
    sds = np.sqrt(np.linalg.eigvalsh(covariance).clip(0))  # from the least
    values["distance"] = float(np.linalg.norm(latent_mean))
    values["widest"], values["narrowest"] = float(sds[-1]), float(sds[0])
    values["latent_kl"] = metrics.gaussian_kl(latent_mean, covariance)
    values["mmd"], values["mmd_error"] = metrics.unbiased_mmd(z, prior(len(z), run))

    step(run, "classes")
    values["accuracy"] = metrics.neighbour_accuracy(
        train, data.train_labels, mean, data.test_labels
    )
    values["silhouette"] = float(silhouette_score(mean, data.test_labels))

    step(run, "decoding")
    values |= reconstruction(images, decode(mean))
    random_vector = prior(PRIOR_DRAWS, run).numpy()
    own = decode(metrics.to_gaussian(random_vector, latent_mean, covariance))
    _, lift, _ = latent_plane(mean)

    step(run, "manifolds")
    values |= variety(decode(random_vector), images, pca, manifold)
    values["own_precision"] = float(metrics.inside(features(pca, own), manifold).mean())
    cells = decode(lift(latent_grid()))
    in_manifold = metrics.inside(features(pca, cells), manifold)
    lit = brightness(cells) >= np.quantile(brightness(images), DARKEST)
    values["grid"] = float(in_manifold.mean())
    values["grid_lit"] = float((in_manifold & lit).mean())
    return Result(run, values, latent_mean.tolist(), covariance.tolist())


def _basis(run, args):
    """What a result is of."""
    iw = [args.iw_samples, args.iw_images]
    return {"models": run.fingerprint, "iw": iw, "version": VERSION}


def kept_result(run, args):
    """What an earlier comparison with these flags left beside a run, as Result; None if nothing.

    Raises UserError for a run of which there is nothing else, if it is not what is asked for.
    """
    basis = _basis(run, args)
    message = "is damaged or of another version. Train the run anew."
    with contextlib.suppress(
        OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError
    ):
        kept = json.loads(run.metrics_file.read_text(encoding="utf-8"))
        if run.encoder is None:
            basis["models"] = kept["basis"]["models"]
        values = {key: float(value) for key, value in kept["values"].items()}
        if any(map(math.isnan, values.values())):
            raise ValueError("not a number")
        mean, covariance = kept["latent_mean"], kept["latent_covariance"]
        keys = {m.key for m in METRICS} - (set() if run.model == "cvae" else CVAE_ALONE)
        shapes = [np.array(moment, float).shape for moment in (mean, covariance)]
        dim = run.flags["latent_dim"]
        if set(values) == keys and shapes == [(dim,), (dim, dim)]:
            if kept["basis"] == basis:
                return Result(run, values, mean, covariance)
            if kept["basis"] == basis | {"iw": kept["basis"]["iw"]}:
                samples, images = kept["basis"]["iw"]
                message = f"has --iw-samples {samples} --iw-images {images}: give these."
    if run.encoder is None:
        raise UserError(f"{run.metrics_file}, all that is left of a run's models, {message}")
    return None


def measure(run, reference, args, step):
    """`evaluate`, and keep the result beside the run."""
    result = evaluate(run, reference, args, step)
    kept = {"basis": _basis(run, args), **result._asdict()}
    del kept["run"]
    with (
        contextlib.suppress(OSError),
        replacing_unlocked(run.metrics_file) as file,
    ):  # it only saves time
        file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return result


def progress(total, description=None):
    """A tqdm bar; silent when stderr is no terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)
