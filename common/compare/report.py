"""A comparison's numbers: what each is, and the table, comparison.md and comparison.json of them.

`columns` is everywhere a dict from a column's title to its runs' evaluate.Result, `real` one from
the title of a column of real images to their values by the metrics' names.
"""

import json
import re
from pathlib import Path

import numpy as np

PRIOR_DRAWS = 10_000
REAL = (
    "what the test images would have if reconstructed perfectly, and the first training images, as "
    "many as there are decoded draws (or all, if fewer), in place of these"
)

# The rows, and their places after the decimal point; README.md says what each is
METRICS = {
    "mean squared error": 4, "cross entropy": 1, "ELBO": 1, "KL part of the ELBO": 2,
    "ELBO, fewer images": 1, "importance-weighted bound": 1, "its effective samples": 0,
    "latent mean to 0": 2, "largest latent sd": 2, "smallest latent sd": 2,
    "KL(latent Gaussian, prior)": 3, "MMD^2 to prior": 5, "its standard error": 5,
    "15 neighbours' accuracy": 3, "silhouette": 3, "precision": 3, "recall": 3, "coverage": 3,
    "precision, own Gaussian": 3, "grid in manifold": 3, "grid, not black": 3, "sharpness": 3,
    "sharpness, reconstructions": 3,
}  # fmt: skip
CVAE_ALONE = {
    "ELBO", "KL part of the ELBO", "ELBO, fewer images", "importance-weighted bound",
    "its effective samples",
}  # fmt: skip


def summarize(name, runs):
    """Mean and standard deviation (n - 1) of a metric over runs' values by name; None without any.

    The standard deviation is None of one value, or where one is infinite.
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

    def cell(name, runs):
        summary = summarize(name, runs) or ()
        return " ± ".join(f"{v:.{METRICS[name]}f}" for v in summary if v is not None) or "-"

    longest, rows = max(map(len, METRICS)), [["", *columns]]
    for name in METRICS:
        rows.append([f"{name:{longest}}", *(cell(name, runs) for runs in columns.values())])
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * longest, *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(map(str.rjust, row, widths))} |" for row in rows)


def definitions(args):
    """What each metric is, by name: README.md's words, with the numbers that the flags set."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^- \*\*(.+)\*\*: (.+)$", text, re.MULTILINE))
    numbers = {"samples": args.iw_samples, "images": args.iw_images, "draws": PRIOR_DRAWS}
    return {name: found[name].format(**numbers) for name in METRICS}


def to_markdown(columns, real, args, figure):
    """comparison.md: the figure (a PNG's name, if any), what runs it is of, the table, its rows."""
    lines = [f"# {' and '.join(columns)}", ""]
    if figure:
        lines += [f"![The first run of each column that has models]({figure})", ""]
    for title, group in columns.items():
        for result in group:
            run = result.run
            flags = f"{run.title}, {run.flags['epochs']} epochs, seed {run.flags['seed']}"
            lines.append(f"- {title}: `{run.folder.as_posix()}`, {flags}")
            if len(result.latent_mean) <= 3:  # few numbers
                moments = [result.latent_mean, *result.latent_covariance]
                mean, *covariance = (", ".join(f"{v:.2f}" for v in row) for row in moments)
                lines[-1] += f"; latent mean ({mean}), covariance ({'; '.join(covariance)})"
    lines += ["", table(columns, real), ""]
    if any(len(group) > 1 for group in columns.values()):
        lines += ["Mean ± standard deviation (n - 1) over a column's runs.", ""]
    lines += [f"Real images: {REAL}.", ""]
    lines += [f"- **{name}**: {about}" for name, about in definitions(args).items()]
    return "\n".join(lines) + "\n"


def to_json(columns, real, args):
    """comparison.json: the same, unrounded, with each run's values; null where not finite."""

    def of_run(result):
        run, values, mean, covariance = result
        about = {"run": run.folder.as_posix(), "dataset": run.dataset, "flags": run.flags}
        return about | {"metrics": values, "latent_mean": mean, "latent_covariance": covariance}

    def of_column(title, group):
        found = {name: summarize(name, [result.values for result in group]) for name in METRICS}
        return {
            "title": title,
            "mean": {name: both[0] for name, both in found.items() if both},
            "standard_deviation": {name: both[1] for name, both in found.items() if both},
            "runs": [of_run(result) for result in group],
        }

    content = {
        "definitions": definitions(args),
        "columns": [of_column(title, group) for title, group in columns.items()],
        "real_images": {"definition": REAL, "columns": real},
    }
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has no Infinity
    return json.dumps(finite, indent=2) + "\n"
