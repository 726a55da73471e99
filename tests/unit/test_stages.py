"""When a batch came to which stage: of several jobs the first start and the last end."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.stages import DURATIONS, Stages

ALL: dict[str, float | None] = {
    "prepared": 10.0, "submitted": 12.5, "started": 100.0, "ended": 1000.0, "landed": 1010.0, "loaded": 1020.25,
}  # fmt: skip


def job(created: float | None, started: float | None, ended: float | None) -> Job:
    return Job(name="j", state="JOB_STATE_SUCCEEDED", create_time=created, start_time=started, end_time=ended)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([job(5, 6, 7)], (5, 6, 7)),
        ([job(5, 9, 11), job(4, 8, 30), job(6, None, None)], (4, 8, 30)),
        ([job(None, None, None)], (None, None, None)),
        ([], (None, None, None)),
    ],
)
def test_of_several_jobs_the_first_start_and_the_last_end_count(jobs: list[Job], expected: Any) -> None:
    """What no job says is unknown."""
    found = Stages.of(prepared_at="1970-01-01T00:00:03+00:00", jobs=jobs, landed=40.0, loaded=50.0)
    assert (found.submitted, found.started, found.ended) == expected
    assert (found.prepared, found.landed, found.loaded) == (3.0, 40.0, 50.0)


def test_the_stages_add_up_to_the_whole() -> None:
    """Each begins where the one before it ends."""
    found = Stages(**ALL).durations()
    assert found == {
        "submit": 2.5,
        "queue": 87.5,
        "run": 900.0,
        "land": 10.0,
        "load": 10.25,
        "whole": 1010.25,
    }
    assert sum(found[name] or 0 for name in DURATIONS) == found["whole"]


@pytest.mark.parametrize("unknown", ALL)
def test_a_stage_whose_begin_or_end_nobody_knows_has_no_length(unknown: str) -> None:
    """The others keep theirs."""
    names, whole = list(ALL), Stages(**ALL).durations()
    found = Stages(**{**ALL, unknown: None}).durations()
    place = names.index(unknown)
    without = {name for at, name in enumerate(DURATIONS) if place in (at, at + 1)}
    without |= {"whole"} if unknown in ("prepared", "loaded") else set()
    assert found == {name: None if name in without else length for name, length in whole.items()}


def test_a_stage_that_was_over_before_the_one_before_it_took_no_time() -> None:
    """A job that was adopted is older than the preparation that adopted it."""
    assert Stages(prepared=100.0, submitted=20.0).durations()["submit"] == 0.0


def test_a_time_of_preparation_that_cannot_be_read_is_unknown() -> None:
    """It is informative only."""
    assert Stages.of(prepared_at="yesterday", jobs=[], landed=None).prepared is None
