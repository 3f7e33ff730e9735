"""A comparison's numbers: what each is, and the table, comparison.md and comparison.json of them.

`columns` is everywhere a dict from a column's title to its runs' evaluate.Result, `baselines` one
from the title of a column of BASELINES to its values by the metrics' names, `judges` one from a
data set's title to its judge's accuracy.
"""

import itertools
import json
import math
import re
from pathlib import Path

from common.load import SCRIPTS
from common.program.flags import given
from common.runs import words
from common.training.settings import FREE_FLAGS

import numpy as np

PRIOR_DRAWS = 10_000
SPREAD = 3  # pooled standard deviations: more is not the seeds' doing
LEAST_SEEDS = 3  # for what is said to have changed from column to column
MOST_PLAIN = 3  # columns with full titles above them, and the baselines beside them
MOST_PLACES = 3  # of a standard deviation that is written out
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
    "reconstruction": {"mean squared error": 4, "cross entropy": 1, "edges kept": 3},
    "likelihood": {
        "ELBO": 1, "KL part of the ELBO": 2, "ELBO, fewer images": 1,
        "importance-weighted bound": 1, "its effective samples": 0,
    },
    "latent space": {
        "latent mean to 0": 2, "largest latent sd": 2, "smallest latent sd": 2,
        "KL(latent Gaussian, prior)": 3, "MMD^2 to prior": 4, "its standard error": 4,
        "active dimensions": 0, "15 neighbours' accuracy": 3, "silhouette": 3,
    },
    "draws": {
        "Fréchet distance": 1, "precision": 3, "coverage": 3, "classes": 1, "sure": 3,
        "edges of draws": 3,
    },
    "beyond the prior": {"precision, own Gaussian": 3, "precision, grid": 3},
}  # fmt: skip
METRICS = {name: places for group in GROUPS.values() for name, places in group.items()}
ASIDE = {"its effective samples", "its standard error", "ELBO, fewer images"}
OF_CLASSES = {"15 neighbours' accuracy", "silhouette", "Fréchet distance", "classes", "sure"}
CVAE_ALONE = set(GROUPS["likelihood"])
NO_QUALITY = {"edges of draws"}  # real images need not be the best there


def summarize(name, runs):
    """Mean and standard deviation (n - 1) of a metric over runs' values by name; None without any.

    The standard deviation is None of one value, or where one is infinite.
    """
    values = [values[name] for values in runs if name in values]
    if not values:
        return None
    with_sd = len(values) > 1 and np.isfinite(values).all()
    return float(np.mean(values)), float(np.std(values, ddof=1)) if with_sd else None


def difference(name, ones, others):
    """A metric's means over two settings' runs, rounded, if they differ by more than the spread.

    That is by more than SPREAD pooled standard deviations, as in Student's t-test; without any, if
    the rounded means differ at all. None if not, or where a value is not finite, or a setting has
    none. With three seeds each, all values of one are then beyond all of the other; chance alone
    does that to 2 rows in 100.
    """
    values = [[run[name] for run in runs if name in run] for runs in (ones, others)]
    if not all(values) or not all(np.isfinite(v).all() for v in values):
        return None
    means = [float(np.mean(v)) for v in values]
    freedom = max(1, sum(map(len, values)) - 2)
    pooled = math.sqrt(sum(len(v) * np.var(v) for v in values) / freedom)
    x, y = (round(mean, METRICS[name]) for mean in means)  # as the table has it
    return (x, y) if x != y and abs(means[0] - means[1]) > SPREAD * pooled else None


def untelling(columns, baselines):
    """The rows about decoded images that tell nothing here: real images are not the best in them.

    Something else passes there for better than they: noise, the untrained network or a model's
    blur, among features of a judge that knows little, or few test images. Of a setting its mean
    counts, for one run of several may be better by chance.
    """
    found = set()
    for title in [title for title in baselines if title.startswith("real images")]:
        data = title.removeprefix("real images")  # of several, the baselines carry the name
        others = [[v] for t, v in baselines.items() if t.endswith(data) and t != title]
        for group in columns.values():
            others.append([r.values for r in group if not data or data == f", {r.run.title}"])
        for name in (GROUPS["draws"].keys() | GROUPS["beyond the prior"].keys()) - NO_QUALITY:
            sign = -1 if name == "Fréchet distance" else 1
            best = sign * baselines[title].get(name, sign * math.inf)
            means = [both[0] for runs in others if (both := summarize(name, runs))]
            if any(sign * mean > best for mean in means):
                found.add(name)
    return found


def _values(columns, baselines):
    """By a column's title, its runs' values by name."""
    columns = {title: [result.values for result in group] for title, group in columns.items()}
    return columns | {title: [values] for title, values in baselines.items()}


def summary(columns, baselines):
    """Three lines: the row that differs most in each of three of GROUPS, and between which columns.

    Of settings of one data set; one alone is held against the real images, but for its
    reconstructions. What counts is a `difference`; it is taken relative to the span of
    all columns, baselines and all, or to the larger value, if that is more.
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
            for a, b in itertools.combinations(settings, 2):
                if both := difference(name, settings[a], settings[b]):
                    x, y = both
                    share = abs(x - y) / max(max(means) - min(means), abs(x), abs(y))
                    text = f"{x:.{METRICS[name]}f} ({a}), {y:.{METRICS[name]}f} ({b})"
                    most = max(most, (share, f"{group}: {name} differs most, {text}"))
        lines.append(most)
    return "\n".join(text for share, text in sorted(lines, reverse=True)[:3] if share)


def heading(title):
    """A column's title over the table: its letter alone, if it has one."""
    return re.sub(r"^([A-Z]): .*", r"\1", title)


def tables(columns, baselines):
    """Aligned Markdown tables: a row a metric that any run has, a column a setting or a baseline.

    The baselines have one of their own where the settings' letters say that these are many.
    Between the two is that of the `changes`, if there are any.
    """
    of_settings, of_others = (
        {
            heading(title): {name: _cell(name, runs) for name in METRICS}
            for title, runs in of.items()
        }
        for of in (_values(columns, {}), _values({}, baselines))
    )
    apart = len(columns) > MOST_PLAIN
    first, last = (of_settings, of_others) if apart else (of_settings | of_others, {})
    left_out = untelling(columns, baselines)
    found = [_aligned(cells, left_out) for cells in (first, changes(columns), last) if cells]
    return "\n\n".join(found)


def changes(columns):
    """From each setting to the next, the changes of means that are a `difference`: texts by name.

    {} where not each two have `LEAST_SEEDS` runs, or they are of several data sets.
    """
    runs = list(columns.values())
    of_several = len({result.run.title for group in runs for result in group}) > 1
    if of_several or len(runs) < 2 or min(map(len, runs)) < LEAST_SEEDS:
        return {}
    found, settings = {}, _values(columns, {})
    for (a, ones), (b, others) in itertools.pairwise(settings.items()):
        pairs = {name: difference(name, ones, others) for name in METRICS.keys() - ASIDE}
        found[f"{heading(a)} to {heading(b)}"] = {
            name: f"{pair[1] - pair[0]:+.{METRICS[name]}f}" for name, pair in pairs.items() if pair
        }
    return found


def _cell(name, runs):
    """A metric's mean, and its standard deviation if there is one; "" without any.

    The latter as 2e-4 after many places, so that six columns need not wrap on a laptop.
    """
    mean, sd = summarize(name, runs) or (None, None)
    places = METRICS[name]
    cell = "" if mean is None else f"{mean:.{places}f}"
    if sd is None:
        return cell
    short = np.format_float_scientific(sd, precision=0, exp_digits=1, trim="-")
    return f"{cell}±{short if places > MOST_PLACES else f'{sd:.{places}f}'}"


def _aligned(cells, left_out):
    """A Markdown table of texts by metric by column's heading, without the rows `left_out`."""
    longest, rows = max(map(len, METRICS)), [["", *cells]]
    for name in [name for name in METRICS if name not in left_out]:
        rows.append([name.ljust(longest), *(of.get(name) or "-" for of in cells.values())])
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
    """comparison.md: the figure (a PNG's name, if any), the runs, the tables, what the rows are."""
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
    lines += ["", *differences, "", tables(columns, baselines), ""]
    if any(len(group) > 1 for group in columns.values()):
        lines += [
            "Mean±standard deviation (n - 1) over a column's runs, where there are several; "
            "2e-4 is 0.0002.",
            "",
        ]
    if changes(columns):
        what = f"by more than {SPREAD} pooled standard deviations"
        lines += [f"In the table of changes is what differs from column to column {what}.", ""]
    lines += [remarks(columns, baselines, judges).replace("\n", "\n\n"), ""]
    lines += [f"- {title.capitalize()}: {about}." for title, about in BASELINES.items()]
    present = set().union(*itertools.chain(*_values(columns, baselines).values()))
    present -= untelling(columns, baselines)
    about = definitions(args.iw_samples, args.iw_images)
    lines += ["", *(f"- **{name}**: {about[name]}" for name in METRICS if name in present)]
    return "\n".join(lines) + "\n"


def _flags(run):
    """A run's epochs and seed, and what is not as by default in those flags that matter to it."""
    default = vars(SCRIPTS[run.model].get_args([]))
    more = {
        name: value
        for name, value in given(run.flags).items()
        if name not in FREE_FLAGS | {"seed"} and value != default[name]
    }
    more = [f"`--{word}`" for word in words(more)]
    return ", ".join([f"{run.epochs} epochs", f"seed {run.flags['seed']}", *more])


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
