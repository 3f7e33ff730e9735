"""Test which metrics differ between the columns of a comparison, and by how much.

`columns` is a dict from titles to lists of evaluate.Results. Every test is Welch's t-test, because
the standard deviations of two settings often differ by a factor of 2 to 15. With three seeds,
Student's t-test would then find more false differences than `RATE` allows.

Runs with the same seed are not treated as pairs. They share the order of the batches, the noise
and most initial weights, but different losses soon lead them to different results: In the study,
the mean correlation between adjacent columns is 0.15. A test of pairs would also find fewer
differences, because it has half the degrees of freedom.
"""

import itertools
import warnings
from typing import NamedTuple

import numpy as np
from scipy import stats

RATE = 0.05  # Benjamini and Hochberg's method limits the false discovery rate to this value
# Each interval alone contains the true difference with this probability. It is not adjusted
CONFIDENCE = 0.95
LEAST_RUNS = 2  # A standard deviation requires two values


class Difference(NamedTuple):
    change: float  # This is the mean of the second column minus the mean of the first column
    low: float  # The confidence interval extends from low to high
    high: float
    p: float  # of Welch's t-test
    adjusted: float  # p after the adjustment for the number of tests (Benjamini & Hochberg 1995)

    @property
    def significant(self):
        return self.adjusted <= RATE


def differences(columns, names):
    """Return a dict {(title, title): {metric: Difference}} for all pairs of columns.

    `names` are the names of the metrics. The p-values of all pairs of adjacent columns are adjusted
    together. The p-values of all other pairs are adjusted as a second group. Metrics are left
    out if they are infinite, or if they do not vary within either column.
    """
    tested = [title for title, group in columns.items() if len(group) >= LEAST_RUNS]
    steps = [pair for pair in itertools.pairwise(columns) if {*pair} <= {*tested}]
    others = [pair for pair in itertools.combinations(tested, 2) if pair not in steps]
    return _family(columns, names, steps) | _family(columns, names, others)


def _family(columns, names, pairs):
    """Return a dict as `differences` does, with p-values adjusted for the total number of tests."""
    found = {(a, b): _welch(columns[a], columns[b], names) for a, b in pairs}
    tests = [(pair, name) for pair, rows in found.items() for name in rows]
    p = [found[pair][name].p for pair, name in tests]
    # Benjamini and Hochberg's method is also valid if the tests are positively correlated
    for (pair, name), adjusted in zip(tests, stats.false_discovery_control(p), strict=True):
        found[pair][name] = found[pair][name]._replace(adjusted=float(adjusted))
    return found


def _welch(ones, others, names):
    """Return a dict from metric names to Differences whose p-values are not adjusted yet."""
    x, y = (
        np.array([[result.values.get(name, np.nan) for result in group] for name in names], float)
        for group in (ones, others)
    )  # (metrics, runs)
    usable = np.isfinite(np.hstack([x, y])).all(1)
    usable &= (x != x[:, :1]).any(1) | (y != y[:, :1]).any(1)
    if not usable.any():
        return {}
    x, y = x[usable], y[usable]
    with warnings.catch_warnings():  # SciPy warns if all values of a column are equal
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ttest_ind(y, x, axis=1, equal_var=False)
        interval = result.confidence_interval(CONFIDENCE)
    numbers = y.mean(1) - x.mean(1), interval.low, interval.high, result.pvalue, result.pvalue
    names = itertools.compress(names, usable)
    return dict(zip(names, map(Difference._make, np.array(numbers).T.tolist()), strict=True))
