"""The page: what of finished runs goes into it, and the one file of HTML that it is."""

import base64
import contextlib
import csv
import functools
import hashlib
import io
import json
import math
from pathlib import Path
from string import Template

from common import plotting
from common.compare.evaluate import MOST_IMAGES, VERSION
from common.compare.report import METRICS, definitions
from common.program.errors import UserError
from common.program.files import fits, is_number, read_json, regular
from common.program.flags import dashed, given
from common.runs import first_of_each, images_of, tell_apart, titles
from common.trained import check_codes, fingerprint_of_losses
from common.training.settings import FREE_FLAGS

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image
from sklearn.decomposition import PCA

HERE = Path(__file__).parent
MARK = b'<meta name="generator" content="common.explore">'
MOST_BYTES = 4_200_000  # of its images, compressed
WEBP_SIDE = 16_383  # pixels at most
FURTHER = 8  # principal components after the two of the plane
LAYERS = ("dense", "deconv1", "deconv2", "deconv3")


def content(runs, data_dir=None):
    """All that the page shows of runs, trained.Trained each, as JSON has it.

    Raises UserError and OSError if their data cannot be read.
    """
    tell_apart(runs)
    found = {key: run.data(data_dir) for key, run in first_of_each(runs).items()}
    datasets = {key: dataset(data) for key, data in found.items()}
    panels, ends = [], []
    for run, title in zip(runs, titles(runs, FREE_FLAGS - {"epochs"}), strict=True):
        key = images_of(run)
        panel, reach = of_run(run, found[key], datasets[key]["order"])
        panels.append({"title": title, "dataset": list(datasets).index(key), **panel})
        ends.append(reach)
    (x, y), half = plotting.square_around(ends)
    for one in datasets.values():
        one["numbers"] = encode(one.pop("order"), "<u4")
    return {
        "home": {"x": float(x), "y": float(y), "half": float(half) or 1.0},
        "datasets": list(datasets.values()),
        "runs": panels,
    }


def dataset(data):
    """A data set's test images as one picture, class by class, and its classes.

    Of a large one, the first images; `order` is their numbers in the test set.
    """
    images, labels, names = data.test_images[:MOST_IMAGES], data.test_labels, data.class_names
    few, _ = sprite(images[:500])
    n = min(len(images), max(1, MOST_BYTES * min(len(images), 500) // len(few)))
    n = min(n, (WEBP_SIDE // max(images.shape[1:3])) ** 2)
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
    """Images uint8 (n, h, w, channels) in one, row by row: the bytes of a WebP, and its columns."""
    columns = math.isqrt(len(images) - 1) + 1
    canvas, file = plotting.tile(images, columns), io.BytesIO()
    Image.fromarray(canvas[..., 0] if canvas.shape[2] == 1 else canvas).save(
        file, "WEBP", lossless=True, quality=50
    )
    return file.getvalue(), columns


def of_run(run, data, order):
    """What a panel shows of a run, and what should be in sight of it, the ends of `in_plane`."""
    mean = run.encode(data.test_images[:MOST_IMAGES])
    check_codes(run, mean)
    names, centres, dim = data.class_names, run.centres(), mean.shape[1]
    of_points = data.test_labels[: len(mean)] if names else None
    points, _, ends, _, labels = plotting.in_plane(mean, of_points, names, centres)
    if dim <= 2:
        origin, axes, spread = np.zeros(dim), np.eye(dim), []
    else:
        pca = PCA(min(2 + FURTHER, *mean.shape), svd_solver="full").fit(mean)
        origin, axes, spread = pca.mean_, pca.components_, np.sqrt(pca.explained_variance_[2:])
    panel = {
        "about": f"{run.title}, epoch {run.epochs}, seed {run.flags['seed']}",
        "latentDim": dim,
        "labels": labels,
        "means": encode(mean[order]),
        "points": None if dim == 2 else encode(points[order]),
        "origin": origin.tolist(),
        "axes": axes.tolist(),
        "spread": [float(max(sd, 1e-6)) for sd in spread],
        "mixture": None
        if centres is None
        else {k: encode(v) for k, v in run.mixture()._asdict().items()},
        "decoder": {name: layer(getattr(run.decoder, name)) for name in LAYERS},
        "tables": tables(run),
    }
    return panel, ends


def layer(kept):
    """A Keras layer's weights; a kernel (3, 3, filters, channels) as (channels, 3, 3, filters)."""
    kernel = kept.kernel.numpy()
    if kernel.ndim == 4:
        kernel = kernel.transpose(3, 0, 1, 2)
    return {"kernel": encode(kernel), "bias": encode(kept.bias)}


def tables(run):
    """A run's flags, last losses and metrics, as far as there are any: rows of text.

    Where its folders are is nobody's business to whom the page is sent.
    """
    flags = [
        [f"--{dashed(name)}", Path(value).name if name == "images" else str(value)]
        for name, value in given(run.flags).items()
        if name not in ("output_dir", "data_dir")
    ]
    metrics, meanings = measured(run)
    found = {"Flags": flags, "Losses of the last epoch": losses(run), "Metrics": metrics}
    about = {"Metrics": meanings}
    return [
        {"title": title, "rows": rows, "meanings": about.get(title, {})}
        for title, rows in found.items()
        if rows
    ]


def losses(run):
    """The last row of a run's losses.csv; none where that is not as it was written."""
    with contextlib.suppress(OSError, UserError, ValueError, KeyError, TypeError, csv.Error):
        with regular(run.folder / "losses.csv").open(newline="", encoding="utf-8") as file:
            *_, last = rows = list(csv.DictReader(file))
        if fingerprint_of_losses(rows) == run.settings.get("losses"):
            terms = {k: float(v) for k, v in last.items() if k not in ("epoch", "seconds")}
            return [[name, f"{value:.5g}"] for name, value in terms.items()]
    return []


def measured(run):
    """What the comparison measured of these very models, and what it is, by name; if it has."""
    with contextlib.suppress(OSError, UserError):
        form = {"basis": {"iw": lambda it: fits(it, [int]) and len(it) == 2}, "values": dict}
        kept = read_json(run.folder / "metrics.json", form)
        now = {"version": VERSION, "models": run.settings.get("models")}
        if now.items() <= kept["basis"].items():
            values = {name: kept["values"].get(name) for name in METRICS}
            rows = [[k, f"{v:.{METRICS[k]}f}"] for k, v in values.items() if is_number(v)]
            about = definitions(*kept["basis"]["iw"])
            return rows, {name: about[name] for name, _ in rows}
    return [], {}


def encode(array, dtype="<f4"):
    """An array's bytes in base64, by default those of little-endian float32."""
    return base64.b64encode(np.asarray(array).astype(dtype).tobytes()).decode()


def to_html(content):
    """The file, UTF-8: template, style, scripts and content in one, which loads nothing else.

    Its policy forbids browsers to load anything, and to run any script but these, by their hashes.
    """
    read = functools.partial(Path.read_text, encoding="utf-8")
    style, script = (read(HERE / name) for name in ("style.css", "explore.js"))
    of_style, of_script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{of_style}'; script-src 'sha256-{of_script}'; "
        "worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(content, allow_nan=False)
    data = data.replace("<", "\\u003c")  # so that no text ends its element
    parts = {"policy": policy, "style": style, "script": script, "data": data}
    page = Template(read(HERE / "page.html"))
    return page.substitute(parts, decoder=read(HERE / "decoder.js")).encode()
