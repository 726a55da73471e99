"""Every order of events of a few attempts: no two paid jobs for the same requests, and no attempt without an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from submission_model import Model, explore
from weaker import without_fencing, without_listing, without_settling

from airflow_batch_gemini.batch import submission
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.steps import Step
from airflow_batch_gemini.batch.submission import Rules, Sight, next_step

pytestmark = pytest.mark.proof


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much may happen. Stalls, crashes, zombies, refusals and lagging listings are without bounds."""

    wants: tuple[int, ...]
    lost: int
    deaths: int = 0
    gives_up: bool = False
    cancels: bool = True
    """Whether a cancelled job that the ledger counts on is wrong, too."""
    floor: int
    """So many states at least, or the model has shrunk."""

    def __str__(self) -> str:
        words = [f"{len(self.wants)} attempts wanting {self.wants}", f"{self.lost} lost answers of posts"]
        words += [f"{self.deaths} jobs that die unanswered"] * bool(self.deaths)
        return ", ".join(words + ["a user who gives up"] * self.gives_up)


BOUNDS = [
    Bounds(wants=(0, 0, 0, 0), lost=1, floor=10_000),
    Bounds(wants=(0, 0, 0), lost=2, deaths=1, gives_up=True, floor=50_000),
    Bounds(wants=(0, 1, 1), lost=1, floor=30_000),
    Bounds(wants=(0, 1, 0), lost=1, cancels=False, floor=15_000),
]
"""Together they fit into CI. What they leave out (four attempts and a second lost answer, a user who gives up among
four) is a matter of time: the module runs on its own within any bounds."""


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_no_reachable_state_has_two_paid_jobs_and_from_each_an_undisturbed_attempt_ends_with_one(
    bounds: Bounds,
) -> None:
    """The number of states is printed."""
    model = Model(bounds.wants, bounds.lost, bounds.deaths, bounds.gives_up)
    end = explore(model, cancels=bounds.cancels)
    print(f"\n{bounds}: {end.states:,} states, {end.worlds:,} different worlds")  # noqa: T201  # how much was proven
    assert not end.wrong, "\n".join([end.wrong, *end.story])
    assert end.states >= bounds.floor


def _posting_on_any_intent(sight: Sight, rules: Rules) -> Step:
    intent = sight.ledger is not None and sight.ledger.state == "INTENT"
    return next_step(replace(sight, armed=intent), rules)


@pytest.mark.parametrize(
    "weaker", [without_settling, without_listing, without_fencing, _posting_on_any_intent]
)
def test_it_finds_the_double_payment_when_one_precaution_is_missing(
    weaker: Callable[[Sight, Rules], Step],
) -> None:
    """A model that finds nothing proves nothing."""
    end = explore(Model((0, 0), lost=1, decide=weaker), ends=False)
    assert end.wrong == "paid twice"
    assert any("posts 1" in event for event in end.story)


def test_it_finds_the_double_payment_when_a_job_is_adopted_whose_input_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A late post of a fenced epoch must not be taken for the job, while the present epoch's own is still hidden."""
    monkeypatch.setattr(submission, "_NOT_STARTED", frozenset())
    assert explore(Model((0, 0, 0), lost=2), ends=False).wrong == "paid twice"


def test_it_finds_the_double_payment_when_answers_of_dead_jobs_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given up or dead without counts: what it answered is paid for."""
    real = submission.worth

    def blind(job: Job, sight: Sight) -> str:
        worth = real(job, sight)
        return "void" if worth in {"partial", "unclear"} else worth

    monkeypatch.setattr(submission, "worth", blind)
    assert explore(Model((0, 0), lost=0, gives_up=True), ends=False).wrong == "paid twice"


@pytest.mark.parametrize("forgets", ["_since", "_hidden"])
def test_it_finds_the_double_payment_when_requests_that_come_back_are_taken_for_new(
    monkeypatch: pytest.MonkeyPatch, forgets: str
) -> None:
    """Old, new, old: what was bought for the old ones is there, or not listed yet."""
    if forgets == "_since":
        monkeypatch.setattr(submission, "_since", lambda _ledger, _rules, anew: anew)
    else:
        monkeypatch.setattr(submission, "_hidden", lambda _sight, _rules: None)
    end = explore(Model((0, 1, 0), lost=1), ends=False, cancels=False)
    assert end.wrong == "paid twice"


def test_it_finds_the_wrong_cancellation_when_an_overtaken_attempt_may_cancel_later_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An attempt that wants the old requests wakes up and sees the job for the new ones."""
    monkeypatch.setattr(submission, "_reach", lambda _ledger: 10**9)
    end = explore(Model((0, 1), lost=1, prune=False), ends=False)
    assert "which the ledger counts on" in end.wrong


def test_giving_way_keeps_older_attempts_from_stopping_the_newer_ones_job() -> None:
    """It is not what keeps the money together: compare-and-set and the fence do that without it."""

    def stubborn(sight: Sight, rules: Rules) -> Step:
        return next_step(sight, replace(rules, owner="9"))

    same = explore(Model((0, 0), lost=1, decide=stubborn, give_way=False), ends=False)
    assert (same.wrong, same.states > 300) == ("", True)
    other = explore(Model((0, 1), lost=1, decide=stubborn, give_way=False), ends=False)
    assert "which the ledger counts on" in other.wrong
