"""The report: counts that add up, or an error."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from airflow_batch_gemini.batch.canary import CanaryFigures
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.pricing import PRICES
from airflow_batch_gemini.batch.report import Report
from airflow_batch_gemini.batch.stages import Stages
from airflow_batch_gemini.batch.tally import Tally, audit, tally
from airflow_batch_gemini.exceptions import AccountingError, OutputError


def row(outcome: str, count: int, cost: str | None = None, **tokens: int) -> dict[str, Any]:
    names = (
        "prompt_tokens",
        "cached_tokens",
        "output_tokens",
        "thoughts_tokens",
        "total_tokens",
        "without_tokens",
    )
    found = {name: tokens.get(name) for name in names}
    return {
        "outcome": outcome,
        "row_count": count,
        "cost_usd": None if cost is None else Decimal(cost),
        **found,
    }


ROWS = [
    row("succeeded", 8, "0.012", prompt_tokens=800, output_tokens=80, total_tokens=880, without_tokens=1),
    row("truncated", 1, "0.001", prompt_tokens=100, output_tokens=10, thoughts_tokens=5, total_tokens=115),
    row("missing", 1),
    {**row("answered", 5), "part": 0},
    {**row("answered", 4), "part": 7},
    row("lines", 11),
    row("unknown", 0),
    row("unverified", 0),
]
COUNTED = tally(ROWS)
JOBS = [
    Job(name="j1", state="JOB_STATE_SUCCEEDED", output_uri="gs://b/o", create_time=10.0, end_time=90.0),
    Job(name="j2", state="JOB_STATE_FAILED", create_time=5.0),
]


def report(counted: Tally = COUNTED, *, model: str = "gemini-3.5-flash") -> Report:
    return Report.of(
        counted,
        batch_id="b",
        model=model,
        price=PRICES.get(model),
        jobs=JOBS,
        tables={"results": "p.d.r", "errors": "p.d.e"},
        stages=Stages.of(prepared_at="1970-01-01T00:00:01+00:00", jobs=JOBS, landed=95.0, loaded=100.0),
    )


def words(found: Report) -> list[list[str]]:
    return [text.split() for text in found.lines()]


def test_the_tally_adds_up_over_the_outcomes() -> None:
    """An outcome that nobody had is zero."""
    assert COUNTED.rows == 10
    assert COUNTED.outcomes["blocked"] == 0
    assert COUNTED.tokens == {"prompt": 900, "cached": 0, "output": 90, "thoughts": 5, "total": 995}
    assert COUNTED.cost_usd == Decimal("0.013")
    assert COUNTED.answered == {0: 5, 7: 4}
    assert (COUNTED.lines, COUNTED.duplicates, COUNTED.without_tokens) == (11, 2, 1)


def test_a_batch_whose_counts_add_up_passes() -> None:
    """Duplicates are counted and do no harm."""
    audit(COUNTED, rows=10)


@pytest.mark.parametrize("rows", [9, 11, 0])
def test_counts_that_do_not_add_up_stop_the_load(rows: int) -> None:
    """Before anything is published."""
    with pytest.raises(AccountingError, match="Nothing was published"):
        audit(COUNTED, rows=rows)


def test_fewer_lines_than_answered_rows_is_impossible_and_stops_the_load() -> None:
    """The two queries must have seen different tables."""
    with pytest.raises(AccountingError):
        audit(replace(COUNTED, lines=3), rows=10)


def test_lines_that_were_landed_and_are_not_there_stop_the_load() -> None:
    """Somebody changed a landing table."""
    audit(COUNTED, rows=10, landed=11)
    with pytest.raises(AccountingError, match="12 output lines were landed, but the landing tables have 11"):
        audit(COUNTED, rows=10, landed=12)


@pytest.mark.parametrize(
    ("data", "attempt"),
    [(b'{"attempt": "0199"}', "0199"), (b"{}", ""), (b"[1]", ""), (b"not a report", ""), (b"", "")],
)
def test_a_report_says_which_attempt_wrote_it(data: bytes, attempt: str) -> None:
    """One that says nothing is older than all."""
    assert Report.attempt_of(data) == attempt


def test_corrupt_lines_are_in_the_report_and_in_its_table() -> None:
    """Only when there were any."""
    found = replace(report(), corrupt_lines=3, notes=["look here"], attempt="0199")
    assert (found.to_dict()["corrupt_lines"], found.to_dict()["notes"]) == (3, ["look here"])
    assert ["corrupt", "lines", "3"] in words(found)
    assert not any("corrupt" in line for line in words(report()))
    assert Report.attempt_of(found.to_json()) == "0199"


def test_a_line_that_answers_nobody_stops_the_load() -> None:
    """It may be the answer that another row is missing."""
    with pytest.raises(OutputError, match="2 of 11 output lines"):
        audit(replace(COUNTED, unknown=2), rows=10)


def test_the_report_is_plain_data_with_the_price_it_was_reckoned_by() -> None:
    """What XCom keeps is what report.json says."""
    document = report().to_dict()
    assert json.loads(report().to_json()) == document
    assert document["cost_usd"] == 0.013
    assert document["price"]["input"] == "1.50"
    assert document["times"] == {
        "prepared": "1970-01-01T00:00:01+00:00",
        "first_job_created": "1970-01-01T00:00:05+00:00",
        "first_job_started": None,
        "last_job_ended": "1970-01-01T00:01:30+00:00",
        "landed": "1970-01-01T00:01:35+00:00",
        "loaded": "1970-01-01T00:01:40+00:00",
    }
    assert [job["state"] for job in document["jobs"]] == ["JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"]


def test_times_that_nobody_knows_are_null() -> None:
    """A job that never started has none."""
    found = Report.of(
        COUNTED,
        batch_id="b",
        model="m",
        price=None,
        jobs=[Job(name="j", state="JOB_STATE_EXPIRED")],
        tables={},
        stages=Stages.of(
            prepared_at="", jobs=[Job(name="j", state="JOB_STATE_EXPIRED")], landed=None, loaded=1.0
        ),
    )
    assert (found.times["first_job_created"], found.times["last_job_ended"]) == (None, None)


def test_with_an_unknown_price_the_cost_is_unknown() -> None:
    """Not zero."""
    document = report(model="gemini-9").to_dict()
    assert (document["cost_usd"], document["price"]) == (None, None)
    assert ["cost", "unknown"] in words(report(model="gemini-9"))


def test_the_small_table_lines_up_and_leaves_out_what_is_zero() -> None:
    """It ends the log of the load."""
    lines = report().lines()
    starts = {len(text) - len(text[22:].lstrip()) for text in lines}
    assert starts == {22}
    said = words(report())
    assert said[2:6] == [["rows", "10"], ["succeeded", "8"], ["truncated", "1"], ["missing", "1"]]
    assert not any("blocked" in cells for cells in said)
    assert ["duplicate", "lines", "2"] in said
    assert ["cost", "0.013000", "USD"] in said
    assert ["rows", "of", "unknown", "cost", "1"] in said


def test_without_duplicates_and_with_all_tokens_known_nothing_is_said_of_them() -> None:
    """A quiet report for a quiet batch."""
    quiet = report(replace(COUNTED, lines=9, without_tokens=0)).lines()
    assert not any(text.startswith(("duplicate", "rows of")) for text in quiet)


@pytest.mark.parametrize(
    ("cost", "said"), [("0.001200", "0.001200 USD, beside that"), (None, "unknown, beside that")]
)
def test_what_a_canary_cost_is_told_beside_the_cost_of_the_batch(cost: str | None, said: str) -> None:
    """Direct calls have no discount, and the job has asked the same rows again."""
    found = replace(report(), canary=CanaryFigures(rows=20, outcomes={"succeeded": 20}, cost_usd=cost))
    assert f"cost of the canary    {said}" in found.lines()
    assert found.cost_usd == report().cost_usd
    assert json.loads(found.to_json())["canary"]["cost_usd"] == cost
    assert "canary" not in " ".join(report().lines())


def test_an_asset_event_carries_counts_only() -> None:
    """For whoever waits for the results."""
    assert report().counts() == {
        "batch_id": "b",
        "rows": 10,
        "succeeded": 8,
        "truncated": 1,
        "missing": 1,
        "cost_usd": 0.013,
    }
