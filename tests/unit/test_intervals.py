"""How far a few rows speak for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch import intervals
from airflow_batch_gemini.batch.intervals import Interval

ONES = [1.0] * 20
MANY = 10**9


@pytest.mark.parametrize(
    ("failures", "rows", "low", "high"),
    [
        (0, 20, 0.0, 0.1611),
        (1, 20, 0.0089, 0.2361),
        (3, 20, 0.0524, 0.3604),
        (10, 20, 0.2993, 0.7007),
        (20, 20, 0.8389, 1.0),
        (1, 1, 0.2065, 1.0),
        (5, 100, 0.0215, 0.1118),
    ],
)
def test_a_share_has_the_interval_of_wilson(failures: int, rows: int, low: float, high: float) -> None:
    """The numbers are those of the textbooks; they never leave 0 to 1."""
    hits = [index < failures for index in range(rows)]
    found = intervals.share(hits, [1.0] * rows, population=MANY)
    assert found is not None
    assert found.expected == failures / rows
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(
    ("values", "expected", "reach"),
    [
        ([1.0, 3.0], 2.0, 12.706),
        ([10.0, 20.0, 30.0], 20.0, 24.843),
        ([float(n) for n in range(1, 21)], 10.5, 2.769),
        ([5.0] * 20, 5.0, 0.0),
    ],
)
def test_a_mean_has_the_interval_of_student(values: list[float], expected: float, reach: float) -> None:
    """Its lower bound never falls below 0: nobody is billed for less than no token."""
    found = intervals.mean(values, [1.0] * len(values), population=MANY)
    assert found is not None
    assert found.expected == expected
    assert found.high == pytest.approx(expected + reach, abs=2e-3)
    assert found.low == pytest.approx(max(expected - reach, 0), abs=2e-3)


def test_a_sample_of_all_rows_leaves_no_doubt() -> None:
    """The interval shrinks the more of the rows were asked, to a point in the end."""
    values, hits = [float(n) for n in range(20)], [n < 3 for n in range(20)]
    widths = []
    for population in (MANY, 100, 25, 20):
        mean, share = (
            intervals.mean(values, ONES, population=population),
            intervals.share(hits, ONES, population=population),
        )
        assert mean is not None
        assert share is not None
        widths.append((mean.high - mean.low, share.high - share.low))
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == (0, 0)


def test_rows_that_stand_for_more_others_weigh_more_and_widen_the_interval() -> None:
    """Nine rows of ten ask about text, one about a video; the sample has five of each."""
    values, weights = [10.0] * 5 + [1000.0] * 5, [9.0] * 5 + [1.0] * 5
    weighted = intervals.mean(values, weights, population=MANY)
    assert weighted is not None
    assert weighted.expected == pytest.approx(109)
    share = intervals.share([value > 100 for value in values], weights, population=MANY)
    plain = intervals.share([True] + [False] * 9, [1.0] * 10, population=MANY)
    assert share is not None
    assert plain is not None
    assert share.expected == pytest.approx(plain.expected)
    assert share.high > plain.high


@pytest.mark.parametrize(("values", "population"), [([], 10), ([1.0], 2)])
def test_what_says_nothing_has_no_interval(values: list[float], population: int) -> None:
    """No row, or a single one of several."""
    assert intervals.mean(values, [1.0] * len(values), population=population) is None
    assert intervals.share([], [], population=population) is None


@given(
    rows=st.lists(st.tuples(st.floats(0, 1e6), st.booleans(), st.floats(0.01, 100)), min_size=2, max_size=60),
    others=st.integers(0, 10**6),
)
def test_what_was_measured_lies_within_its_bounds(rows: list[tuple[float, bool, float]], others: int) -> None:
    """Whatever the values and their weights."""
    values, hits, weights = ([row[index] for row in rows] for index in range(3))
    population = len(rows) + others
    mean, share = (
        intervals.mean(values, weights, population=population),
        intervals.share(hits, weights, population=population),
    )
    assert share is not None
    assert 0 <= share.low <= share.expected + 1e-9
    assert share.expected <= share.high + 1e-9 <= 1 + 2e-9
    if mean is not None:
        assert 0 <= mean.low <= mean.expected + 1e-6 <= mean.high + 2e-6


def test_an_interval_survives_json() -> None:
    """To six digits; nothing stays nothing."""
    assert Interval.from_dict(Interval(low=1 / 3, expected=0.5, high=2.0).to_dict()) == Interval(
        low=0.333333, expected=0.5, high=2.0
    )
    assert Interval.from_dict(None) is None
