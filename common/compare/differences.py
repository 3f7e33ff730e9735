"""What differs between the columns of a comparison, and which rows say nothing.

`columns` is a dict from the title of each column to the evaluate.Results of its runs. `baselines`
is a dict from the title of each baseline to its values by name.
"""

import itertools
import math

from common.compare.records import DECODED, GROUPS, METRICS, RECORDS

import numpy as np

SPREAD = 3  # pooled standard deviations; a larger difference is more than chance between seeds
LEAST_SEEDS = 3  # runs per column, for a table of changes


def values_by_title(columns, baselines):
    """Return a dict from the title of each column and baseline to the values of its runs."""
    columns = {title: [result.values for result in group] for title, group in columns.items()}
    return columns | {title: [values] for title, values in baselines.items()}


def summarize(name, runs):
    """Return mean and standard deviation (n - 1) of a metric over runs; None if no run has it.

    The standard deviation is None for one value, and if a value is infinite.
    """
    values = [values[name] for values in runs if name in values]
    if not values:
        return None
    with_sd = len(values) > 1 and np.isfinite(values).all()
    return float(np.mean(values)), float(np.std(values, ddof=1)) if with_sd else None


def difference(name, ones, others):
    """Return the rounded means of a metric in two columns, or None if they hardly differ.

    They must differ by more than SPREAD pooled standard deviations (those of Student's t-test). If
    no column has several runs, the rounded means must differ.
    """
    values = [[run[name] for run in runs if name in run] for runs in (ones, others)]
    if not all(values) or not all(np.isfinite(v).all() for v in values):
        return None
    means = [float(np.mean(v)) for v in values]
    freedom = max(1, sum(map(len, values)) - 2)
    pooled = math.sqrt(sum(len(v) * np.var(v) for v in values) / freedom)
    x, y = (round(mean, METRICS[name].places) for mean in means)
    return (x, y) if x != y and abs(means[0] - means[1]) > SPREAD * pooled else None


def uninformative(columns, baselines):
    """Return the rows about decoded images in which real images are not the best.

    There, noise, the untrained network, or the mean of a setting is better, because the judge
    knows too little, or because there are few test images.
    """
    found, signs = set(), {"higher": 1, "lower": -1}
    decoded = [m for m in RECORDS if m.group in DECODED and m.better in signs]
    for title in [title for title in baselines if title.startswith("real images")]:
        data = title.removeprefix("real images")  # names the data set if there are several
        others = [[v] for t, v in baselines.items() if t.endswith(data) and t != title]
        for group in columns.values():
            others.append([r.values for r in group if data in ("", f", {r.run.title}")])
        for metric in decoded:
            sign = signs[metric.better]
            best = sign * baselines[title].get(metric.name, sign * math.inf)
            means = [both[0] for runs in others if (both := summarize(metric.name, runs))]
            if any(sign * mean > best for mean in means):
                found.add(metric.name)
    return found


def of_several(columns):
    """Return whether the runs of the columns are of several data sets."""
    return len({result.run.title for group in columns.values() for result in group}) > 1


def summary(columns, baselines):
    """Return up to three lines: the row that differs most in each of three groups of rows.

    A single column is compared with the real images, without its reconstructions. A `difference`
    is relative to the span of all columns and baselines, or to the larger of its two values if
    that is more. Runs of several data sets are not compared.
    """
    if of_several(columns):
        return ""
    alone, everything = len(columns) == 1, values_by_title(columns, baselines)
    real = {title: values for title, values in baselines.items() if title == "real images"}
    settings = values_by_title(columns, real if alone else {})
    ignored = uninformative(columns, baselines)
    most = dict.fromkeys(GROUPS, (0.0, ""))
    for name, metric in METRICS.items():
        if metric.auxiliary or name in ignored or (alone and metric.group == "reconstruction"):
            continue
        means = [both[0] for runs in everything.values() if (both := summarize(name, runs))]
        means = [mean for mean in means if np.isfinite(mean)]
        for a, b in itertools.combinations(settings, 2):
            if both := difference(name, settings[a], settings[b]):
                x, y = both
                share = abs(x - y) / max(max(means) - min(means), abs(x), abs(y))
                values = f"{x:.{metric.places}f} ({a}), {y:.{metric.places}f} ({b})"
                line = f"{metric.group}: {name} differs most, {values}"
                most[metric.group] = max(most[metric.group], (share, line))
    return "\n".join(line for share, line in sorted(most.values(), reverse=True)[:3] if share)


def changes(columns):
    """Return a dict from pairs of adjacent titles to the `difference` of each row that has one.

    It is empty if a column has fewer than LEAST_SEEDS runs, or the runs are of several data sets.
    """
    if of_several(columns) or min(map(len, columns.values())) < LEAST_SEEDS:
        return {}
    found = {}
    for (a, ones), (b, others) in itertools.pairwise(values_by_title(columns, {}).items()):
        pairs = {m.name: difference(m.name, ones, others) for m in RECORDS if not m.auxiliary}
        found[a, b] = {name: pair[1] - pair[0] for name, pair in pairs.items() if pair}
    return found
