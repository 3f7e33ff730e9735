"""A trained run in numbers: the metrics of metrics.py, of what, and what is kept of them."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import eager_cvae
from common import priors
from common.cli import signals_wait
from common.compare import metrics
from common.compare.report import CVAE_ALONE, METRICS, PRIOR_DRAWS
from common.data.batches import to_float
from common.data.sources import Dataset, load_dataset
from common.devices import in_batches, in_parts
from common.files import UserError, is_number, read_json, replacing_unlocked, write_json
from common.plotting import latent_grid, latent_plane
from common.trained import Trained

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from tqdm.auto import tqdm

VERSION = 4  # of the metrics; what is kept of another one is measured anew
DARKEST = 0.01  # of the test images; a cell of the grid that is darker than these counts as black


class Result(NamedTuple):
    """A run, measured: metrics by name, and its latent vectors' moments."""

    run: Trained
    values: dict[str, float]
    latent_mean: list[float]
    latent_covariance: list[list[float]]


class Reference(NamedTuple):
    """A data set and what all its runs are held against."""

    data: Dataset
    images: np.ndarray  # the test set's, float32 (n, height, width, channels) in [0, 1]
    features: Callable  # from such images to points in the space of their manifold
    manifold: metrics.Manifold
    real: dict[str, float]  # metrics of real images in place of decoded ones


def read_reference(name, data_dir):
    """Load a data set, find the principal components and the manifold of its test images.

    Raises UserError where the data set cannot be had (common.data.sources.load_dataset).
    """
    data = load_dataset(name, data_dir)
    images = to_float(data.test_images, "float32").numpy()
    pixels = images.reshape(len(images), -1)
    pca = PCA(min(50, *pixels.shape), svd_solver="covariance_eigh").fit(pixels)
    manifold = metrics.manifold(pca.transform(pixels))

    def features(images):
        return pca.transform(images.reshape(len(images), -1))

    others = to_float(data.train_images[:PRIOR_DRAWS], "float32").numpy()
    real = reconstruction(images, images) | variety(others, images, features, manifold)
    return Reference(data, images, features, manifold, real)


def reconstruction(images, preds):
    """How well test images (n, height, width, channels) come back, by name."""
    sharpness = metrics.gradient_magnitude(preds) / metrics.gradient_magnitude(images)
    return {
        "mean squared error": metrics.mean_squared_error(images, preds),
        "cross entropy": metrics.binary_crossentropy(images, preds),
        "sharpness, reconstructions": sharpness,
    }


def variety(drawn, images, features, manifold):
    """How `drawn` images resemble the test images, whose `manifold` that is, by name."""
    fake = metrics.manifold(features(drawn))
    return {
        "precision": float(metrics.inside(fake.points, manifold).mean()),
        "recall": float(metrics.inside(manifold.points, fake).mean()),
        "coverage": metrics.coverage(fake.points, manifold),
        "sharpness": metrics.gradient_magnitude(drawn) / metrics.gradient_magnitude(images),
    }


def bounds(run, images, mean, logvar, z, rng, args):
    """ELBO, its KL part and the importance-weighted bound, by name: nats an image.

    Of uint8 images (n, height, width, channels), their q(z|x) and a draw `z` of it, all (n,
    latent_dim); `rng`, a tf.random.Generator, is the source of further draws.
    """

    @tf.function(autograph=False)
    def some_logpx_z(images, z):
        x = to_float(images, run.decoder.compute_dtype)
        return metrics.bernoulli_loglik(x, in_parts(run.decoder)(z))

    def logpx_z(images, z):
        return in_batches(some_logpx_z, images, z)

    some = slice(args.iw_images)

    def draw():
        bar.update()
        z = eager_cvae.reparameterize(mean[some], logvar[some], rng)
        return metrics.log_weight(z, mean[some], logvar[some], logpx_z(images[some], z))

    with progress(args.iw_samples, f"{run.folder}: importance-weighted bound") as bar:
        bound, effective_samples = metrics.importance_weighted_bound(draw, args.iw_samples)
    kl = metrics.normal_kl(mean, logvar).numpy()
    elbo = logpx_z(images, z) - kl
    return {
        "ELBO": float(elbo.mean(dtype=float)),
        "KL part of the ELBO": float(kl.mean(dtype=float)),
        "ELBO, fewer images": float(elbo[some].mean(dtype=float)),
        "importance-weighted bound": float(bound.mean()),
        "its effective samples": float(np.median(effective_samples)),
    }


def evaluate(run, reference, args, step):
    """Measure one run, a Result; `step(run, word)` is told what begins."""
    data, images, features, manifold, _ = reference
    rng, dtype = tf.random.Generator.from_seed(0), run.flags["dtype"]

    def prior(n):  # the same for every run of so many latent dimensions
        return priors.sample(n, run.flags["latent_dim"], 0, dtype).numpy()

    step(run, "encoding")
    train = run.encode(data.train_images)
    values = {}
    if run.model == "cvae":
        mean, logvar = in_batches(lambda x: run.encoder(to_float(x, dtype)), data.test_images)
        z = eager_cvae.reparameterize(tf.constant(mean), logvar, rng)
        values |= bounds(run, data.test_images, mean, logvar, z, rng, args)
        z = z.numpy()
    else:
        mean = z = run.encode(data.test_images)

    step(run, "latent space")
    centre, covariance = z.mean(axis=0, dtype=float), np.atleast_2d(np.cov(z, rowvar=False))
    sds = np.sqrt(np.linalg.eigvalsh(covariance).clip(0))  # from the least
    mmd, error = metrics.unbiased_mmd(z, prior(len(z)))
    values |= {
        "latent mean to 0": float(np.linalg.norm(centre)),
        "largest latent sd": float(sds[-1]),
        "smallest latent sd": float(sds[0]),
        "KL(latent Gaussian, prior)": metrics.gaussian_kl(centre, covariance),
        "MMD^2 to prior": mmd,
        "its standard error": error,
    }

    step(run, "classes")
    accuracy = metrics.neighbour_accuracy(train, data.train_labels, mean, data.test_labels)
    values["15 neighbours' accuracy"] = accuracy
    values["silhouette"] = float(silhouette_score(mean, data.test_labels))

    step(run, "decoding")
    values |= reconstruction(images, run.decode(mean))
    random_vector = prior(PRIOR_DRAWS)
    own = run.decode(metrics.to_gaussian(random_vector, centre, covariance))
    _, lift, _ = latent_plane(mean)
    cells = run.decode(lift(latent_grid()))

    step(run, "manifolds")
    values |= variety(run.decode(random_vector), images, features, manifold)
    own_inside, in_manifold = (metrics.inside(features(some), manifold) for some in (own, cells))
    cell_greys, greys = (some.mean(axis=(1, 2, 3), dtype=float) for some in (cells, images))
    lit = cell_greys >= np.quantile(greys, DARKEST)
    values["precision, own Gaussian"] = float(own_inside.mean())
    values["grid in manifold"] = float(in_manifold.mean())
    values["grid, not black"] = float((in_manifold & lit).mean())
    return Result(run, values, centre.tolist(), covariance.tolist())


# What is kept beside a run ----------------------------------------------------


def _basis(run, args):
    """What a result is of."""
    models = run.fingerprint if run.encoder else None
    iw, epochs = [args.iw_samples, args.iw_images], run.flags["epochs"]
    return {"models": models, "epochs": epochs, "iw": iw, "version": VERSION}


def kept_result(run, args):
    """What an earlier comparison with these flags left beside a run, as Result; None if nothing.

    Raises UserError for a run of which there is nothing else, if it is not what is asked for.
    """
    file, basis, dim = run.folder / "metrics.json", _basis(run, args), run.flags["latent_dim"]
    names = set(METRICS) - (set() if run.model == "cvae" else CVAE_ALONE)
    moments = {"latent_mean": [is_number], "latent_covariance": [[is_number]]}
    form = {"basis": dict, "values": dict.fromkeys(names, is_number), **moments}
    with contextlib.suppress(OSError, UserError):
        kept = read_json(file, form)
        if run.encoder is None:
            basis["models"] = kept["basis"].get("models")
        values, mean, covariance = kept["values"], kept["latent_mean"], kept["latent_covariance"]
        whole = values.keys() == names and {dim} == {*map(len, (mean, covariance, *covariance))}
        if whole and kept["basis"] == basis:
            return Result(run, {name: float(v) for name, v in values.items()}, mean, covariance)
    if run.encoder is None:
        raise UserError(
            f"{file}, all that is left of a run's models, is damaged, of another version, or of "
            "other --iw-samples and --iw-images.\nGive those, or train it anew."
        )
    return None


def measure(run, reference, args, step):
    """`evaluate`, and keep the result beside the run."""
    result = evaluate(run, reference, args, step)
    kept = {"basis": _basis(run, args), **result._asdict()}
    del kept["run"]
    file = replacing_unlocked(run.folder / "metrics.json")
    with contextlib.suppress(OSError), signals_wait(), file as partial:  # it only saves time
        write_json(partial, kept)
    return result


def progress(total, description=None):
    """A tqdm bar; silent when stderr is no terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)
