"""Report a comparison in text: the tables, the largest differences, comparison.md and .json.

`columns` and `baselines` are dicts from titles to lists of evaluate.Results. All runs of a column
are on one data set. `judges` is a dict from data sets to the accuracy of their judges, or to the
reason why there is no judge.
"""

import itertools
import json
import re

from common.compare.differences import CONFIDENCE, LEAST_RUNS, RATE, differences
from common.compare.evaluate import BASELINES
from common.compare.records import DECODED, GROUPS, METRICS, RECORDS, definitions
from common.load import SCRIPTS
from common.program.flags import given
from common.runs import words
from common.training.settings import FREE_FLAGS

import numpy as np

# Tables with more columns than this have letters as headings, and the baselines get another table
MOST_PLAIN = 3


def summarize(name, group):
    """Return the mean and sample standard deviation of a metric, or None if no Result has it."""
    if not (values := [result.values[name] for result in group if name in result.values]):
        return None
    with_sd = len(values) > 1 and np.isfinite(values).all()
    return float(np.mean(values)), float(np.std(values, ddof=1)) if with_sd else None


def uninformative(columns, baselines):
    """Return the names of metrics for which real images do not have the best value.

    Only metrics of decoded images are checked.
    """
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
    """Return whether the runs of the columns were trained on different data sets."""
    return len({group[0].run.title for group in columns.values()}) > 1


def tested(columns, baselines):
    """Return the differences between the columns of a table, or {} for different data sets."""
    if of_several(columns):
        return {}
    ignored = uninformative(columns, baselines)
    rows = [m.name for m in RECORDS if not m.auxiliary and m.name not in ignored]
    return differences(columns, rows)


def summary(columns, baselines):
    """Return up to three lines. Each line states the metric that differs most in its group.

    If there is only one column, it is compared with the real images, and its reconstructions are
    ignored. Differences that are not significant are left out. Columns of one run cannot be
    tested.
    """
    if of_several(columns):
        return ""
    alone, everything = len(columns) == 1, columns | baselines
    pairs = [*itertools.combinations([*columns, "real images"] if alone else columns, 2)]
    ignored, most = uninformative(columns, baselines), dict.fromkeys(GROUPS, (0.0, ""))
    found = tested(columns, baselines)
    for name, metric in METRICS.items():
        if metric.auxiliary or name in ignored or (alone and metric.group == "reconstruction"):
            continue
        means = {t: both[0] for t, group in everything.items() if (both := summarize(name, group))}
        means = {title: mean for title, mean in means.items() if np.isfinite(mean)}
        for a, b in [pair for pair in pairs if {*pair} <= {*means}]:
            if (a, b) in found and not (name in found[a, b] and found[a, b][name].significant):
                continue
            x, y = (round(means[title], metric.places) for title in (a, b))
            if x != y:
                share = abs(x - y) / max(max(means.values()) - min(means.values()), abs(x), abs(y))
                values = f"{x:.{metric.places}f} ({a}), {y:.{metric.places}f} ({b})"
                line = f"{metric.group}: {name} differs most, {values}"
                most[metric.group] = max(most[metric.group], (share, line))
    return "\n".join(line for share, line in sorted(most.values(), reverse=True)[:3] if share)


def changes(columns, baselines):
    """Return a dict {(title, title): {metric: Difference}} of the significant differences.

    Each pair of titles belongs to two adjacent columns. If no difference is significant, the dict
    is empty.
    """
    found = tested(columns, baselines)
    steps = {pair: found[pair] for pair in itertools.pairwise(columns) if pair in found}
    steps = {
        pair: {name: one for name, one in rows.items() if one.significant}
        for pair, rows in steps.items()
    }
    return steps if any(steps.values()) else {}


def heading(title):
    """Return the letter of a title such as "A: CVAE". Return other titles unchanged."""
    return re.sub(r"^([A-Z]): .*", r"\1", title)


def tables(columns, baselines):
    """Return Markdown tables of the columns, of the changes between them, and of the baselines."""
    of_columns, of_changes, of_baselines = {}, {}, {}
    for title, group in (columns | baselines).items():
        cells = of_baselines if title in baselines and len(columns) > MOST_PLAIN else of_columns
        cells[heading(title)] = {name: _cell(name, group) for name in METRICS}
    for (a, b), found in changes(columns, baselines).items():
        cells = {name: _change(name, difference) for name, difference in found.items()}
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


def _change(name, difference):
    """Return a difference with its confidence interval as text, such as -0.3 [-0.5, -0.1]."""
    change, *ends = (f"{v:+.{METRICS[name].places}f}" for v in difference[:3])
    return f"{change} [{', '.join(ends)}]"


def _aligned(cells, ignored):
    """Return a Markdown table, without empty rows and the rows in `ignored`.

    `cells` is a dict {heading: {metric: text}}.
    """
    longest, rows = max(map(len, METRICS)), [["", *cells]]
    for name in [name for name in METRICS if name not in ignored]:
        rows.append([name.ljust(longest), *(of.get(name) or "-" for of in cells.values())])
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * longest, *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(map(str.rjust, row, widths))} |" for row in rows)


def remarks(columns, baselines, judges):
    """Return lines of text about the judges and about the omitted rows."""
    shares = {title: share for title, share in judges.items() if not isinstance(share, str)}
    found, lines = ", ".join(f"{share:.1%} on {title}" for title, share in shares.items()), []
    if shares:
        lines = [f"The judge classifies this share of the test images correctly: {found}."]
    names = "; ".join(m.name for m in RECORDS if m.classes)
    for title in [title for title in judges if title not in shares]:
        lines.append(f"Rows left out, because in {title} {judges[title]}: {names}.")
    single = len(columns) > 1 and min(map(len, columns.values())) < LEAST_RUNS
    if single and not of_several(columns):
        lines.append("Columns of one run are not tested. Their differences may be due to chance.")
    if ignored := uninformative(columns, baselines):
        names = "; ".join(name for name in METRICS if name in ignored)
        why = "noise, the untrained network or a model is better than real images"
        lines.append(f"Rows left out, because {why}: {names}.")
    return "\n".join(lines)


def to_markdown(columns, baselines, judges, args, figure):
    """Return the text of comparison.md. `figure` is the name of the PNG file, or empty."""
    lines = [f"# {' and '.join(columns)}", ""]
    if figure:
        lines += [f"![The first run of each column that has models]({figure})", ""]
    for title, group in columns.items():
        for run, _, mean, covariance in group:
            lines.append(f"- {title}: `{run.folder.as_posix()}`, {run.title}, {_flags(run)}")
            if mean:
                mean, *covariance = (", ".join(f"{v:.2f}" for v in r) for r in (mean, *covariance))
                lines[-1] += f"; latent mean ({mean}), covariance ({'; '.join(covariance)})"
    lines += ["", *(f"- {line}" for line in summary(columns, baselines).splitlines())]
    lines += ["", tables(columns, baselines), ""]
    if any(len(group) > 1 for group in columns.values()):
        what = "Where a column has several runs, its cells are mean±standard deviation (n - 1)"
        lines += [f"{what}; 2e-4 is 0.0002.", ""]
    if changes(columns, baselines):
        what = "the significant differences from each column to the next"
        rule = f"Welch's t-test, with a false discovery rate of {RATE:.0%} in the table"
        ends = f"{CONFIDENCE:.0%} confidence intervals"
        lines += [f"The table of changes contains {what} ({rule}), with {ends}.", ""]
    lines += [remarks(columns, baselines, judges).replace("\n", "\n\n"), ""]
    lines += [*(f"- **{title}**: {about}" for title, about in BASELINES.items()), ""]
    ignored, everything = uninformative(columns, baselines), (columns | baselines).values()
    for name, about in definitions(args.iw_samples, args.iw_images).items():
        if name not in ignored and any(summarize(name, group) for group in everything):
            lines.append(f"- **{name}**: {about}")
    return "\n".join(lines) + "\n"


def _flags(run):
    """Return a text with the epochs, the seed and the non-default flags of a run."""
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
            | {"metrics": values}  # metrics.json also contains the latent mean and covariance
            for run, values, *_ in group
        ]
        column = {"title": title, "mean": {name: mean for name, (mean, _) in found.items()}}
        column["standard_deviation"] = {name: sd for name, (_, sd) in found.items()}
        content["columns"].append(column | {"runs": runs})
    content["differences"] = [
        {"from": a, "to": b, "metric": name, **one._asdict(), "significant": one.significant}
        for (a, b), rows in tested(columns, baselines).items()
        for name, one in rows.items()
    ]
    values = {title: result.values for title, (result,) in baselines.items()}
    content["baselines"] = {"definitions": BASELINES, "columns": values}
    content |= {"left_out": sorted(uninformative(columns, baselines)), "judges": judges}
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has no Infinity
    return json.dumps(finite, indent=2) + "\n"
