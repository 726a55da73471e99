"""The gates before a publish: which rows count into which rate, and what is said when there are too many."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.quality import FAILED, INVALID, QualityGates, check_quality
from airflow_batch_gemini.exceptions import ConfigurationError, PaidError, QualityError


def check(outcomes: dict[str, int], *, round: int = 0, answers: int = 1, **limits: float) -> None:  # noqa: A002
    tables = [f"p.d.landing_{number}" for number in range(answers)]
    check_quality(outcomes, QualityGates(**limits), round=round, table="p.d.outcomes", answers=tables)


def test_every_row_that_did_not_succeed_counts_into_exactly_one_rate() -> None:
    """Whatever outcome there may be one day."""
    assert sorted([*FAILED, *INVALID, Outcome.SUCCEEDED]) == sorted(Outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_row_is_judged_by_the_rate_of_its_outcome_only(outcome: Outcome) -> None:
    """The other gate lets it through."""
    outcomes = {"succeeded": 9} | {outcome.value: 10}
    stopped = {"failed": outcome in FAILED, "invalid": outcome in INVALID}
    for rate, stops in stopped.items():
        limit = {f"max_{rate}_rate": 0.1}
        if stops:
            with pytest.raises(QualityError, match=f"10 {outcome}"):
                check(outcomes, **limit)
        else:
            check(outcomes, **limit)


@pytest.mark.parametrize(
    ("failed", "rows", "limit", "passes"),
    [
        (0, 100, 0.0, True),
        (1, 100, 0.0, False),
        (1, 100, 0.01, True),
        (2, 100, 0.01, False),
        (7, 100, 0.07, True),
        (3, 10, 0.3, True),
        (29, 100, 0.29, True),
        (100, 100, 1.0, True),
        (99, 100, None, True),
    ],
)
def test_the_limit_itself_passes_and_one_row_more_does_not(
    failed: int, rows: int, limit: float | None, passes: bool
) -> None:
    """Shares that no float holds exactly included."""
    outcomes = {"succeeded": rows - failed, "missing": failed}
    gates = QualityGates(max_failed_rate=limit)
    if passes:
        check_quality(outcomes, gates, round=0, table="t", answers=[])
    else:
        with pytest.raises(QualityError):
            check_quality(outcomes, gates, round=0, table="t", answers=[])


def test_the_error_names_counts_rates_limits_tables_and_the_next_step() -> None:
    """Both gates at once; a retry would find the same, and money was spent."""
    outcomes = {"succeeded": 900, "failed": 50, "missing": 10, "invalid": 40}
    with pytest.raises(QualityError) as found:
        check(outcomes, max_failed_rate=0.05, max_invalid_rate=0.0, answers=5)
    assert isinstance(found.value, PaidError)
    said = str(found.value)
    for words in (
        "Of 1,000 rows 60 have no answer (50 failed, 10 missing): 6 %, and max_failed_rate=0.05",
        "40 have an answer that cannot be used (40 invalid): 4 %, and max_invalid_rate=0.",
        "Nothing was published",
        "paid for and kept",
        "Look at p.d.outcomes",
        "p.d.landing_0, p.d.landing_1, p.d.landing_2 and 2 more",
        "raise max_failed_rate and max_invalid_rate and clear this task, which buys nothing",
    ):
        assert words in said


def test_only_the_gate_that_stopped_it_is_to_be_raised() -> None:
    """And of a later round it is said that all rounds are meant."""
    outcomes = {"succeeded": 5, "failed": 5, "truncated": 1}
    with pytest.raises(QualityError) as found:
        check(outcomes, max_failed_rate=0.1, max_invalid_rate=0.5, round=2, answers=0)
    assert "Of 11 rows of all rounds up to round 2, 5 have no answer" in str(found.value)
    assert "max_invalid_rate" not in str(found.value)
    assert "raw answers" not in str(found.value)


def test_no_rows_are_no_failure() -> None:
    """Nothing can be divided by them."""
    check({}, max_failed_rate=0.0, max_invalid_rate=0.0)


@pytest.mark.parametrize("name", ["max_failed_rate", "max_invalid_rate"])
@pytest.mark.parametrize("rate", [-0.1, 1.1, "0.1", True, float("nan")])
def test_what_is_no_share_of_rows_is_refused(name: str, rate: Any) -> None:
    """As soon as the DAG is read."""
    with pytest.raises(ConfigurationError, match=rf"{name}=.* is no share of rows from 0 to 1"):
        QualityGates(**{name: rate})
