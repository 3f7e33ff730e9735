"""A trained run in numbers: the metrics of metrics.py, of what, and what is kept of them."""

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import eager_cvae
from common import priors
from common.cli import signals_wait
from common.compare import metrics
from common.compare.judge import Judge, read_judge
from common.compare.report import CVAE_ALONE, METRICS, PRIOR_DRAWS, SURE
from common.data.batches import to_float
from common.data.sources import Dataset, load_dataset
from common.devices import in_batches, in_parts, set_up
from common.files import UserError, is_number, read_json, replacing_unlocked, write_json
from common.plotting import latent_grid, latent_plane
from common.trained import SCRIPTS, Trained

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from tqdm.auto import tqdm

VERSION = 5  # of the metrics; what is kept of another one is measured anew


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
    look: Callable  # from such images to points (n, dim) by space, and the judge's p (n, classes)
    manifolds: dict  # of the test images by space: a metrics.Manifold, and the same pruned
    judge: Judge


def read_reference(name, data_dir, folder):
    """Load a data set, and see its test images in the two spaces in which images are compared.

    "pixels" is that of their first principal components, "judge" that of the features of the judge
    that `folder` has or gets. Raises UserError where the data set cannot be had
    (common.data.sources.load_dataset).
    """
    data = load_dataset(name, data_dir)
    images = to_float(data.test_images, "float32").numpy()
    pixels = images.reshape(len(images), -1)
    pca = PCA(min(50, *pixels.shape), svd_solver="covariance_eigh").fit(pixels)
    judge = read_judge(data, Path(folder), progress)

    def look(images):
        features, p = judge.look(images)
        return {"pixels": pca.transform(images.reshape(len(images), -1)), "judge": features}, p

    around = {space: metrics.manifold(points) for space, points in look(images)[0].items()}
    manifolds = {space: (balls, metrics.pruned(balls)) for space, balls in around.items()}
    return Reference(data, images, look, manifolds, judge)


def reconstruction(images, preds):
    """How well test images (n, height, width, channels) come back, by name."""
    return {
        "mean squared error": metrics.mean_squared_error(images, preds),
        "cross entropy": metrics.binary_crossentropy(images, preds),
        "edges kept": metrics.edges_kept(images, preds),
    }


def likeness(drawn, own, cells, reference):
    """How images decoded from draws of the prior are like the test images, by name.

    And how precise are those from draws of the codes' `own` Gaussian, and in the `cells` of the
    latent grid; all (n, height, width, channels).
    """
    points, p = reference.look(drawn)
    (sure,) = np.nonzero(p.max(axis=1) >= SURE)
    around, narrow = reference.manifolds["judge"]
    values = {
        "Fréchet distance": metrics.frechet_distance(points["judge"], around.points),
        "classes": metrics.effective_number(p[sure].argmax(axis=1)),
        "sure": len(sure) / len(p),
        "precision": metrics.precision(points["judge"], narrow),
    }
    for name, images in {"own Gaussian": own, "grid": cells}.items():
        seen, _ = reference.look(images)
        values[f"precision, {name}"] = metrics.precision(seen["judge"], narrow)
    for space, (around, _) in reference.manifolds.items():
        values[f"coverage, {space}"] = metrics.coverage(points[space], around)
    return values


def baselines(run, reference, step):
    """What the rows say of real images, of noise, and of the network of `run` before training.

    A dict from a column's title to its values by name.
    """
    data, images = reference.data, reference.images
    real = to_float(data.train_images[:PRIOR_DRAWS], "float32").numpy()
    noise = np.random.default_rng(0).random((PRIOR_DRAWS, *data.image_shape), dtype="float32")
    step(run, "real images")
    columns = {"real images": reconstruction(images, images)}
    columns["real images"] |= likeness(real, real, real[:256], reference)
    step(run, "white noise")
    columns["white noise"] = likeness(noise, noise, noise[:256], reference)
    before = untrained(run, data.image_shape)
    return columns | {"untrained": evaluate(before, reference, None, step).values}


def untrained(run, image_shape):
    """The network of `run`, a common.trained.Trained, as it was before training."""
    script, flags = importlib.import_module(SCRIPTS[run.model]), run.flags
    with set_up(flags["seed"], flags["dtype"]):
        encoder = script.Encoder(flags["latent_dim"])
        decoder = script.Decoder(flags["latent_dim"], image_shape)
        encoder(tf.zeros((1, *image_shape), flags["dtype"]))
        decoder(tf.zeros((1, flags["latent_dim"]), flags["dtype"]))
    return Trained(run.folder, run.settings, encoder, decoder, script.encode, script.decode)


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
    """Measure one run, a Result; `step(run, word)` is told what begins.

    Without the bounds, which take most of the time, where `args`, the flags, is None.
    """
    data, images = reference.data, reference.images
    rng, dtype = tf.random.Generator.from_seed(0), run.flags["dtype"]

    def prior(n):  # the same for every run of so many latent dimensions
        return priors.sample(n, run.flags["latent_dim"], 0, dtype).numpy()

    step(run, "encoding")
    train = run.encode(data.train_images)
    values = {}
    if run.model == "cvae":
        mean, logvar = in_batches(lambda x: run.encoder(to_float(x, dtype)), data.test_images)
        z = eager_cvae.reparameterize(tf.constant(mean), logvar, rng)
        if args:
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

    step(run, "draws")
    values |= likeness(run.decode(random_vector), own, cells, reference)
    return Result(run, values, centre.tolist(), covariance.tolist())


# What is kept beside a run ----------------------------------------------------


def _basis(run, args, judge):
    """What a result is of."""
    iw, epochs = [args.iw_samples, args.iw_images], run.flags["epochs"]
    models = run.fingerprint if run.encoder else None
    return {"models": models, "judge": judge, "epochs": epochs, "iw": iw, "version": VERSION}


def kept_result(run, args, judge=None):
    """What an earlier comparison with these flags left beside a run, as Result; None if nothing.

    `judge` is the fingerprint of the one to have it by. Of a run without models any judge will do,
    and some of the metrics; raises UserError if what is kept of it is not what is asked for.
    """
    file, basis, dim = (
        run.folder / "metrics.json",
        _basis(run, args, judge),
        run.flags["latent_dim"],
    )
    names = set(METRICS) - (set() if run.model == "cvae" else CVAE_ALONE)
    moments = {"latent_mean": [is_number], "latent_covariance": [[is_number]]}
    with contextlib.suppress(OSError, UserError):
        kept = read_json(file, {"basis": dict, "values": dict, **moments})
        values, mean, covariance = kept["values"], kept["latent_mean"], kept["latent_covariance"]
        if run.encoder is None:
            basis |= {key: kept["basis"].get(key) for key in ("models", "judge")}
            names &= values.keys()
        whole = values.keys() == names and {dim} == {*map(len, (mean, covariance, *covariance))}
        if whole and all(map(is_number, values.values())) and kept["basis"] == basis:
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
    basis = _basis(run, args, reference.judge.fingerprint)
    kept = {"basis": basis, **result._asdict()}
    del kept["run"]
    file = replacing_unlocked(run.folder / "metrics.json")
    with contextlib.suppress(OSError), signals_wait(), file as partial:  # it only saves time
        write_json(partial, kept)
    return result


def progress(total, description=None):
    """A tqdm bar; silent when stderr is no terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)
