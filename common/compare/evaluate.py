"""A trained run in numbers: the metrics of metrics.py, of what, and what is kept of them."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import eager_cvae
from common.compare import metrics
from common.compare.judge import Judge, read_judge
from common.compare.report import CVAE_ALONE, METRICS, OF_CLASSES, PRIOR_DRAWS, SURE
from common.data.batches import to_float
from common.data.images import progress
from common.data.sources import Dataset
from common.devices.determinism import set_up
from common.devices.parts import in_batches, in_parts
from common.latent_plane import latent_grid, latent_plane
from common.load import SCRIPTS, untrained
from common.objectives.priors import StandardNormal, make_prior
from common.program.errors import UserError
from common.program.files import is_number, read_json, replacing_unlocked, write_json
from common.program.signals import signals_wait
from common.trained import Trained, active_dimensions, check_codes

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

VERSION = 6  # of the metrics; what is kept of another one is measured anew
MOST_IMAGES = 10_000  # of a test set, for some metrics take their square
MOST_PIXELS = 1_024  # of images whose principal components are found exactly


class Result(NamedTuple):
    """A run, measured: metrics by name, and its latent vectors' moments."""

    run: Trained
    values: dict[str, float]
    latent_mean: list[float]
    latent_covariance: list[list[float]]


class Reference(NamedTuple):
    """A data set and what all its runs are held against."""

    data: Dataset
    images: np.ndarray  # test images, uint8 (n, height, width, channels)
    look: Callable  # from batches of images to (points (n, dim), judge's p of each, edges (n,))
    around: metrics.Manifold  # of the test images' points
    narrow: metrics.Manifold  # the same, pruned
    edges: float  # mean length of the test images' gradients
    judge: Judge | None  # None without labels


def read_reference(data, folder):
    """See a data set's test images as points of the space in which images are compared.

    That of the features of the judge that `folder` has or gets; without labels, that of the first
    principal components of their pixels.
    """
    images = data.test_images[:MOST_IMAGES]
    judge = read_judge(data, Path(folder)) if data.class_names else None
    look_at = judge.look if judge else principal_components(images)

    def look(batches):
        found = [(*look_at(batch), metrics.gradient_length(batch)) for batch in batches]
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    points, _, edges = look(map(to_float32, in_turn(images)))
    around = metrics.manifold(points)
    narrow, edges = metrics.pruned(around), float(edges.mean(dtype=float))
    return Reference(data, images, look, around, narrow, edges, judge)


def principal_components(images):
    """A function from images to their places among the 50 of these, and of each an empty p."""
    pixels = images.reshape(len(images), -1)
    if pixels.shape[1] <= MOST_PIXELS:
        pca = PCA(min(50, *pixels.shape), svd_solver="covariance_eigh")
    else:  # in bounded memory
        pixels = pixels[:2000]
        pca = PCA(min(50, *pixels.shape), svd_solver="randomized", random_state=0)
    pca.fit(pixels / np.float32(255))
    return lambda found: (pca.transform(found.reshape(len(found), -1)), np.zeros((len(found), 0)))


def in_turn(rows, size=1000):
    """Slices of an array, so long each."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def to_float32(images):
    """Intensities in [0, 1] of uint8 images."""
    return to_float(images, "float32").numpy()


def reconstruction(images, decode, mean):
    """How well test images, uint8 (n, height, width, channels), come back by `decode(mean)`."""

    def by_image(images, mean):
        x, preds = to_float(images, "float32"), tf.cast(decode(mean), "float32")
        errors = metrics.mean_squared_error(x, preds), metrics.binary_crossentropy(x, preds)
        return *errors, *metrics.edges(x, preds)

    error, entropy, kept, there = (
        found.mean(dtype=float) for found in in_batches(by_image, images, mean)
    )
    return {
        "mean squared error": float(error),
        "cross entropy": float(entropy),
        "edges kept": float(kept / there) if there else 1.0,
    }


def likeness(drawn, own, cells, reference):
    """How images decoded from draws of the prior are like the test images, by name.

    And how precise are those from draws of the codes' `own` Gaussian, and in the `cells` of the
    latent grid; all are batches of images (k, height, width, channels).
    """
    points, p, edges = reference.look(drawn)
    values = {
        "edges of draws": float(edges.mean(dtype=float) / (reference.edges or 1)),
        "precision": metrics.precision(points, reference.narrow),
        "coverage": metrics.coverage(points, reference.around),
    }
    if reference.judge:
        values["Fréchet distance"] = metrics.frechet_distance(points, reference.around.points)
        values["classes"], values["sure"] = metrics.sure_classes(p, SURE)
    for name, batches in {"own Gaussian": own, "grid": cells}.items():
        seen, *_ = reference.look(batches)
        values[f"precision, {name}"] = metrics.precision(seen, reference.narrow)
    return values


def baselines(run, reference, step):
    """What the rows say of real images, of noise, and of the network of `run` before training.

    A dict from a column's title to its values by name.
    """
    data, images = reference.data, reference.images
    rng = np.random.default_rng(0)

    def real(n):
        return map(to_float32, in_turn(data.train_images[:n]))

    def noise(n):
        return (rng.random((len(k), *data.image_shape), "float32") for k in in_turn(range(n)))

    step(run, "real images")
    columns = {"real images": reconstruction(images, to_float32, images)}
    columns["real images"] |= likeness(real(PRIOR_DRAWS), real(PRIOR_DRAWS), real(256), reference)
    step(run, "white noise")
    drawn = noise(PRIOR_DRAWS), noise(PRIOR_DRAWS), noise(256)
    columns["white noise"] = likeness(*drawn, reference)
    before = before_training(run, data)
    return columns | {"untrained": evaluate(before, reference, None, step).values}


def before_training(run, data):
    """The network of `run`, a common.trained.Trained, as it was before training."""
    script, flags = SCRIPTS[run.model], run.flags
    with set_up(flags["seed"], flags["dtype"]):
        models = untrained(script, flags, data.image_shape)
        if number := flags.get("vamp_prior"):
            models["prior"] = make_prior(number, data.train_images, flags["seed"])
    return Trained(run.folder, run.settings, models, script.encode, script.decode)


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

    some, mixture = slice(args.iw_images), run.mixture()

    def draw():
        bar.update()
        z = eager_cvae.reparameterize(mean[some], logvar[some], rng)
        logpx = logpx_z(images[some], z)
        return metrics.log_weight(z, mean[some], logvar[some], logpx, mixture)

    with progress(args.iw_samples, f"{run.folder}: importance-weighted bound") as bar:
        bound, effective_samples = metrics.importance_weighted_bound(draw, args.iw_samples)
    if isinstance(mixture, StandardNormal):
        kl = metrics.normal_kl(mean, logvar).numpy()
    else:  # which has no closed form
        kl = -metrics.log_weight(z, mean, logvar, 0.0, mixture).numpy()
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

    step(run, "encoding")
    values = {}
    if run.model == "cvae":
        mean, logvar = in_batches(lambda x: run.encoder(to_float(x, dtype)), images)
        z = eager_cvae.reparameterize(tf.constant(mean), logvar, rng)
        if args:
            values |= bounds(run, images, mean, logvar, z, rng, args)
        z = z.numpy()
    else:
        mean = z = run.encode(images)

    check_codes(run, z)
    step(run, "latent space")
    centre, covariance = z.mean(axis=0, dtype=float), np.atleast_2d(np.cov(z, rowvar=False))
    sds = np.sqrt(np.linalg.eigvalsh(covariance).clip(0))  # from the least
    mmd, error = metrics.unbiased_mmd(z, run.draw(len(z)))
    values |= {
        "latent mean to 0": float(np.linalg.norm(centre)),
        "largest latent sd": float(sds[-1]),
        "smallest latent sd": float(sds[0]),
        "KL(latent Gaussian, prior)": metrics.gaussian_kl(centre, covariance),
        "active dimensions": float(active_dimensions(mean)),
        "MMD^2 to prior": mmd,
        "its standard error": error,
    }

    step(run, "classes")
    if data.class_names:
        labels, train = data.test_labels[: len(images)], run.encode(data.train_images)
        accuracy = metrics.neighbour_accuracy(train, data.train_labels, mean, labels)
        values["15 neighbours' accuracy"] = accuracy
        several = 1 < len(np.unique(labels)) < len(labels)
        values["silhouette"] = float(silhouette_score(mean, labels)) if several else 0.0

    step(run, "decoding")
    values |= reconstruction(images, run.decode, mean)

    step(run, "draws")
    random_vector = run.draw(PRIOR_DRAWS)
    normal = StandardNormal().sample(PRIOR_DRAWS, run.flags["latent_dim"], 0, dtype).numpy()
    own = metrics.to_gaussian(normal, centre, covariance)
    _, lift, _ = latent_plane(mean)
    places = random_vector, own, lift(latent_grid())
    values |= likeness(*(map(run.decode, in_turn(z)) for z in places), reference)
    return Result(run, values, centre.tolist(), covariance.tolist())


# What is kept beside a run ----------------------------------------------------


def _basis(run, args, judge):
    """What a result is of."""
    iw, epochs = [args.iw_samples, args.iw_images], run.epochs
    models = run.settings.get("models")
    return {"models": models, "judge": judge, "epochs": epochs, "iw": iw, "version": VERSION}


def kept_result(run, args, judge=None):
    """What an earlier comparison with these flags left beside a run, as Result; None if nothing.

    `judge` is the fingerprint of the one to have it by, None without labels. Of a run without
    models some of the metrics will do, and without a `judge` those by any; raises UserError if
    what is kept of it is not what is asked for.
    """
    file, basis = run.folder / "metrics.json", _basis(run, args, judge)
    dim = run.flags["latent_dim"]
    names = set(METRICS) - (set() if run.model == "cvae" else CVAE_ALONE)
    names -= set() if judge or run.encoder is None else OF_CLASSES
    moments = {"latent_mean": [is_number], "latent_covariance": [[is_number]]}
    found = None
    with contextlib.suppress(OSError, UserError):
        kept = read_json(file, {"basis": dict, "values": dict, **moments})
        values, mean, covariance = kept["values"], kept["latent_mean"], kept["latent_covariance"]
        if run.encoder is None:
            basis["judge"] = kept["basis"].get("judge")
            names &= values.keys()
        whole = values.keys() == names and {dim} == {*map(len, (mean, covariance, *covariance))}
        if whole and all(map(is_number, values.values())) and kept["basis"] == basis:
            numbers = {name: float(v) for name, v in values.items()}
            found = Result(run, numbers, mean, covariance)
    if run.encoder is None and found is None:
        raise UserError(
            f"{file}, all that is left of a run's models, is damaged, of another version, or of "
            "other --iw-samples and --iw-images.\nGive those, or train it anew."
        )
    if found and judge and basis["judge"] != judge:
        raise UserError(
            f"{file} is by another judge than the judge.keras beside the first run's folder.\n"
            "Copy there the one that it is by; those of outputs/reference are in its seed0/."
        )
    return found


def measure(run, reference, args, step):
    """`evaluate`, and keep the result beside the run."""
    result = evaluate(run, reference, args, step)
    judge = reference.judge and reference.judge.fingerprint
    basis = _basis(run, args, judge)
    kept = {"basis": basis, **result._asdict()}
    del kept["run"]
    file = replacing_unlocked(run.folder / "metrics.json")
    with contextlib.suppress(OSError), signals_wait(), file as partial:  # it only saves time
        write_json(partial, kept)
    return result
