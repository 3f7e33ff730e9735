"""A comparison's numbers: what each is, and the table, comparison.md and comparison.json of them.

`columns` is everywhere a dict from a column's title to its runs' evaluate.Result, `real` one from
the title of a column of real images to their values by the metrics' names.
"""

import json
from typing import NamedTuple

import numpy as np

PRIOR_DRAWS = 10_000
REAL = (
    "what the test images would have if reconstructed perfectly, and the first training images, as "
    "many as there are decoded draws (or all, if fewer), in place of these"
)


class Metric(NamedTuple):
    """A row of the table; `places` after the decimal point, a definition with unit and source."""

    name: str
    places: int
    definition: str


METRICS = [
    Metric(*row)
    for row in (
        ("mean squared error", 4,
         "of the test images decoded from their mean (the MMD-VAE's code), a pixel; intensities in "
         "[0, 1] (mmd_cvae.py's reconstruction loss)."),
        ("cross entropy", 1,
         "binary cross entropy of the same images, nats an image, with decoded intensities kept "
         "1e-7 clear of 0 and 1 (eager_cvae.py's reconstruction loss). Perfect reconstructions "
         "leave the entropy of the grey pixels."),
        ("ELBO", 1,
         "evidence lower bound, nats an image, whatever the KL part weighed in training: "
         "log p(x|z), at one z ~ q(z|x), minus the next row; CVAE alone (Kingma & Welling 2013, "
         "equation 7). On grey pixels p(x|z) lacks its normalizing constant (Loaiza-Ganem & "
         "Cunningham 2019)."),
        ("KL part of the ELBO", 2,
         "KL divergence of the encoder's Gaussian from N(0, I), nats an image, closed form "
         "(Kingma & Welling 2013, appendix B)."),
        ("ELBO, fewer images", 1,
         "the ELBO of the first {images} test images (or all, if fewer), to hold the next row "
         "against."),
        ("importance-weighted bound", 1,
         "of log p(x), nats an image, {samples} samples each of the same images: tighter than the "
         "ELBO (Burda, Grosse & Salakhutdinov 2015)."),
        ("its effective samples", 0,
         "(sum w)^2 / sum w^2 of the {samples} importance weights w of an image (Kong 1992), "
         "median over images: the fewer, the further the bound may be from log p(x), as where "
         "training taught the encoder too narrow a Gaussian."),
        ("latent mean to 0", 2,
         "length of the mean of the aggregate posterior (Makhzani et al. 2015): of one z ~ q(z|x) "
         "an image, of the codes for the MMD-VAE; in units of the prior's standard deviation, as "
         "the next two. Mean and covariance are in the .json, and above where they are few."),
        ("largest latent sd", 2,
         "standard deviation of the same z along their first principal axis; the prior has 1."),
        ("smallest latent sd", 2, "along their last principal axis."),
        ("KL(latent Gaussian, prior)", 3,
         "KL divergence of the Gaussian of that mean and covariance from N(0, I), nats, closed "
         "form (Kullback 1959)."),
        ("MMD^2 to prior", 5,
         "squared maximum mean discrepancy of the same z from as many draws of N(0, I), with "
         "mmd_cvae.py's kernel, unbiased (Gretton et al. 2012, Lemma 6): no unit, about 0 where "
         "the distributions are equal, near its end where they hardly overlap."),
        ("its standard error", 5,
         "of that estimate, from the U-statistic's variance (Hoeffding 1948)."),
        ("15 neighbours' accuracy", 3,
         "share of test images classified rightly by a vote of the 15 training images with the "
         "nearest means (scikit-learn's KNeighborsClassifier)."),
        ("silhouette", 3,
         "of the classes among the test images' means, -1 to 1, more where classes lie apart, "
         "whatever the scale (Rousseeuw 1987; scikit-learn)."),
        ("precision", 3,
         "share of {draws} images decoded from draws of N(0, I) that are in the test images' "
         "manifold, balls to the 3rd neighbour on 50 principal components (Kynkäänniemi et al. "
         "2019). Blur is inside."),
        ("recall", 3,
         "share of the test images in the decoded draws' manifold. A few rare draws, with wide "
         "balls, may make it up."),
        ("coverage", 3,
         "share of the test images' balls that hold a decoded draw (Naeem et al. 2020): recall "
         "without such balls."),
        ("precision, own Gaussian", 3,
         "precision with draws not of the prior, but of the Gaussian of the latent mean and "
         "covariance above: what the decoder makes of places where codes are."),
        ("grid in manifold", 3,
         "share of the 256 cells of the latent grid whose image is in the test images' manifold."),
        ("grid, not black", 3,
         "share of the cells that are in it and no darker, in mean intensity, than the darkest "
         "hundredth of the test images: black images are inside, too."),
        ("sharpness", 3,
         "mean gradient magnitude of the decoded draws over that of the test images "
         "(tf.image.image_gradients). Bright images and broken shapes have more, too."),
        ("sharpness, reconstructions", 3,
         "the same of the reconstructed test images, which show one thing in all columns."),
    )
]  # fmt: skip


CVAE_ALONE = {
    "ELBO", "KL part of the ELBO", "ELBO, fewer images", "importance-weighted bound",
    "its effective samples",
}  # fmt: skip


def summarize(name, runs):
    """Mean and standard deviation (n - 1) of a metric in a column; None without any.

    The standard deviation is None of one value, or where one is infinite.

    Args:
        runs: values by name, of each run.
    """
    values = [values[name] for values in runs if name in values]
    if not values:
        return None
    with_sd = len(values) > 1 and np.isfinite(values).all()
    return float(np.mean(values)), float(np.std(values, ddof=1)) if with_sd else None


def table(columns, real):
    """An aligned Markdown table: a row a metric that any run has, a column a setting."""
    columns = {title: [result.values for result in group] for title, group in columns.items()}
    columns |= {title: [values] for title, values in real.items()}

    def cell(metric, runs):
        summary = summarize(metric.name, runs)
        numbers = [f"{value:.{metric.places}f}" for value in summary or () if value is not None]
        return " ± ".join(numbers) or "-"

    rows = [["", *columns]]
    rows += [[m.name, *(cell(m, runs) for runs in columns.values())] for m in METRICS]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(
        f"| {row[0]:<{widths[0]}} | "
        + " | ".join(f"{text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True))
        + " |"
        for row in rows
    )


def definitions(args):
    """What each metric is, by name, with the numbers that the flags set."""
    numbers = {"samples": args.iw_samples, "images": args.iw_images, "draws": PRIOR_DRAWS}
    return {m.name: m.definition.format(**numbers) for m in METRICS}


def to_markdown(columns, real, args, figure):
    """comparison.md: the figure, what runs it is of, the table, what its rows mean.

    Args:
        figure: the PNG's name, or None.
    """
    about = definitions(args)
    lines = [f"# {' and '.join(columns)}", ""]
    if figure:
        lines += [f"![The first run of each column that has models]({figure})", ""]
    for title, group in columns.items():
        for result in group:
            run = result.run
            flags = f"{run.flags['epochs']} epochs, seed {run.flags['seed']}"
            place = f"`{run.folder.as_posix()}`, {run.title}, {flags}"
            lines.append(f"- {title}: {place}{_moments(result)}")
    lines += ["", table(columns, real), ""]
    if any(len(group) > 1 for group in columns.values()):
        lines += ["Mean ± standard deviation (n - 1) over a column's runs.", ""]
    lines += [f"Real images: {REAL}.", ""]
    lines += [f"- **{m.name}**: {about[m.name]}" for m in METRICS]
    return "\n".join(lines) + "\n"


def _moments(result):
    """Mean and covariance of a run's latent vectors, where that is few numbers."""
    if len(result.latent_mean) > 3:
        return ""
    rows = [result.latent_mean, *result.latent_covariance]
    mean, *covariance = (", ".join(f"{value:.2f}" for value in row) for row in rows)
    return f"; latent mean ({mean}), covariance ({'; '.join(covariance)})"


def to_json(columns, real, args):
    """comparison.json: the same, unrounded, with each run's values; null where not finite."""

    def plain(value):
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    def of_run(result):
        run = result.run
        return {
            "run": run.folder.as_posix(),
            "dataset": run.dataset,
            "flags": run.flags,
            "metrics": {key: plain(value) for key, value in result.values.items()},
            "latent_mean": plain(result.latent_mean),
            "latent_covariance": plain(result.latent_covariance),
        }

    content = {"definitions": definitions(args), "columns": []}
    for title, group in columns.items():
        values = [result.values for result in group]
        summaries = {m.name: plain(summarize(m.name, values)) for m in METRICS}
        content["columns"].append(
            {
                "title": title,
                "mean": {key: s[0] for key, s in summaries.items() if s},
                "standard_deviation": {key: s[1] for key, s in summaries.items() if s},
                "runs": [of_run(result) for result in group],
            }
        )
    content["real_images"] = {"definition": REAL, "columns": real}
    return json.dumps(content, indent=2) + "\n"
