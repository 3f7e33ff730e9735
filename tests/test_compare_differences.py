"""The tests of differences between columns: their rate of false discoveries and their power."""

import itertools
import math
from types import SimpleNamespace

from common.compare.differences import RATE, differences
from common.compare.evaluate import Result

import numpy as np
import pytest
from scipy import stats

ROWS, TABLES = 40, 100


def column(*values):
    return [Result(SimpleNamespace(title="t"), one) for one in values]


def in_columns(values):
    """Return columns A, B ... of an array (columns, rows, runs)."""
    names = [f"{row}" for row in range(values.shape[1])]
    groups = [column(*(dict(zip(names, run, strict=True)) for run in one.T)) for one in values]
    return dict(zip("ABCDEF", groups, strict=False)), names


def draws(runs, null, effect=6):
    """Return values (tables, 2, rows, runs) that differ by `effect` in all but the first rows.

    `null` is the share of equal rows. As in the study, the rows are correlated, and the ratio of
    both standard deviations has a log-normal distribution: In a tenth of the rows, it is above 9.
    The effect is in units of the root of the mean variance.
    """
    rng = np.random.default_rng(0)
    values = rng.normal(size=(TABLES, 2, ROWS, runs)) + rng.normal(size=(TABLES, 2, 1, runs))
    ratio = rng.normal(scale=1.37, size=(TABLES, 1, ROWS, 1)) * np.array([[[0.5]], [[-0.5]]])
    sd = np.exp(ratio)
    values *= sd / math.sqrt(2)
    values[:, 1] += effect * np.sqrt((sd**2).mean(1)) * (np.arange(ROWS) >= null * ROWS)[:, None]
    return values


def discoveries(values):
    """Return an array (tables, rows) of whether each row differs significantly."""
    found = []
    for table in values:
        rows = differences(*in_columns(table))["A", "B"]
        found.append([rows[f"{row}"].significant for row in range(ROWS)])
    return np.array(found)


def false_rate(found, null):
    """Return the mean share of false differences among the differences of a table."""
    false = found[:, : round(null * ROWS)].sum(1)
    return (false / np.maximum(1, found.sum(1))).mean()


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_the_rate_of_false_differences_is_controlled(runs):
    """Check the rate if half of the rows are equal, and if all are.

    In the second case, the rate is the share of tables with a false difference. Of 6,000 tables,
    5 to 6.5 % had one, because Welch's test is an approximation.
    """
    assert false_rate(discoveries(draws(runs, null=0.5)), 0.5) < RATE
    standard_error = math.sqrt(RATE * (1 - RATE) / TABLES)
    assert false_rate(discoveries(draws(runs, null=1)), 1) < RATE + 3 * standard_error


def test_the_steps_of_six_columns_have_few_false_differences():
    """Steps share columns, so the tests of neighbouring steps are negatively correlated."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(TABLES, 6, ROWS, 3)) + rng.normal(size=(TABLES, 6, 1, 3))
    values *= np.exp(rng.normal(size=(TABLES, 6, ROWS, 1)))
    tables = [differences(*in_columns(table)) for table in values]
    steps = [[table[pair] for pair in itertools.pairwise("ABCDEF")] for table in tables]
    wrong = [any(one.significant for rows in found for one in rows.values()) for found in steps]
    assert np.mean(wrong) < RATE + 3 * math.sqrt(RATE * (1 - RATE) / TABLES)


def test_students_test_would_make_more_false_differences():
    one, other = draws(3, null=1).swapaxes(0, 1)
    p = stats.ttest_ind(one, other, axis=-1).pvalue
    found = stats.false_discovery_control(p, axis=-1) <= RATE
    assert false_rate(found, 1) > 2 * RATE


def test_more_runs_find_more_differences():
    three, five, ten = (discoveries(draws(n, 0.5, effect=3))[:, ROWS // 2 :] for n in (3, 5, 10))
    assert three.mean() + 0.2 < five.mean() < ten.mean()
    assert ten.mean() > 0.99


def test_a_difference_is_that_of_the_formula():
    one, other = np.array([1.0, 2, 4]), np.array([7.0, 7.5, 9, 10])
    values = [column(*({"sure": v} for v in group)) for group in (one, other)]
    found = differences(dict(zip("AB", values, strict=True)), ["sure"])["A", "B"]["sure"]
    parts = [group.var(ddof=1) / len(group) for group in (one, other)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)  # Welch 1947
    change, error = other.mean() - one.mean(), math.sqrt(sum(parts))
    half = stats.t.ppf(0.975, freedom) * error
    p = 2 * stats.t.sf(change / error, freedom)
    np.testing.assert_allclose(found, [change, change - half, change + half, p, p])


def test_steps_and_other_pairs_are_adjusted_for_their_number():
    values = np.random.default_rng(1).normal(size=(4, 5, 3)) + np.arange(4)[:, None, None]
    columns, names = in_columns(values)
    found = differences(columns, names)
    steps = [("A", "B"), ("B", "C"), ("C", "D")]
    assert {*found} == {*steps, ("A", "C"), ("A", "D"), ("B", "D")}
    for pairs in (steps, [pair for pair in found if pair not in steps]):
        every = [one for pair in pairs for one in found[pair].values()]
        p = np.sort([one.p for one in every])
        expected = [min(p[i:] * len(p) / np.arange(i + 1, len(p) + 1)) for i in range(len(p))]
        np.testing.assert_allclose(np.sort([one.adjusted for one in every]), expected)


def test_what_cannot_be_tested_is_left_out():
    """A metric requires variation in one of the columns, or p would be 0."""
    one = {"equal": 2, "infinite": math.inf, "count": 2, "half": 2, "x": 0.1, "missing": 1}
    other = {"equal": 2, "infinite": 1.0, "count": 32, "half": 3, "x": 0.3}
    columns = {
        "A": column(one, one | {"x": 0.2}),
        "B": column(other, other | {"x": 0.4, "half": 4}),
        "C": column(one),
    }
    found = differences(columns, [*one])
    assert {*found} == {("A", "B")}
    assert {*found["A", "B"]} == {"half", "x"}
    assert differences({"A": column(one)}, [*one]) == {}
