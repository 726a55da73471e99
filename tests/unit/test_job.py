"""The table over Google's twelve job states, and a job as a value."""

from __future__ import annotations

import pytest

from airflow_batch_gemini.batch.job import STATES, Counts, Job, state_rule

GOOGLE = [
    "UNSPECIFIED",
    "QUEUED",
    "PENDING",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
    "CANCELLING",
    "CANCELLED",
    "PAUSED",
    "EXPIRED",
    "UPDATING",
    "PARTIALLY_SUCCEEDED",
]


def test_every_state_of_google_has_a_rule() -> None:
    """Twelve words, no more."""
    assert set(STATES) == {f"JOB_STATE_{word}" for word in GOOGLE}


def test_the_words_are_those_of_the_installed_client() -> None:
    """A state that Google adds shows up here."""
    from google.cloud.aiplatform_v1 import JobState

    assert set(STATES) == {state.name for state in JobState}


@pytest.mark.parametrize(
    ("word", "cut_short"),
    [(word, word in {"FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"}) for word in GOOGLE],
)
def test_a_job_that_has_ended_may_have_left_rows_to_another_one(word: str, cut_short: bool) -> None:
    """Not one that succeeded, nor one that is merely paused."""
    rule = state_rule(f"JOB_STATE_{word}")
    assert rule.cut_short is cut_short
    assert rule.has_output or not rule.cut_short


@pytest.mark.parametrize(
    ("word", "ends", "success"),
    [
        ("UNSPECIFIED", False, False),
        ("QUEUED", False, False),
        ("PENDING", False, False),
        ("RUNNING", False, False),
        ("UPDATING", False, False),
        ("CANCELLING", False, False),
        ("PAUSED", True, False),
        ("SUCCEEDED", True, True),
        ("PARTIALLY_SUCCEEDED", True, True),
        ("FAILED", True, False),
        ("CANCELLED", True, False),
        ("EXPIRED", True, False),
        ("NEVER_HEARD_OF", False, False),
    ],
)
def test_a_state_ends_the_wait_or_not_and_is_a_success_or_not(word: str, ends: bool, success: bool) -> None:
    """PAUSED ends the wait and is never a success; what nobody knows is looked at again."""
    job = Job(name="j", state=f"JOB_STATE_{word}")
    assert (job.ended, job.rule.success) == (ends, success)
    assert state_rule(job.state) is job.rule


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (Counts(), "no counts yet"),
        (Counts(succeeded=1200, failed=0, incomplete=3), "1,200 done, 0 failed, 3 to do"),
        (Counts(succeeded=110, failed=0, incomplete=0), "110 done, 0 failed"),
        (Counts(failed=2), "2 failed"),
    ],
)
def test_counts_read_as_a_person_says_them(counts: Counts, text: str) -> None:
    """What is unknown is not said."""
    assert str(counts) == text
