"""What did the cost function change? Trained runs side by side, in figures and in numbers.

Without arguments, the two runs in outputs/. Else RUNs are written OUTPUT_DIR/DATASET/cvae or
OUTPUT_DIR/DATASET/mmd; runs that differ in nothing but --seed share a column. Writes
comparison.png, .md and .json beside the first run. Two runs of Fashion-MNIST take 2 minutes on two
cores.

    python -m common.compare
    python -m common.compare outputs/fashion_mnist/mmd outputs/seed1/fashion_mnist/mmd
"""

import contextlib
import functools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import eager_cvae
from common import UserError, metrics
from common.data import TITLES, Dataset, load_dataset, to_float
from common.fast import in_batches, side_by_side
from common.flags import Parser, path, whole_number
from common.plotting import Column, latent_grid, latent_plane, show_comparison
from common.report import CVAE_ALONE, METRICS, PRIOR_DRAWS, table, to_json, to_markdown
from common.run import FREE_FLAGS, Interrupted, raise_if_interrupted, replacing, run_script, set_up
from common.trained import Trained, default_runs, read_run

import numpy as np
import sklearn
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from tqdm import tqdm

NAMES = {"cvae": "CVAE", "mmd": "MMD-VAE"}
FREE_IN_COLUMN = FREE_FLAGS - {"epochs"} | {"seed"}  # flags in which a column's runs may differ
VERSION = 2  # of the metrics; what is kept of another one is measured anew
SUFFIXES = (".png", ".md", ".json")
BATCH = 1000  # images or draws decoded at a time: 300 MB


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


def get_args(argv=None):
    """The command line; raises SystemExit (status 2) for what is unknown or malformed."""
    usage = "python -m common.compare [flags] [RUN ...]"
    parser = Parser(
        "compare.py", usage=usage, description=__doc__.splitlines()[0], allow_abbrev=False
    )
    flag = parser.add_argument
    flag("runs", nargs="*", metavar="RUN", help="OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd")
    flag(
        "--output",
        type=path,
        metavar="FILE",
        help="write FILE's name with .png, .md and .json (default: comparison, beside the first)",
    )
    flag("--data-dir", type=path, metavar="DIR", help="folder of TFDS data sets, if moved since")
    for name, default, what in (("samples", 500, "an image"), ("images", 1000, "of the test set")):
        flag(
            f"--iw-{name}",
            type=whole_number(1, 100_000),
            default=default,
            metavar="N",
            help=f"{name} {what} for the importance-weighted bound (default: %(default)s)",
        )
    return parser.parse_args(argv)


def read_reference(name, data_dir):
    """Load a data set, find the principal components and the manifold of its test images."""
    data = load_dataset(name, data_dir)
    images = to_float(data.test_images, "float32").numpy()
    pixels = images.reshape(len(images), -1)
    pca = PCA(min(50, len(pixels)), svd_solver="covariance_eigh").fit(pixels)
    manifold = metrics.manifold(pca.transform(pixels))
    others = to_float(data.train_images[:PRIOR_DRAWS], "float32").numpy()
    real = reconstruction(images, images) | variety(others, images, pca, manifold)
    return Reference(data, images, pca, manifold, real)


# Numbers ----------------------------------------------------------------------


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
    """The same draws of N(0, I) for every run of so many latent dimensions."""
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


def variety(drawn, images, pca, manifold):
    """How draws (m, 28, 28, 1) resemble the test images, whose `manifold` that is, by key."""
    fake = metrics.manifold(features(pca, drawn))
    return {
        "precision": metrics.inside(fake.points, manifold),
        "recall": metrics.inside(manifold.points, fake),
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

    with _progress(args.iw_samples, f"{run.place}: importance-weighted bound") as bar:
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
    """A function from latent vectors (n, latent_dim) to intensities, float32 (n, 28, 28, 1)."""

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
    values["own_precision"] = metrics.inside(features(pca, own), manifold)
    values["grid"] = metrics.inside(features(pca, decode(lift(latent_grid()))), manifold)
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
    with contextlib.suppress(OSError), _replacing(run.metrics_file) as file:  # it only saves time
        file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return result


def make_column(title, run, reference):
    """A run's part of the figure."""
    data, images, *_ = reference
    decode = make_decode(run)
    mean = in_batches(run.encoder, data.test_images)
    mean = (mean[0] if run.model == "cvae" else mean).numpy()
    firsts = np.unique(data.test_labels, return_index=True)[1]  # the first image of each class
    about = f"{TITLES[run.dataset]}, epoch {run.flags['epochs']}, seed {run.flags['seed']}"
    return Column(
        title, about, decode, prior(64, run), mean, data.test_labels, data.class_names,
        images[firsts], decode(mean[firsts]),
    )  # fmt: skip


# Tables and files -------------------------------------------------------------


def setting(run):
    """What the runs of one column have in common, by flag."""
    flags = {name: value for name, value in run.flags.items() if name not in FREE_IN_COLUMN}
    both = {"model": run.model, "dataset": run.dataset, **flags}
    return {name: value for name, value in both.items() if value is not None}


def by_setting(results):
    """The results in a dict from column title to those of one setting.

    A title is the model's name and the flags that are not the same in all settings.
    """
    groups = {}
    for result in results:
        groups.setdefault(json.dumps(setting(result.run), sort_keys=True), []).append(result)
    settings = [setting(group[0].run) for group in groups.values()]
    names = dict.fromkeys(name for setting in settings for name in setting if name != "model")
    differing = [name for name in names if len({str(s.get(name)) for s in settings}) > 1]

    def title(setting):
        words = [
            TITLES[setting[name]] if name == "dataset" else f"{name} {setting[name]}"
            for name in differing
            if name in setting
        ]
        return ", ".join([NAMES[setting["model"]], *words]).replace("_", "-")

    return dict(zip(map(title, settings), groups.values(), strict=True))


def output_files(output):
    """The .png, .md and .json to write; raises OSError or UserError if they cannot be."""
    path = Path(output)
    if path.is_dir():
        path /= "comparison"
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    files = [path.with_name(stem + suffix) for suffix in SUFFIXES]
    if stem.startswith(tuple(f"{model}_" for model in NAMES)):
        raise UserError(f"{stem} is what a run's files are called: choose another --output.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path.parent)) from error
    for file in files:
        if file.is_dir():
            raise UserError(f"{file} is a folder: choose another --output.")
        if file.exists() and not all(other.exists() for other in files[1:]):
            raise UserError(f"{file} is there, not from a comparison: choose another --output.")
    return files


def compare(args):
    """Read, measure, draw and write, as the flags say."""
    paths = [Path(run) for run in args.runs or default_runs()]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise UserError("a comparison wants two or more runs, each given once.")
    runs = [read_run(path) for path in paths]
    results = [kept_result(run, args) for run in runs]
    files = output_files(args.output or str(paths[0].parent / "comparison"))
    set_up(0, "float32")
    read = functools.cache(read_reference)

    def reference(run):
        return read(run.dataset, args.data_dir or run.flags.get("data_dir"))

    total = results.count(None) * 5 + len(runs)
    with _progress(total) as bar, sklearn.config_context(working_memory=256):  # MB

        def step(run, text):
            raise_if_interrupted()
            bar.set_description(f"{run.place}: {text}")
            bar.update()

        datasets = {}
        for run in runs:
            step(run, "data set")
            datasets[run.dataset] = reference(run).real
        columns = by_setting(
            [
                result or measure(run, reference(run), args, step)
                for run, result in zip(runs, results, strict=True)
            ]
        )
    real = {
        "real images" + (f", {TITLES[name]}" if len(datasets) > 1 else ""): values
        for name, values in datasets.items()
    }
    shown = []
    for title, group in columns.items():
        drawn = [result.run for result in group if result.run.decoder][:1]
        shown += [make_column(title, run, reference(run)) for run in drawn]
    raise_if_interrupted()
    png, markdown, numbers = files if shown else (None, *files[1:])
    with contextlib.ExitStack() as stack:
        if png:
            show_comparison(shown).savefig(stack.enter_context(_replacing(png)))
        file = stack.enter_context(_replacing(markdown))
        file.write_text(to_markdown(columns, real, args, png and png.name), encoding="utf-8")
        file = stack.enter_context(_replacing(numbers))
        file.write_text(to_json(columns, real, args), encoding="utf-8")
    print(table(columns, real))
    print(f"What the rows mean is in {markdown}; unrounded, they are in {numbers}.")
    print(f"The figure: {png}." if png else "No figure: none of the runs has models.", flush=True)


def _replacing(file):
    """`replacing`, by a name of this process's own: several may compare at once."""
    return replacing(file, f"{file.stem}.{os.getpid()}")


def _progress(total, description=None):
    """A tqdm bar; silent when stderr is no terminal."""
    return tqdm(total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)


def main(argv=None):
    """Compare; a note on what ends it early says what there is to do."""
    try:
        compare(get_args(argv))
    except Interrupted as stop:
        stop.add_note("Stopped; the comparison is not written.")
        raise
    except OSError as error:
        error.add_note("Mend that, or choose another --output.")
        raise
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        error.add_note("Compare fewer runs at a time.")
        raise


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # where a terminal has no ±
    run_script(main)
