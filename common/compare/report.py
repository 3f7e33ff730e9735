"""Report a comparison in text: the tables, the largest differences, comparison.md and .json.

`columns` and `baselines` are dicts from titles to lists of evaluate.Results. All runs of a column
are on one data set. `judges` is a dict from data sets to the accuracy of their judges, or to the
reason why there is no judge.
"""

import itertools
import json
import math
import re

from common.compare.evaluate import BASELINES
from common.compare.records import DECODED, GROUPS, METRICS, RECORDS, definitions
from common.load import SCRIPTS
from common.program.flags import given
from common.runs import words
from common.training.settings import FREE_FLAGS

import numpy as np

MOST_PLAIN = 3  # With more columns, titles get letters, and baselines get their own table
SPREAD = 3  # A difference is significant from this number of pooled standard deviations
LEAST_SEEDS = 3  # The table of changes requires this number of runs per column


def summarize(name, group):
    """Return the mean and standard deviation (n - 1) of a metric, or None if no Result has it."""
    if not (values := [result.values[name] for result in group if name in result.values]):
        return None
    with_sd = len(values) > 1 and np.isfinite(values).all()
    return float(np.mean(values)), float(np.std(values, ddof=1)) if with_sd else None


def difference(name, ones, others):
    """Return the rounded means of a metric in two columns, or None if they may differ by chance."""
    values = [[r.values[name] for r in group if name in r.values] for group in (ones, others)]
    if not all(values) or not all(np.isfinite(v).all() for v in values):
        return None
    means = [float(np.mean(v)) for v in values]
    freedom = max(1, sum(map(len, values)) - 2)  # as in Student's t-test
    pooled = math.sqrt(sum(len(v) * np.var(v) for v in values) / freedom)
    x, y = (round(mean, METRICS[name].places) for mean in means)
    return (x, y) if x != y and abs(means[0] - means[1]) > SPREAD * pooled else None


def uninformative(columns, baselines):
    """Return the metrics of decoded images in which a baseline or a column beats real images."""
    found, signs = set(), {"higher": 1, "lower": -1}
    for real in [group[0] for title, group in baselines.items() if title.startswith("real")]:
        groups = [*columns.values(), *baselines.values()]
        groups = [group for group in groups if group[0].run.title == real.run.title]
        for m in [m for m in RECORDS if m.group in DECODED and m.name in real.values]:
            means = [both[0] for group in groups if (both := summarize(m.name, group))]
            sign = signs.get(m.better, 0)
            if any(sign * mean > sign * real.values[m.name] for mean in means):
                found.add(m.name)
    return found


def of_several(columns):
    """Return whether the columns are of several data sets, so that they cannot be compared."""
    return len({group[0].run.title for group in columns.values()}) > 1


def summary(columns, baselines):
    """Return up to three lines: the metrics that differ most in the three most different groups.

    A single column is compared with the real images, except for its reconstructions.
    """
    if of_several(columns):
        return ""
    alone, everything = len(columns) == 1, columns | baselines
    pairs = [*itertools.combinations([*columns, "real images"] if alone else columns, 2)]
    ignored, most = uninformative(columns, baselines), dict.fromkeys(GROUPS, (0.0, ""))
    for name, metric in METRICS.items():
        if metric.auxiliary or name in ignored or (alone and metric.group == "reconstruction"):
            continue
        means = [both[0] for group in everything.values() if (both := summarize(name, group))]
        means = [mean for mean in means if np.isfinite(mean)]
        for a, b in pairs:
            if both := difference(name, everything[a], everything[b]):
                x, y = both
                share = abs(x - y) / max(max(means) - min(means), abs(x), abs(y))
                values = f"{x:.{metric.places}f} ({a}), {y:.{metric.places}f} ({b})"
                line = f"{metric.group}: {name} differs most, {values}"
                most[metric.group] = max(most[metric.group], (share, line))
    return "\n".join(line for share, line in sorted(most.values(), reverse=True)[:3] if share)


def changes(columns):
    """Return a dict from pairs of adjacent titles to the change of each metric that differs."""
    if of_several(columns) or min(map(len, columns.values())) < LEAST_SEEDS:
        return {}
    found = {}
    for (a, ones), (b, others) in itertools.pairwise(columns.items()):
        pairs = {m.name: difference(m.name, ones, others) for m in RECORDS if not m.auxiliary}
        found[a, b] = {name: pair[1] - pair[0] for name, pair in pairs.items() if pair}
    return found


def heading(title):
    """Return the heading of a column in the table: its letter, if its title begins with one."""
    return re.sub(r"^([A-Z]): .*", r"\1", title)


def tables(columns, baselines):
    """Return aligned Markdown tables of the columns, their `changes`, and the baselines."""
    of_columns, of_changes, of_baselines = {}, {}, {}
    for title, group in (columns | baselines).items():
        cells = of_baselines if title in baselines and len(columns) > MOST_PLAIN else of_columns
        cells[heading(title)] = {name: _cell(name, group) for name in METRICS}
    for (a, b), found in changes(columns).items():
        cells = {name: f"{change:+.{METRICS[name].places}f}" for name, change in found.items()}
        of_changes[f"{heading(a)} to {heading(b)}"] = cells
    ignored, every = uninformative(columns, baselines), (of_columns, of_changes, of_baselines)
    return "\n\n".join(_aligned(cells, ignored) for cells in every if cells)


def _cell(name, group):
    """Return the mean and standard deviation of a metric as text, such as 0.1234±2e-4."""
    (mean, sd), places = summarize(name, group) or (None, None), METRICS[name].places
    cell = "" if mean is None else f"{mean:.{places}f}"
    if sd is None:
        return cell
    short = np.format_float_scientific(sd, precision=0, exp_digits=1, trim="-")
    return f"{cell}±{short if places > 3 else f'{sd:.{places}f}'}"


def _aligned(cells, ignored):
    """Return a Markdown table of cells[heading][metric], without `ignored` and empty rows."""
    longest, rows = max(map(len, METRICS)), [["", *cells]]
    for name in [name for name in METRICS if name not in ignored]:
        rows.append([name.ljust(longest), *(of.get(name) or "-" for of in cells.values())])
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * longest, *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(map(str.rjust, row, widths))} |" for row in rows)


def remarks(columns, baselines, judges):
    """Return lines about the judges and about the rows that are left out."""
    shares = {title: share for title, share in judges.items() if not isinstance(share, str)}
    found, lines = ", ".join(f"{share:.1%} on {title}" for title, share in shares.items()), []
    if shares:
        lines = [f"The judge classifies this share of the test images correctly: {found}."]
    names = "; ".join(m.name for m in RECORDS if m.classes)
    for title in [title for title in judges if title not in shares]:
        lines.append(f"Rows left out, because in {title} {judges[title]}: {names}.")
    if ignored := uninformative(columns, baselines):
        names = "; ".join(name for name in METRICS if name in ignored)
        why = "noise, the untrained network or a model is better than real images"
        lines.append(f"Rows left out, because {why}: {names}.")
    return "\n".join(lines)


def to_markdown(columns, baselines, judges, args, figure):
    """Return the text of comparison.md. `figure` is the name of the PNG file, if there is one."""
    lines = [f"# {' and '.join(columns)}", ""]
    if figure:
        lines += [f"![The first run of each column that has models]({figure})", ""]
    for title, group in columns.items():
        for run, _, mean, covariance in group:
            lines.append(f"- {title}: `{run.folder.as_posix()}`, {run.title}, {_flags(run)}")
            if len(mean) <= 3:  # few numbers
                mean, *covariance = (", ".join(f"{v:.2f}" for v in r) for r in (mean, *covariance))
                lines[-1] += f"; latent mean ({mean}), covariance ({'; '.join(covariance)})"
    lines += ["", *(f"- {line}" for line in summary(columns, baselines).splitlines())]
    lines += ["", tables(columns, baselines), ""]
    if any(len(group) > 1 for group in columns.values()):
        what = "Where a column has several runs, its cells are mean±standard deviation (n - 1)"
        lines += [f"{what}; 2e-4 is 0.0002.", ""]
    if changes(columns):
        what = f"differences of more than {SPREAD} pooled standard deviations"
        lines += [f"The table of changes contains {what} from each column to the next.", ""]
    lines += [remarks(columns, baselines, judges).replace("\n", "\n\n"), ""]
    lines += [*(f"- **{title}**: {about}" for title, about in BASELINES.items()), ""]
    ignored, everything = uninformative(columns, baselines), (columns | baselines).values()
    for name, about in definitions(args.iw_samples, args.iw_images).items():
        if name not in ignored and any(summarize(name, group) for group in everything):
            lines.append(f"- **{name}**: {about}")
    return "\n".join(lines) + "\n"


def _flags(run):
    """Return the epochs, the seed, and the flags of a run that do not have their default value."""
    usual, flags = vars(SCRIPTS[run.model].get_args([])), given(run.flags)
    more = {k: v for k, v in flags.items() if k not in FREE_FLAGS | {"seed"} and v != usual[k]}
    epochs, seed = f"{run.epochs} epoch{'s' * (run.epochs != 1)}", f"seed {run.flags['seed']}"
    return ", ".join([epochs, seed, *(f"`--{word}`" for word in words(more))])


def to_json(columns, baselines, judges, args):
    """Return the text of comparison.json. Numbers are not rounded. Infinite ones become null."""
    content = {"definitions": definitions(args.iw_samples, args.iw_images), "columns": []}
    for title, group in columns.items():
        found = {name: both for name in METRICS if (both := summarize(name, group))}
        runs = [
            {"run": run.folder.as_posix(), "dataset": run.dataset, "flags": run.flags}
            | {"metrics": values, "latent_mean": mean, "latent_covariance": covariance}
            for run, values, mean, covariance in group
        ]
        column = {"title": title, "mean": {name: mean for name, (mean, _) in found.items()}}
        column["standard_deviation"] = {name: sd for name, (_, sd) in found.items()}
        content["columns"].append(column | {"runs": runs})
    values = {title: result.values for title, (result,) in baselines.items()}
    content["baselines"] = {"definitions": BASELINES, "columns": values}
    content |= {"left_out": sorted(uninformative(columns, baselines)), "judges": judges}
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has no Infinity
    return json.dumps(finite, indent=2) + "\n"
