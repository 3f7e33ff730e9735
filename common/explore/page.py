"""Write the latent spaces of finished runs to one HTML file, which works without a network."""

import base64
import contextlib
import csv
import hashlib
import io
import json
import math
from pathlib import Path
from string import Template

from common import plotting
from common.canvas import tile
from common.compare.kept import VERSION
from common.compare.records import METRICS, MOST_IMAGES, definitions
from common.latent_plane import in_plane, square_around
from common.program.errors import UserError
from common.program.files import read_json
from common.program.flags import as_text, dashed, given
from common.runs import first_of_each, images_of, tell_apart, titles
from common.trained import check_codes, fingerprint_of_losses
from common.training.settings import FREE_FLAGS

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image
from sklearn.decomposition import PCA

MARK = b'<meta name="generator" content="common.explore">'  # Every page contains this tag
# The page contains these scripts in this order. decoder.js is separate, because web workers run it
SCRIPTS = "elements state latent canvas plot names view buttons hover input morphing save draws"
SCRIPTS += " panels legend table print finder address main"
MOST_BYTES = 4_200_000  # The picture of all test images has at most about this many bytes
WEBP_SIDE = 16_383  # The WebP format allows at most this many pixels per side
SLIDERS = 8  # The page has at most this many sliders, one per principal component after the second
# The losses of two runs can be compared if their model, data set and these flags are equal
OBJECTIVE = "alpha", "batch_size", "beta", "cross_entropy", "kernel", "lambda", "vamp_prior"
LOSSES = {
    "logpx_z_total": "log p(x|z), minus the sigmoid cross entropy. Nats per batch, or nats per "
    "image with --beta or --alpha.",
    "logpz_total": "Log density of the latent vector under the prior. Nats per image.",
    "logqz_x_total": "Log density of the latent vector under the Gaussian of the encoder. Nats per "
    "image. logqz_x minus logpz estimates the KL divergence.",
    "loss_nll_total": "Mean squared error per pixel, for intensities in [0, 1]. With "
    "--cross-entropy: mean cross entropy in nats per pixel.",
    "loss_mmd_total": "Squared maximum mean discrepancy between the latent codes of a batch and as "
    "many draws from the prior, without its weight.",
    "total": "The loss that the training minimises.",
}


def to_html(content):
    """Insert the content into the page, and return the page as bytes."""
    parts = {"style": read("style.css") + read("controls.css")}
    parts["decoder"] = read("scripts/decoder.js")
    parts["script"] = "\n".join(read(f"scripts/{name}.js") for name in SCRIPTS.split())
    # The page's content security policy allows only the style and the script with these hashes
    for name in ("style", "script"):
        digest = hashlib.sha256(parts[name].encode()).digest()
        parts[f"{name}_hash"] = f"sha256-{base64.b64encode(digest).decode()}"
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")  # It may contain </script>
    return Template(read("page.html")).substitute(parts, data=data).encode()


def read(name):
    """Return the text of a file in this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def content(runs, data_dir=None):
    """Return all data of finished runs that the page shows, as a dict for JSON.

    `runs` are common.trained.Trained objects, and `data_dir` is passed to their method `data`.
    """
    tell_apart(runs)
    data = {key: run.data(data_dir) for key, run in first_of_each(runs).items()}
    datasets = {key: dataset(one) for key, one in data.items()}
    panels, ends = [], []
    for run, title in zip(runs, titles(runs, FREE_FLAGS - {"epochs"}), strict=True):
        key = images_of(run)
        panel, visible = of_run(run, data[key], datasets[key][1])
        panels.append({"title": title, "dataset": list(data).index(key), **panel})
        ends.append(visible)
    (x, y), half = square_around(ends)
    home = {"x": float(x), "y": float(y), "half": float(half) or 1.0}
    return {"home": home, "datasets": [one for one, _ in datasets.values()], "runs": panels}


def dataset(data):
    """Return a dict with the part of a Dataset for the page, and the indices of its test images.

    The page stores test images in one picture, sorted by class. The maximum size of this picture
    limits the number of images. Classes without images are left out.
    """
    images, labels, names = data.test_images[:MOST_IMAGES], data.test_labels, data.class_names
    sample = images[:500]
    n = len(sample) * MOST_BYTES // len(sprite(sample)[0])
    n = min(len(images), max(1, n), (WEBP_SIDE // max(images.shape[1:3])) ** 2)
    numbers = np.argsort(labels[:n], kind="stable") if names else np.arange(n)
    picture, columns = sprite(images[numbers])
    counts = np.bincount(labels[:n], minlength=len(names)) if names else []
    colors, firsts = plotting.class_colors(names), np.cumsum(counts) - counts
    classes = [
        {"name": name, "color": to_hex(colors[name]), "first": int(first), "count": int(count)}
        for name, first, count in zip(names, firsts, counts, strict=True)
        if count
    ]
    return {
        "title": data.title, "shape": list(images.shape[1:]), "size": n, "columns": columns,
        "total": len(data.test_images), "classes": classes, "numbers": encode(numbers, "<u4"),
        "sprite": f"data:image/webp;base64,{base64.b64encode(picture).decode()}",
    }, numbers  # fmt: skip


def sprite(images):
    """Join uint8 images (n, height, width, channels) into one WebP picture.

    Return the content of the WebP file, and the number of images per row.
    """
    columns = math.isqrt(len(images) - 1) + 1
    canvas, file = tile(images, columns), io.BytesIO()
    picture = Image.fromarray(canvas[..., 0] if canvas.shape[2] == 1 else canvas)
    picture.save(file, "WEBP", lossless=True, quality=50)
    return file.getvalue(), columns


def of_run(run, data, numbers):
    """Return a dict of the data in a run's panel, and the range (2, 2) of the panel's coordinates.

    `numbers` are the positions of the shown images in the test set.
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
    layers = [one for one in run.decoder.layers if one.weights]  # dense, deconv1, deconv2, ...
    return {
        "about": f"{run.title}, epoch {run.epochs}, seed {run.flags['seed']}",
        "latentDim": dim,
        "labels": axis_labels,
        "means": encode(mean[numbers]),
        "points": None if dim == 2 else encode(points[numbers]),
        "origin": origin.tolist(),
        "axes": axes.tolist(),
        "spread": [float(max(sd, 1e-6)) for sd in spread],
        "mixture": mixture and {name: encode(value) for name, value in mixture.items()},
        "decoder": [layer(one) for one in layers],
        "objective": objective(run),
        "tables": tables(run),
    }, ends


def layer(keras_layer):
    """Return a layer's weights. Transpose kernels (3, 3, f, c) to (c, 3, 3, f) for decoder.js."""
    kernel = keras_layer.kernel.numpy()
    kernel = kernel.transpose(3, 0, 1, 2) if kernel.ndim == 4 else kernel
    return {"kernel": encode(kernel), "bias": encode(keras_layer.bias)}


def objective(run):
    """Return a text that is equal for two runs if their losses can be compared."""
    flags = {name: run.flags.get(name) for name in OBJECTIVE}
    return json.dumps([run.model, images_of(run), flags], default=str)


def tables(run):
    """Return tables of the flags, the last losses and the metrics of a run.

    Each table is a dict with rows of text, and with an arrow and a meaning per name. The arrow
    shows the better direction.
    """
    # The user may share the page, so it does not contain the paths of folders
    flags = [
        [f"--{dashed(name)}", Path(value).name if name == "images" else as_text(value)]
        for name, value in given(run.flags).items()
        if name not in ("output_dir", "data_dir")
    ]
    found = ("Flags", flags, {}), ("Losses of the last epoch", losses(run), LOSSES)
    found += (("Metrics", *measured(run)),)
    return [
        {
            "title": title,
            "rows": rows,
            "about": {
                name: {"arrow": arrow(name), "meaning": text} for name, text in meanings.items()
            },
        }
        for title, rows, meanings in found
        if rows
    ]


def arrow(name):
    """Return "↑" if higher values of a metric are better, and "↓" if lower values are better.

    For a metric with a target, return "→" and the target. For other names, return "".
    """
    better = METRICS[name].better if name in METRICS else None
    return {"higher": "↑", "lower": "↓", None: ""}.get(better, f"→ {better}")


def losses(run):
    """Return the names and values in the last row of losses.csv, or [] if the file was changed."""
    with contextlib.suppress(OSError, ValueError, TypeError, csv.Error):
        with (run.folder / "losses.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))[: run.epochs]  # A resumed run can have more rows
        if rows and fingerprint_of_losses(rows) == run.settings.get("losses"):
            names = [name for name in rows[-1] if name not in ("epoch", "seconds")]
            return [[name, f"{float(rows[-1][name]):.5g}"] for name in names]
    return []


def measured(run):
    """Return the metrics that a comparison stored for a run: table rows and definitions."""
    with contextlib.suppress(OSError, UserError):  # The run may not have been measured yet
        kept = read_json(run.folder / "metrics.json")
        basis, values = kept["basis"], kept["values"]
        if (basis.get("version"), basis["models"]) == (VERSION, run.settings.get("models")):
            metrics = [metric for metric in METRICS.values() if metric.name in values]
            about = definitions(*basis["iw"])
            rows = [[m.name, f"{values[m.name]:.{m.places}f}"] for m in metrics]
            return rows, {m.name: about[m.name] for m in metrics}
    return [], {}


def encode(array, dtype="<f4"):
    """Return the bytes of an array in base64, by default as little-endian float32."""
    return base64.b64encode(np.asarray(array).astype(dtype).tobytes()).decode()
