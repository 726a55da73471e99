"""When a wait ends and how, over every state; how long to the next look."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.job import STATES, Counts, Job
from airflow_batch_gemini.batch.waiting import (
    SETTLING_SECONDS,
    SLOWEST_SECONDS,
    Progress,
    WaitEnd,
    end_of_wait,
    first_look,
    next_look,
    overdue_with_fate,
    progress,
)
from airflow_batch_gemini.exceptions import ServiceError

NAME = "projects/p/locations/us-central1/batchPredictionJobs/7"
UNKNOWN = "JOB_STATE_NEVER_HEARD_OF"
SUCCESSES = {"JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"}
OVER = SUCCESSES | {f"JOB_STATE_{word}" for word in ("FAILED", "CANCELLED", "EXPIRED", "PAUSED")}


def job(state: str, **changes: object) -> Job:
    return Job(name=NAME, state=state, **changes)  # type: ignore[arg-type]  # a table of odd cases


def end(seen: Job | None, **changes: object) -> WaitEnd | None:
    options: dict[str, object] = {"job_name": NAME, "now": 0.0, "deadline": 100.0}
    return end_of_wait(seen, **(options | changes))  # type: ignore[arg-type]  # a table of odd cases


@pytest.mark.parametrize("misses", [0, 5, 1000])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("state", [*STATES, UNKNOWN, None])
def test_every_state_ends_the_wait_as_the_table_says(state: str | None, late: bool, misses: int) -> None:
    """An end that was seen counts even after the deadline; misses end nothing."""
    over = end(job(state) if state else None, now=200.0 if late else 0.0, misses=misses)
    if state in OVER:
        assert over is not None
        assert over.status == ("success" if state in SUCCESSES else "failed")
        assert over.message.startswith(f"{state}: {NAME} ")
    elif late:
        assert over is not None
        assert over.status == "timeout"
    else:
        assert over is None


@pytest.mark.parametrize("state", [*STATES, None])
@pytest.mark.parametrize("late", [False, True])
def test_a_lost_job_ends_the_wait_whatever_was_seen_before(state: str | None, late: bool) -> None:
    """403 and 404 are no misses."""
    over = end(job(state) if state else None, now=200.0 if late else 0.0, lost="it was deleted")
    assert over is not None
    assert (over.status, over.message) == ("lost", "it was deleted")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (job("JOB_STATE_EXPIRED"), ["expired", "No row is counted as answered", "buy a new job"]),
        (
            job("JOB_STATE_FAILED", error_code=3, error_message="Failed to import data."),
            ["code 3: Failed to import data.", "No row is counted as answered", "Clear the submit task"],
        ),
        (
            job("JOB_STATE_FAILED", counts=Counts(succeeded=1200), output_uri="gs://b/out"),
            ["1,200 rows were answered, are paid for and kept at gs://b/out", 'on_finished="rerun"'],
        ),
        (
            job("JOB_STATE_FAILED", counts=Counts(succeeded=2)),
            ["2 rows were answered, are paid for and kept:"],
        ),
        (job("JOB_STATE_FAILED", output_uri="gs://b/out"), ["whatever was exported is kept at gs://b/out"]),
        (job("JOB_STATE_CANCELLED"), ["was cancelled."]),
        (job("JOB_STATE_PAUSED"), ["has not ended and may be resumed"]),
        (job("JOB_STATE_PARTIALLY_SUCCEEDED"), ["some results missing"]),
        (job("JOB_STATE_SUCCEEDED", counts=Counts(succeeded=3, failed=1)), ["3 done, 1 failed"]),
    ],
)
def test_a_message_says_what_happened_what_is_paid_and_what_to_do(seen: Job, words: list[str]) -> None:
    """A person at night knows what to do."""
    over = end(seen)
    assert over is not None
    assert [word for word in words if word not in over.message] == []


@pytest.mark.parametrize(
    ("seen", "misses", "words"),
    [
        (None, 4, ["it was never seen, and the last 4 looks failed", "runs on and is paid for"]),
        (job("JOB_STATE_RUNNING"), 0, ["it was JOB_STATE_RUNNING when last seen.", "cancel the job"]),
    ],
)
def test_a_timeout_says_that_the_job_runs_on(seen: Job | None, misses: int, words: list[str]) -> None:
    """Nothing is cancelled by waiting too short."""
    over = end(seen, now=100.0, misses=misses)
    assert over is not None
    assert over.status == "timeout"
    assert [word for word in words if word not in over.message] == []


def test_a_timeout_that_did_something_about_the_job_says_that_instead() -> None:
    """The facts stay, the fate is another."""
    over = end(job("JOB_STATE_RUNNING"), now=100.0)
    assert over is not None
    message = overdue_with_fate(over, "It was cancelled.")
    assert message.startswith(f"{NAME} did not end before the deadline; it was JOB_STATE_RUNNING")
    assert message.endswith("when last seen. It was cancelled.")


def test_an_error_message_of_any_length_fits_into_the_event() -> None:
    """The event lies in a database."""
    over = end(job("JOB_STATE_FAILED", error_code=3, error_message="x" * 100_000))
    assert over is not None
    assert len(json.dumps(over.to_event())) < 2000


def test_an_error_message_quotes_no_row() -> None:
    """Vertex AI imports with BigQuery, which quotes what it cannot read."""
    said = "Failed to import data: Could not parse 'a secret' as INT64. Field: n; Value: a secret"
    over = end(job("JOB_STATE_FAILED", error_code=3, error_message=said))
    assert over is not None
    assert "Failed to import data: Could not parse" in over.message
    assert "secret" not in json.dumps(over.to_event())


def test_an_event_carries_names_counts_and_a_message_and_comes_back_as_it_was() -> None:
    """No payload, no credential."""
    over = end(job("JOB_STATE_SUCCEEDED", counts=Counts(succeeded=3, failed=1), output_uri="gs://b/out"))
    assert over is not None
    event = json.loads(json.dumps(over.to_event()))
    assert set(event) == {"status", "job_name", "state", "counts", "output_uri", "message"}
    assert WaitEnd.from_event(event) == over
    assert over.result == {
        "job_name": NAME,
        "state": "JOB_STATE_SUCCEEDED",
        "succeeded": 3,
        "failed": 1,
        "incomplete": None,
        "output_uri": "gs://b/out",
    }


GOOD = {"status": "success", "job_name": NAME, "state": "S", "counts": {}, "output_uri": "", "message": "m"}


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "success"}, GOOD | {"status": "fine"}, GOOD | {"x": 1}]
)
def test_an_event_that_tells_nothing_is_an_error_and_never_a_success(event: dict[str, object] | None) -> None:
    """A retry looks again."""
    with pytest.raises(ServiceError, match="The job runs on"):
        WaitEnd.from_event(event)


JITTER = st.floats(0, 1, exclude_max=True)
INTERVAL = st.floats(0.01, 10_000)


@given(INTERVAL, JITTER)
def test_the_first_look_is_never_within_the_first_seconds(poll_interval: float, jitter: float) -> None:
    """And never sooner than the poll interval, up to half a minute."""
    delay = first_look(poll_interval=poll_interval, jitter=jitter)
    assert delay >= SETTLING_SECONDS
    assert delay >= min(poll_interval, 30)
    assert delay <= max(SETTLING_SECONDS, min(poll_interval, 30)) + poll_interval / 2


@given(INTERVAL, st.integers(0, 10_000), JITTER, st.floats(-1000, 1e6))
def test_misses_slow_the_looks_down_up_to_a_cap_and_never_past_the_deadline(
    poll_interval: float, misses: int, jitter: float, left: float
) -> None:
    """Backoff is bounded on both sides."""
    delay = next_look(poll_interval=poll_interval, misses=misses, jitter=jitter, left=left)
    assert 0 < delay <= max(poll_interval, SLOWEST_SECONDS) * 1.1
    assert delay <= max(left, 1.0)
    more = next_look(poll_interval=poll_interval, misses=misses + 1, jitter=jitter, left=left)
    assert more >= delay


def test_without_misses_looks_come_at_the_poll_interval_on_average() -> None:
    """Jitter spreads and takes nothing away."""
    delays = [next_look(poll_interval=30, misses=0, jitter=n / 100 + 0.005, left=1e6) for n in range(100)]
    assert sum(delays) / 100 == pytest.approx(30)
    assert min(delays) < 28
    assert max(delays) > 32


def test_progress_is_said_on_change_and_at_most_once_a_minute() -> None:
    """A new state at once; new counts once a minute; nothing new never."""
    pending = job("JOB_STATE_PENDING", create_time=1000.0)
    running = job("JOB_STATE_RUNNING", create_time=1000.0, counts=Counts(succeeded=1))
    further = job("JOB_STATE_RUNNING", create_time=1000.0, counts=Counts(succeeded=2))
    first = progress(pending, now=1010.0, said=None)
    assert first is not None
    assert progress(pending, now=9999.0, said=first) is None
    second = progress(running, now=1011.0, said=first)
    assert second is not None
    assert progress(further, now=1030.0, said=second) is None
    third = progress(further, now=1071.0, said=second)
    assert third is not None
    assert third.line(further) == f"JOB_STATE_RUNNING: {NAME}: 2 done after 1 min 11 s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "after 5 s"), (7260, "after 2 h 1 min"), (-3, "after 0 s"), (None, "yet")]
)
def test_the_time_since_creation_reads_as_a_person_says_it(seconds: float | None, text: str) -> None:
    """Unknown is not said; clocks may differ by a little."""
    seen = job("JOB_STATE_PENDING", create_time=None if seconds is None else 1000.0)
    said = Progress(state=seen.state, counts=seen.counts, at=1000.0 + (seconds or 0))
    assert said.line(seen).endswith(text)
