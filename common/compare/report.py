"""A comparison's numbers: what each is, and the table, comparison.md and comparison.json of them.

`columns` is everywhere a dict from a column's title to its runs' evaluate.Result, `baselines` one
from the title of a column of BASELINES to its values by the metrics' names, `judges` one from a
data set's title to its judge's accuracy.
"""

import importlib
import itertools
import json
import math
import re
from pathlib import Path

from common.run import FREE_FLAGS
from common.runs import given
from common.trained import SCRIPTS

import numpy as np

PRIOR_DRAWS = 10_000
SURE = 0.9  # the judge's probability from which on it is sure of a class
BASELINES = {
    "real images": "what the test images would have if reconstructed perfectly, and the first "
    "training images, as many as there are decoded draws (or all, if fewer), in place of these",
    "white noise": "in place of decoded images, pixels drawn evenly from 0 to 1",
    "untrained": "the first run's network before training",
}

# The rows, by what they are of, and their places after the decimal point; README.md says what each
# is. What is measured to judge another row has no part in the summary
GROUPS = {
    "reconstruction": {
        "mean squared error": 4, "cross entropy": 1, "edges kept": 3, "ELBO": 1,
        "KL part of the ELBO": 2, "ELBO, fewer images": 1, "importance-weighted bound": 1,
        "its effective samples": 0,
    },
    "latent space": {
        "latent mean to 0": 2, "largest latent sd": 2, "smallest latent sd": 2,
        "KL(latent Gaussian, prior)": 3, "MMD^2 to prior": 5, "its standard error": 5,
        "active dimensions": 0, "15 neighbours' accuracy": 3, "silhouette": 3,
    },
    "draws": {
        "Fréchet distance": 1, "precision": 3, "coverage": 3, "classes": 1, "sure": 3,
    },
    "beyond the prior": {"precision, own Gaussian": 3, "precision, grid": 3},
}  # fmt: skip
METRICS = {name: places for group in GROUPS.values() for name, places in group.items()}
ASIDE = {"its effective samples", "its standard error", "ELBO, fewer images"}
OF_CLASSES = {"15 neighbours' accuracy", "silhouette", "Fréchet distance", "classes", "sure"}
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


def untelling(columns, baselines):
    """The rows about decoded images that tell nothing here: real images are not the best in them.

    Something else passes there for better than they: noise, the untrained network or a model's
    blur, among features of a judge that knows little, or few test images.
    """
    found = set()
    for title in [title for title in baselines if title.startswith("real images")]:
        data = title.removeprefix("real images")  # of several, the baselines carry the name
        others = [v for t, v in baselines.items() if t.endswith(data) and t != title]
        results = [result for group in columns.values() for result in group]
        others += [r.values for r in results if not data or data == f", {r.run.title}"]
        for name in GROUPS["draws"].keys() | GROUPS["beyond the prior"].keys():
            sign = -1 if name == "Fréchet distance" else 1
            best = sign * baselines[title].get(name, sign * math.inf)
            if any(sign * other[name] > best for other in others if name in other):
                found.add(name)
    return found


def _values(columns, baselines):
    """By a column's title, its runs' values by name."""
    columns = {title: [result.values for result in group] for title, group in columns.items()}
    return columns | {title: [values] for title, values in baselines.items()}


def summary(columns, baselines):
    """Three lines: the row that differs most in each of three of GROUPS, and between which columns.

    Of settings of one data set; one alone is held against the real images, but for its
    reconstructions. A difference is one where it exceeds twice the pooled standard deviation, if
    there is any, and is taken relative to the span of all columns, baselines and all, or to the
    larger value, if that is more.
    """
    if len({result.run.title for group in columns.values() for result in group}) > 1:
        return ""
    alone, everything = len(columns) == 1, _values(columns, baselines)
    real = {title: values for title, values in baselines.items() if title == "real images"}
    settings = _values(columns, real if alone else {})
    aside, lines = ASIDE | untelling(columns, baselines), []
    for group, names in GROUPS.items():
        most = (0.0, "")
        for name in set(names) - aside - (GROUPS["reconstruction"].keys() if alone else set()):
            means = [summarize(name, runs) for runs in everything.values()]
            means = [both[0] for both in means if both and np.isfinite(both[0])]
            found = {title: summarize(name, runs) for title, runs in settings.items()}
            found = {
                title: (round(both[0], METRICS[name]), both[1])  # as the table has it
                for title, both in found.items()
                if both and np.isfinite(both[0])
            }
            for (a, (x, x_sd)), (b, (y, y_sd)) in itertools.combinations(found.items(), 2):
                if abs(x - y) > 2 * math.sqrt(((x_sd or 0) ** 2 + (y_sd or 0) ** 2) / 2):
                    share = abs(x - y) / max(max(means) - min(means), abs(x), abs(y))
                    text = f"{x:.{METRICS[name]}f} ({a}), {y:.{METRICS[name]}f} ({b})"
                    most = max(most, (share, f"{group}: {name} differs most, {text}"))
        lines.append(most)
    return "\n".join(text for share, text in sorted(lines, reverse=True)[:3] if share)


def heading(title):
    """A column's title over the table: its letter alone, if it has one."""
    return re.sub(r"^([A-Z]): .*", r"\1", title)


def table(columns, baselines):
    """An aligned Markdown table: a row a metric that any run has, a column a setting."""
    left_out, columns = untelling(columns, baselines), _values(columns, baselines)

    def cell(name, runs):
        summary = summarize(name, runs) or ()
        return " ± ".join(f"{v:.{METRICS[name]}f}" for v in summary if v is not None) or "-"

    longest, rows = max(map(len, METRICS)), [["", *map(heading, columns)]]
    for name in [name for name in METRICS if name not in left_out]:
        rows.append([f"{name:{longest}}", *(cell(name, runs) for runs in columns.values())])
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * longest, *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(map(str.rjust, row, widths))} |" for row in rows)


def definitions(iw_samples, iw_images):
    """What each metric is, by name: README.md's words, with the numbers that the flags set."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^- \*\*(.+)\*\*: (.+)$", text, re.MULTILINE))
    numbers = {"samples": iw_samples, "images": iw_images}
    numbers |= {"draws": PRIOR_DRAWS, "sure": SURE}
    return {name: found[name].format(**numbers) for name in METRICS}


def remarks(columns, baselines, judges):
    """Lines on the judges, and on rows that are left out."""
    lines = ["Without classes there is no judge: the rows are those that need none."]
    if judges:
        found = ", ".join(f"{share:.1%} on {title}" for title, share in judges.items())
        lines = [f"The judge puts into their class, of the test images: {found}."]
    if left_out := untelling(columns, baselines):
        names = "; ".join(name for name in METRICS if name in left_out)
        lines.append(
            "Left out, because here not real images are the best, but noise, the untrained network "
            f"or a model: {names}."
        )
    return "\n".join(lines)


def to_markdown(columns, baselines, judges, args, figure):
    """comparison.md: the figure (a PNG's name, if any), what runs it is of, the table, its rows."""
    lines = [f"# {' and '.join(columns)}", ""]
    if figure:
        lines += [f"![The first run of each column that has models]({figure})", ""]
    for title, group in columns.items():
        for result in group:
            run = result.run
            lines.append(f"- {title}: `{run.folder.as_posix()}`, {run.title}, {_flags(run)}")
            if len(result.latent_mean) <= 3:  # few numbers
                moments = [result.latent_mean, *result.latent_covariance]
                mean, *covariance = (", ".join(f"{v:.2f}" for v in row) for row in moments)
                lines[-1] += f"; latent mean ({mean}), covariance ({'; '.join(covariance)})"
    differences = [f"- {line}" for line in summary(columns, baselines).splitlines()]
    lines += ["", *differences, "", table(columns, baselines), ""]
    if any(len(group) > 1 for group in columns.values()):
        what = "those that were measured; of one alone, there is no deviation"
        lines += [f"Mean ± standard deviation (n - 1) over a column's runs, {what}.", ""]
    lines += [remarks(columns, baselines, judges).replace("\n", "\n\n"), ""]
    lines += [f"- {title.capitalize()}: {about}." for title, about in BASELINES.items()]
    present = set().union(*itertools.chain(*_values(columns, baselines).values()))
    present -= untelling(columns, baselines)
    about = definitions(args.iw_samples, args.iw_images)
    lines += ["", *(f"- **{name}**: {about[name]}" for name in METRICS if name in present)]
    return "\n".join(lines) + "\n"


def _flags(run):
    """A run's epochs and seed, and what is not as by default in those flags that matter to it."""
    default = vars(importlib.import_module(SCRIPTS[run.model]).get_args([]))
    more = [
        f"`--{name.replace('_', '-')}`" + ("" if value is True else f" {value}")
        for name, value in given(run).items()
        if name not in FREE_FLAGS | {"seed"} and value != default[name]
    ]
    return ", ".join([f"{run.flags['epochs']} epochs", f"seed {run.flags['seed']}", *more])


def to_json(columns, baselines, judges, args):
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
        "definitions": definitions(args.iw_samples, args.iw_images),
        "columns": [of_column(title, group) for title, group in columns.items()],
        "baselines": {"definitions": BASELINES, "columns": baselines},
        "left_out": sorted(untelling(columns, baselines)),
        "judges": judges,
    }
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has no Infinity
    return json.dumps(finite, indent=2) + "\n"
