"""The report: counts that add up, or an error."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from airflow_batch_gemini.batch.canary import CanaryFigures
from airflow_batch_gemini.batch.estimate import Usd
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.pricing import PRICES
from airflow_batch_gemini.batch.report import Report, counts_of, round_of
from airflow_batch_gemini.batch.report_table import report_lines
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


def test_what_a_resumed_job_gave_back_is_neither_unknown_nor_a_duplicate() -> None:
    """Its lines are counted, by part, and told."""
    lines = {"lines": row("lines", 14), "unknown": row("unknown", 3)}
    others = [one for one in ROWS if one["outcome"] not in lines]
    more = [{**row("returned", 3), "part": 7}, {**row("anew", 1), "part": 7}]
    counted = tally([*others, *lines.values(), *more])
    assert (counted.unknown, counted.duplicates) == (0, COUNTED.duplicates)
    assert (counted.returned, counted.anew) == ({7: 3}, {7: 1})
    audit(counted, rows=10, landed=14)
    assert report(counted).to_dict()["returned_lines"] == 3
    assert ["lines", "of", "rows", "answered", "in", "an", "earlier", "round", "3"] in words(report(counted))
    with pytest.raises(OutputError, match="2 of 14 output lines"):
        audit(replace(counted, unknown=2), rows=10)


def test_a_report_tells_whether_a_job_left_a_whole_output() -> None:
    """One that does not name the job, or cannot be read, tells nothing."""
    once = replace(report(), duplicates=0)
    whole = once.to_json()
    assert [Report.tells_of_whole_output(whole, name) for name in ("j1", "j2", "j3")] == [True, True, False]
    assert not Report.tells_of_whole_output(replace(once, corrupt_lines=1).to_json(), "j1")
    assert not Report.tells_of_whole_output(replace(once, duplicates=1).to_json(), "j1")
    for data in (b"{", b"[]", b"{}", b'{"corrupt_lines": 0, "jobs": 3}'):
        assert not Report.tells_of_whole_output(data, "j1")


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


@pytest.mark.parametrize(
    ("answered", "cost"),
    [
        ([row("succeeded", 2, None, without_tokens=2)], None),
        ([row("succeeded", 3, "0", prompt_tokens=0, without_tokens=2)], None),
        ([row("succeeded", 2, "0.5", prompt_tokens=9, without_tokens=1)], Decimal("0.5")),
        ([row("failed", 2)], Decimal(0)),
    ],
    ids=["none says its tokens", "nor does one with a copy", "one does", "nothing was answered"],
)
def test_answers_that_all_keep_their_tokens_to_themselves_cost_nobody_knows_what(
    answered: list[dict[str, Any]], cost: Decimal | None
) -> None:
    """Which is not nothing."""
    counted = tally([*answered, row("lines", 2), row("unknown", 0), row("unverified", 0)])
    assert counted.cost_usd == cost
    assert report(counted).to_dict()["cost_usd"] == (None if cost is None else float(cost))


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


@pytest.mark.parametrize(
    ("expected", "ratio", "said"),
    [("0.02", 0.65, "65 %"), ("0.013", 1.0, "100 %"), ("0.0065", 2.0, "200 %"), ("0", None, None)],
)
def test_the_cost_is_told_against_the_estimate(expected: str, ratio: float | None, said: str | None) -> None:
    """Where something was expected."""
    usd = Usd(Decimal("0.001"), Decimal(expected), Decimal("1.5"))
    found = replace(report(), estimate=usd)
    document = json.loads(found.to_json())
    assert document["cost_against_estimate"] == ratio
    assert document["estimate"] == {"low": 0.001, "expected": float(expected), "high": 1.5}
    cells = dict(line.split("  ", 1) for line in found.lines())
    assert cells["estimate"].strip() == f"0.0010 to 1.50 USD, {float(expected):.4f} expected"
    assert cells.get("cost / expected", "").strip() == (said or "")


@pytest.mark.parametrize("model", ["gemini-3.5-flash", "gemini-9"])
def test_without_an_estimate_or_a_price_there_is_nothing_to_compare(model: str) -> None:
    """Not 0."""
    usd = None if model != "gemini-9" else Usd(Decimal(1), Decimal(2), Decimal(3))
    document = replace(report(model=model), estimate=usd).to_dict()
    assert document["cost_against_estimate"] is None
    assert not any("expected" in line and "/" in line for line in report(model=model).lines())


def test_durations_are_told_as_far_as_they_are_known() -> None:
    """In seconds for programs, in words for people."""
    document = report().to_dict()
    assert document["durations"] == {
        "submit": 4.0, "queue": None, "run": None, "land": 5.0, "load": 5.0, "whole": 99.0,
    }  # fmt: skip
    said = [line.split("  ")[0] for line in report().lines() if line.startswith("time")]
    assert said == ["time to submit", "time to land", "time to publish", "time in all"]
    assert report().lines()[-5].split() == ["time", "in", "all", "1", "min", "39", "s"]


def test_repeats_that_were_avoided_are_those_of_this_batch_and_of_earlier_ones() -> None:
    """Both are requests that nobody had to pay for."""
    assert replace(report(), copies=3, answered_before=4).to_dict()["repeats_avoided"] == 7


def before(number: int, cost: str | None) -> dict[str, Any]:
    counts = {outcome.value: 0 for outcome in Outcome} | {"succeeded": 5, "failed": 2}
    price = None if cost is None else Decimal(cost)
    return round_of({"round": number, "row_count": 7, "cost_usd": price, **counts})


@pytest.mark.parametrize(("cost", "total", "said"), [("0.1", 0.113, "0.113000 USD"), (None, None, "unknown")])
def test_rounds_are_told_one_by_one_and_their_cost_as_a_sum(
    cost: str | None, total: float | None, said: str
) -> None:
    """An unknown cost in it makes the sum unknown."""
    found = Report.of(
        COUNTED,
        batch_id="b",
        model="m",
        price=PRICES["gemini-3.5-flash"],
        jobs=[],
        tables={},
        stages=Stages(),
        round=1,
        rounds_before=[before(0, cost)],
        standing={"succeeded": 13, "failed": 2},
    )
    document = json.loads(found.to_json())
    assert [one["round"] for one in document["rounds"]] == [0, 1]
    assert [one["rows"] for one in document["rounds"]] == [7, 10]
    assert document["cost_usd_of_all_rounds"] == total
    cells = dict(line.split("  ", 1) for line in found.lines())
    assert cells["round 0"].strip().startswith("7 rows: 5 succeeded, 2 failed; ")
    assert cells["round 1"].strip().startswith("10 rows: 8 succeeded, 1 truncated, 1 missing; 0.013000 USD")
    assert cells["cost of all rounds"].strip() == said
    assert cells["rows of all rounds"].strip() == "15"


def test_one_round_alone_is_not_told_twice() -> None:
    """Its counts are the table."""
    assert [one["round"] for one in report().to_dict()["rounds"]] == [0]
    assert report().to_dict()["cost_usd_of_all_rounds"] == 0.013
    assert not any(line.startswith(("round", "cost of all")) for line in report().lines())


def test_a_round_without_those_before_it_does_not_say_what_all_cost() -> None:
    """Where no table of batches tells."""
    alone = replace(report(), round=1, rounds=[before(1, "0.1")])
    assert alone.to_dict()["cost_usd_of_all_rounds"] is None


@pytest.mark.parametrize(
    "document",
    [
        {"batch_id": "b", "rows": 3, "outcomes": {"succeeded": 3}},
        {"batch_id": "b", "rows": 3, "outcomes": {"succeeded": 3}, "durations": None, "estimate": None},
    ],
)
def test_a_report_of_an_earlier_version_is_shown_as_far_as_it_goes(document: dict[str, Any]) -> None:
    """What it does not say is left out, and its cost is unknown."""
    assert [line.split() for line in report_lines(document)] == [
        ["batch", "b"], ["rows", "3"], ["succeeded", "3"], ["cost", "unknown"],
    ]  # fmt: skip


def test_an_asset_event_of_a_later_round_says_how_all_rows_stand() -> None:
    """Its own counts are of the rows that were asked again."""
    later = replace(report(), round=2, standing={"succeeded": 99, "failed": 1})
    found = counts_of(later.to_dict())
    assert (found["round"], found["standing"]) == (2, {"succeeded": 99, "failed": 1})


def test_an_asset_event_carries_counts_only() -> None:
    """For whoever waits for the results."""
    assert counts_of(report().to_dict()) == {
        "batch_id": "b",
        "rows": 10,
        "succeeded": 8,
        "truncated": 1,
        "missing": 1,
        "cost_usd": 0.013,
    }
