"""The whole protocol, real code, in a bad world: whatever dies, whoever races, one paid job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from submission_world import run_seeds, story
from weaker import without_fencing, without_listing, without_settling

from airflow_batch_gemini.batch import submission
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.steps import Step
from airflow_batch_gemini.batch.submission import Rules, Sight, next_step
from airflow_batch_gemini.operators import _submission

pytestmark = pytest.mark.proof

SCHEDULES = 100_000
SHARES = 20
ENOUGH = 6_000
"""Schedules that find a double payment where there is one to find."""


@pytest.mark.parametrize("share", range(SHARES))
def test_no_misfortune_pays_twice_and_every_story_ends_with_the_one_job(share: int) -> None:
    """Crashes, stalls, lost and late answers, quota, lagging listings, jobs that die, somebody who gives up."""
    each = SCHEDULES // SHARES
    summary = run_seeds(share * each, each)
    print(summary)  # noqa: T201  # what was tried
    assert summary.schedules == each
    assert not summary.failing, f"{summary}\n{story(next(iter(summary.failing)))}"
    assert len(summary.kills) > 30, "not every point was hit"


def test_a_seed_replays_with_its_whole_story() -> None:
    """Telling it changes nothing of it, and costs nothing as long as nobody asks."""
    told = story(7)
    assert told == story(7)
    assert told.startswith("seed 7: as it should be\n")
    assert "write INTENT" in told
    assert (run_seeds(7, 1).posts == 0) == ("is made from" not in told)


def _paid_twice() -> bool:
    return any(run_seeds(first, 500).double_payments for first in range(0, ENOUGH, 500))


@pytest.mark.parametrize("weaker", [without_settling, without_listing, without_fencing])
def test_the_world_is_bad_enough_to_pay_twice_when_one_precaution_is_missing(
    weaker: Callable[[Sight, Rules], Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulator that finds nothing proves nothing."""
    monkeypatch.setattr(_submission, "next_step", weaker)
    assert _paid_twice()


def test_the_world_is_bad_enough_to_pay_twice_when_a_dead_jobs_answers_are_not_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that was given up, or that died without counts, has answered rows all the same."""
    real = submission.worth

    def blind(job: Job, sight: Sight) -> str:
        found = real(job, sight)
        return "void" if found == "unclear" else found

    monkeypatch.setattr(submission, "worth", blind)
    assert _paid_twice()


def _without_giving_way(sight: Sight, rules: Rules) -> Step:
    return next_step(sight, replace(rules, owner="z"))


def test_the_world_is_bad_enough_to_cancel_the_wrong_job_when_nobody_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older attempt that wants other requests stops the newer one's job."""
    monkeypatch.setattr(_submission, "next_step", _without_giving_way)
    found = run_seeds(0, 4500).failing.values()
    assert any("which the ledger counts on" in text for wrong in found for text in wrong)
