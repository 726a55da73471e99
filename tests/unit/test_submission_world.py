"""The whole protocol, real code, in a bad world: whatever dies, whoever races, one paid job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from submission_world import manifest, tragedy

from airflow_batch_gemini.batch.steps import DeleteInputs, Step
from airflow_batch_gemini.batch.submission import Rules, Sight, next_step
from airflow_batch_gemini.operators import _submission

SEEDS = 3000
SHARES = 6


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("changing", [False, True])
def test_no_misfortune_pays_twice_and_every_story_ends_with_the_one_job(changing: bool, share: int) -> None:
    """Crashes, stalls, lost and late answers, quota, lagging listings; four attempts and a last one in peace."""
    for seed in range(share, SEEDS, SHARES):
        world, job = tragedy(seed, changing=changing)
        story = f"seed {seed}\n" + "\n".join(world.trace)
        assert world.billed(manifest("new").fingerprint(0)) <= 1, story
        assert world.billed(manifest("old").fingerprint(0)) <= 1, story
        assert job.state == "JOB_STATE_SUCCEEDED", story


def _without_settling(sight: Sight, rules: Rules) -> Step:
    return next_step(replace(sight, now=sight.written + 1e6), rules)


def _without_listing(sight: Sight, rules: Rules) -> Step:
    fenced = sight.ledger is not None and sight.ledger.state == "FENCED"
    return next_step(replace(sight, jobs=(), now=sight.written + 1e6) if fenced else sight, rules)


def _without_fencing(sight: Sight, rules: Rules) -> Step:
    step = next_step(sight, rules)
    return DeleteInputs(()) if isinstance(step, DeleteInputs) else step


@pytest.mark.parametrize("weaker", [_without_settling, _without_listing, _without_fencing])
def test_the_world_is_bad_enough_to_pay_twice_when_one_precaution_is_missing(
    weaker: Callable[[Sight, Rules], Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulator that finds nothing proves nothing."""
    monkeypatch.setattr(_submission, "next_step", weaker)
    stories = (tragedy(seed)[0] for seed in range(SEEDS))
    assert any(world.billed(manifest().fingerprint(0)) > 1 for world in stories)
