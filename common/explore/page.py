"""The data of the page: what it shows of finished runs."""

import base64
import contextlib
import csv
import io
import math
from pathlib import Path

from common import plotting
from common.canvas import tile
from common.compare.kept import VERSION
from common.compare.records import METRICS, MOST_IMAGES, definitions
from common.latent_plane import in_plane, square_around
from common.program.errors import UserError
from common.program.files import read_json
from common.program.flags import dashed, given
from common.runs import first_of_each, images_of, tell_apart, titles
from common.trained import check_codes, fingerprint_of_losses
from common.training.settings import FREE_FLAGS

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image
from sklearn.decomposition import PCA

MOST_BYTES = 4_200_000  # size of the picture of a test set
WEBP_SIDE = 16_383  # pixels, the limit of WebP
SLIDERS = 8  # principal components after the two of the plane
LAYERS = ("dense", "deconv1", "deconv2", "deconv3")


def content(runs, data_dir=None):
    """Return all that the page shows of runs, as a dict for JSON.

    Args:
        runs: list of common.trained.Trained.
        data_dir: the folder of TFDS, or the folder of pictures, if it was moved.

    Raises:
        OSError, UserError: the images of a run cannot be read, or its training diverged.
    """
    tell_apart(runs)
    data = {key: run.data(data_dir) for key, run in first_of_each(runs).items()}
    packed = {key: dataset(one) for key, one in data.items()}
    panels, ends = [], []
    for run, title in zip(runs, titles(runs, FREE_FLAGS - {"epochs"}), strict=True):
        key = images_of(run)
        panel, visible = of_run(run, data[key], packed[key]["order"])
        panels.append({"title": title, "dataset": list(data).index(key), **panel})
        ends.append(visible)
    (x, y), half = square_around(ends)
    for one in packed.values():
        one["numbers"] = encode(one.pop("order"), "<u4")
    return {
        "home": {"x": float(x), "y": float(y), "half": float(half) or 1.0},
        "datasets": list(packed.values()),
        "runs": panels,
    }


def dataset(data):
    """Return the classes and test images of a data set. `order` sorts the images by class.

    All images are in one picture. If it would be too large, only the first images are used.

    Args:
        data: common.data.sources.Dataset.
    """
    images, labels, names = data.test_images[:MOST_IMAGES], data.test_labels, data.class_names
    sample = images[:500]
    n = len(sample) * MOST_BYTES // len(sprite(sample)[0])
    n = min(len(images), max(1, n), (WEBP_SIDE // max(images.shape[1:3])) ** 2)
    order = np.argsort(labels[:n], kind="stable") if names else np.arange(n)
    picture, columns = sprite(images[order])
    colors = plotting.class_colors(names)
    counts = np.bincount(labels[:n], minlength=len(names)) if names else []
    firsts = np.cumsum(counts) - counts
    classes = [
        {"name": name, "color": to_hex(colors[name]), "first": int(first), "count": int(count)}
        for name, first, count in zip(names, firsts, counts, strict=True)
    ]
    return {
        "title": data.title, "shape": list(images.shape[1:]), "size": n,
        "total": len(data.test_images), "classes": classes, "columns": columns, "order": order,
        "sprite": f"data:image/webp;base64,{base64.b64encode(picture).decode()}",
    }  # fmt: skip


def sprite(images):
    """Return a lossless WebP of images uint8 (n, h, w, channels), and its number of columns."""
    columns = math.isqrt(len(images) - 1) + 1
    canvas, file = tile(images, columns), io.BytesIO()
    picture = Image.fromarray(canvas[..., 0] if canvas.shape[2] == 1 else canvas)
    picture.save(file, "WEBP", lossless=True, quality=50)
    return file.getvalue(), columns


def of_run(run, data, order):
    """Return what a panel shows of a run, and the ends of what it must show at first (2, 2).

    Args:
        run: common.trained.Trained.
        data: the common.data.sources.Dataset of the run.
        order: the numbers of the test images in the order of the page.
    """
    mean = run.encode(data.test_images[:MOST_IMAGES])
    check_codes(run, mean)
    names, centres, dim = data.class_names, run.centres(), mean.shape[1]
    labels = data.test_labels[: len(mean)] if names else None
    points, _, ends, _, axis_labels = in_plane(mean, labels, names, centres)
    origin, axes, spread = np.zeros(dim), np.eye(dim), []
    if dim > 2:
        pca = PCA(min(2 + SLIDERS, *mean.shape), svd_solver="full").fit(mean)
        origin, axes, spread = pca.mean_, pca.components_, np.sqrt(pca.explained_variance_[2:])
    mixture = None if centres is None else run.mixture()._asdict()
    panel = {
        "about": f"{run.title}, epoch {run.epochs}, seed {run.flags['seed']}",
        "latentDim": dim,
        "labels": axis_labels,
        "means": encode(mean[order]),
        "points": None if dim == 2 else encode(points[order]),
        "origin": origin.tolist(),
        "axes": axes.tolist(),
        "spread": [float(max(sd, 1e-6)) for sd in spread],
        "mixture": mixture and {name: encode(value) for name, value in mixture.items()},
        "decoder": {name: layer(getattr(run.decoder, name)) for name in LAYERS},
        "tables": tables(run),
    }
    return panel, ends


def layer(keras_layer):
    """Return the weights of a layer. A kernel (3, 3, f, c) becomes (c, 3, 3, f)."""
    kernel = keras_layer.kernel.numpy()
    if kernel.ndim == 4:
        kernel = kernel.transpose(3, 0, 1, 2)
    return {"kernel": encode(kernel), "bias": encode(keras_layer.bias)}


def tables(run):
    """Return the flags, last losses and metrics of a run: a list of dicts with rows of text.

    The page does not show where the folders of the run are, because the user may share it.
    """
    flags = [
        [f"--{dashed(name)}", Path(value).name if name == "images" else str(value)]
        for name, value in given(run.flags).items()
        if name not in ("output_dir", "data_dir")
    ]
    metrics, meanings = measured(run)
    groups = (
        ("Flags", flags, {}), ("Losses of the last epoch", losses(run), {}),
        ("Metrics", metrics, meanings),
    )  # fmt: skip
    return [{"title": t, "rows": rows, "meanings": about} for t, rows, about in groups if rows]


def losses(run):
    """Return the last row of a run's losses.csv as text, or [] if the file was changed."""
    with contextlib.suppress(OSError, UserError, ValueError, KeyError, TypeError, csv.Error):
        with (run.folder / "losses.csv").open(newline="", encoding="utf-8") as file:
            *_, last = rows = list(csv.DictReader(file))
        if fingerprint_of_losses(rows) == run.settings.get("losses"):
            terms = {k: float(v) for k, v in last.items() if k not in ("epoch", "seconds")}
            return [[name, f"{value:.5g}"] for name, value in terms.items()]
    return []


def measured(run):
    """Return the rows of the metrics that a comparison measured of a run, and their definitions.

    Both are empty if it measured none, other models, or another version of the metrics.
    """
    with contextlib.suppress(OSError, UserError):
        kept = read_json(run.folder / "metrics.json")
        now = {"version": VERSION, "models": run.settings.get("models")}
        if now.items() <= kept["basis"].items():
            measured = [m for m in METRICS.values() if m.name in kept["values"]]
            about = definitions(*kept["basis"]["iw"])
            rows = [[m.name, f"{kept['values'][m.name]:.{m.places}f}"] for m in measured]
            return rows, {m.name: about[m.name] for m in measured}
    return [], {}


def encode(array, dtype="<f4"):
    """Return the bytes of an array in base64, by default as little-endian float32."""
    return base64.b64encode(np.asarray(array).astype(dtype).tobytes()).decode()
