"""The tables of a comparison, comparison.md and comparison.json.

`columns` and `baselines` are those of differences.py. `judges` is a dict from the title of each
data set to the accuracy of its judge.
"""

import itertools
import json
import re

from common.compare import differences
from common.compare.differences import changes, summarize, uninformative, values_by_title
from common.compare.evaluate import BASELINES
from common.compare.records import METRICS, definitions
from common.load import SCRIPTS
from common.program.flags import given
from common.runs import words
from common.training.settings import FREE_FLAGS

import numpy as np

MOST_PLAIN = 3  # columns with full titles and baselines beside them in one table
MOST_PLACES = 3  # of a standard deviation in decimal notation


def heading(title):
    """Return the heading of a column in the table: its letter, if its title begins with one."""
    return re.sub(r"^([A-Z]): .*", r"\1", title)


def tables(columns, baselines):
    """Return aligned Markdown tables with one row per metric.

    The columns and the baselines share a table, or have one each if there are more than
    MOST_PLAIN columns. Between them is the table of `changes`, if there are any.
    """
    of_columns, of_changes = {}, {}
    for title, runs in values_by_title(columns, baselines).items():
        of_columns[heading(title)] = {name: _cell(name, runs) for name in METRICS}
    for (a, b), found in changes(columns).items():
        cells = {name: f"{change:+.{METRICS[name].places}f}" for name, change in found.items()}
        of_changes[f"{heading(a)} to {heading(b)}"] = cells
    of_baselines = {}
    if len(columns) > MOST_PLAIN:
        of_baselines = {title: of_columns.pop(title) for title in baselines}
    ignored = uninformative(columns, baselines)
    found = [_aligned(cells, ignored) for cells in (of_columns, of_changes, of_baselines) if cells]
    return "\n\n".join(found)


def _cell(name, runs):
    """Return the mean of a metric, and the standard deviation, which is 2e-4 if it is small."""
    mean, sd = summarize(name, runs) or (None, None)
    places = METRICS[name].places
    cell = "" if mean is None else f"{mean:.{places}f}"
    if sd is None:
        return cell
    short = np.format_float_scientific(sd, precision=0, exp_digits=1, trim="-")
    return f"{cell}±{short if places > MOST_PLACES else f'{sd:.{places}f}'}"


def _aligned(cells, ignored):
    """Return a Markdown table of cells[heading][metric], without the `ignored` and empty rows."""
    longest, rows = max(map(len, METRICS)), [["", *cells]]
    for name in [name for name in METRICS if name not in ignored]:
        rows.append([name.ljust(longest), *(of.get(name) or "-" for of in cells.values())])
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * longest, *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(map(str.rjust, row, widths))} |" for row in rows)


def remarks(columns, baselines, judges):
    """Return lines on the judges and on the rows that are left out."""
    lines = ["Without classes there is no judge, and rows that require one are missing."]
    if judges:
        found = ", ".join(f"{share:.1%} on {title}" for title, share in judges.items())
        lines = [f"The judge classifies this share of the test images correctly: {found}."]
    if ignored := uninformative(columns, baselines):
        names = "; ".join(name for name in METRICS if name in ignored)
        lines.append(
            "Rows left out, because noise, the untrained network or a model is better than real "
            f"images: {names}."
        )
    return "\n".join(lines)


def to_markdown(columns, baselines, judges, args, figure):
    """Return the text of comparison.md. `figure` is the name of the PNG file, if there is one."""
    lines = [f"# {' and '.join(columns)}", ""]
    if figure:
        lines += [f"![The first run of each column that has models]({figure})", ""]
    for title, group in columns.items():
        for run, _, *moments in group:
            lines.append(f"- {title}: `{run.folder.as_posix()}`, {run.title}, {_flags(run)}")
            if len(moments[0]) <= 3:  # few numbers
                rows = [moments[0], *moments[1]]
                mean, *covariance = (", ".join(f"{v:.2f}" for v in row) for row in rows)
                lines[-1] += f"; latent mean ({mean}), covariance ({'; '.join(covariance)})"
    summary = differences.summary(columns, baselines).splitlines()
    lines += ["", *(f"- {line}" for line in summary), "", tables(columns, baselines), ""]
    if any(len(group) > 1 for group in columns.values()):
        what = "Where a column has several runs, its cells are mean±standard deviation (n - 1)"
        lines += [f"{what}; 2e-4 is 0.0002.", ""]
    if changes(columns):
        what = f"differences of more than {differences.SPREAD} pooled standard deviations"
        lines += [f"The table of changes contains {what} from each column to the next.", ""]
    lines += [remarks(columns, baselines, judges).replace("\n", "\n\n"), ""]
    lines += [f"- **{title}**: {about}" for title, about in BASELINES.items()]
    present = set().union(*itertools.chain(*values_by_title(columns, baselines).values()))
    present -= uninformative(columns, baselines)
    about = definitions(args.iw_samples, args.iw_images)
    lines += ["", *(f"- **{name}**: {about[name]}" for name in METRICS if name in present)]
    return "\n".join(lines) + "\n"


def _flags(run):
    """Return the epochs and the seed of a run, and its other flags that are not the default."""
    usual, flags = vars(SCRIPTS[run.model].get_args([])), given(run.flags)
    more = [name for name in flags if flags[name] != usual[name]]
    more = {name: flags[name] for name in more if name not in FREE_FLAGS | {"seed"}}
    more = [f"`--{word}`" for word in words(more)]
    epochs = f"{run.epochs} epoch{'s' * (run.epochs != 1)}"
    return ", ".join([epochs, f"seed {run.flags['seed']}", *more])


def to_json(columns, baselines, judges, args):
    """Return the text of comparison.json: unrounded numbers of each run, null if not finite."""
    content = {"definitions": definitions(args.iw_samples, args.iw_images), "columns": []}
    for title, group in columns.items():
        found = {name: summarize(name, [result.values for result in group]) for name in METRICS}
        column = {
            "title": title,
            "mean": {name: both[0] for name, both in found.items() if both},
            "standard_deviation": {name: both[1] for name, both in found.items() if both},
            "runs": [],
        }
        for run, values, mean, covariance in group:
            about = {"run": run.folder.as_posix(), "dataset": run.dataset, "flags": run.flags}
            numbers = {"metrics": values, "latent_mean": mean, "latent_covariance": covariance}
            column["runs"].append(about | numbers)
        content["columns"].append(column)
    content["baselines"] = {"definitions": BASELINES, "columns": baselines}
    content["left_out"] = sorted(uninformative(columns, baselines))
    content["judges"] = judges
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has no Infinity
    return json.dumps(finite, indent=2) + "\n"
