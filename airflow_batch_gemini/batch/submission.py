"""Paying once: what one attempt to submit a part does next, decided from what it knows.

A create request cannot be repeated safely: one whose answer is lost may have made a job, and an attempt believed
dead may still post. So nobody posts who has not written an intent into the ledger; an intent whose fate is unknown is
first looked for by its labels, then fenced off by deleting the input its job would read (a job without input fails at
import and bills nothing), and only when a listing made long enough after that shows no job, the next epoch may post.

:func:`next_step` is all of that decision. It sees frozen values only; ``operators`` obeys it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import FINGERPRINT, NONCE, epoch_of
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.steps import (
    Adopt,
    AskHuman,
    Cancel,
    DeleteInputs,
    Fence,
    GiveWay,
    ListJobs,
    LookAt,
    Post,
    Step,
    WaitFor,
    WriteIntent,
)

__all__ = ["Ledger", "OnAmbiguous", "OnFinished", "Rules", "Sight", "next_step"]

OnFinished = Literal["adopt", "rerun"]
OnAmbiguous = Literal["resolve", "fail"]

LOOK_AGAIN_SECONDS = 30.0
"""The pause between looks at a job that is being cancelled."""
_NOT_STARTED = frozenset({"JOB_STATE_UNSPECIFIED", "JOB_STATE_QUEUED", "JOB_STATE_PENDING"})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who asks, for what, and what the user wants."""

    owner: str
    fingerprint: str
    settle_seconds: float
    """Longer than a new job may be missing from listings."""
    on_finished: OnFinished = "adopt"
    on_ambiguous: OnAmbiguous = "resolve"


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What an attempt knows since it last read or wrote the ledger."""

    ledger: Ledger | None
    written: float = 0.0
    """When the ledger object last changed, by the storage's clock."""
    now: float = 0.0
    """The storage's clock right before the jobs were listed."""
    jobs: tuple[Job, ...] | None = None
    """The part's jobs, by label and by the ledger; ``None`` when nobody has asked yet."""
    armed: bool = False
    """This process wrote this intent and has not posted for it."""
    cancelled: frozenset[str] = frozenset()
    """Jobs this process has asked Vertex AI to cancel."""


def next_step(sight: Sight, rules: Rules) -> Step:
    """Return what an attempt that follows *rules* does next, given what it sees."""
    ledger = sight.ledger
    if ledger is None:
        return _other_purchase(sight, rules, epoch=0)
    if ledger.owner > rules.owner:
        return GiveWay(ledger.owner)
    return _DECISIONS.get(ledger.state, _with_job)(ledger, sight, rules)


def _intent(ledger: Ledger, sight: Sight, rules: Rules) -> Step:
    """An intent to pay: ours and fresh, or one whose fate must be found out first."""
    if sight.armed:
        return Post()
    if sight.jobs is None:
        return ListJobs()
    since = ledger.since if ledger.fingerprint == rules.fingerprint else ledger.epoch + 1
    return _found(sight, rules, since) or _unanswered(ledger, sight, rules, since)


def _unanswered(ledger: Ledger, sight: Sight, rules: Rules, since: int) -> Step:
    """No listed job will do for an intent that may have been posted."""
    if any(job.labels.get(NONCE) == ledger.nonce for job in sight.jobs or ()):
        return WriteIntent(
            ledger.epoch + 1, since
        )  # its one post is known, and is over or for other requests
    if rules.on_ambiguous == "fail":
        return AskHuman()
    left = sight.written + rules.settle_seconds - sight.now
    if left > 0:
        return WaitFor(left, "an earlier post may have made a job that listings do not show yet")
    return Fence(since)


def _refused(ledger: Ledger, _sight: Sight, rules: Rules) -> Step:
    """Nothing is outstanding: the next epoch may post."""
    return WriteIntent(
        ledger.epoch + 1, ledger.since if ledger.fingerprint == rules.fingerprint else ledger.epoch + 1
    )


def _fencing(ledger: Ledger, _sight: Sight, _rules: Rules) -> Step:
    """Whoever took over may have died half-way; deleting twice is as good as once."""
    return DeleteInputs(ledger.fences)


def _fenced(ledger: Ledger, sight: Sight, rules: Rules) -> Step:
    """Earlier posts are fenced off: what was posted before that shows in a listing once it had time to."""
    if sight.jobs is None:
        return ListJobs()
    since = ledger.since if ledger.fingerprint == rules.fingerprint else ledger.epoch
    for job in _mine(sight, rules, since):
        if job.state in _NOT_STARTED:  # its input is gone: it can only fail, and has not cost anything
            return _cancel_or_wait(job, sight, "its input was fenced off before it started")
    if step := _found(sight, rules, since):
        return step
    left = sight.written + rules.settle_seconds - sight.now
    if left > 0:
        return WaitFor(left, "a job posted before the fence may not show in listings yet")
    return WriteIntent(ledger.epoch, since)


def _with_job(ledger: Ledger, sight: Sight, rules: Rules) -> Step:
    """The ledger names a job."""
    if ledger.fingerprint != rules.fingerprint:
        return _other_purchase(sight, rules, epoch=ledger.epoch)
    if sight.jobs is None:
        return LookAt(ledger.job_name or "")
    job = sight.jobs[0]
    kind = _kind(job)
    given_up = ledger.state in {"CANCELLING", "CANCELLED"}
    if kind == "ending" or (kind == "live" and given_up):
        return _cancel_or_wait(job, sight, "an earlier attempt gave it up")
    void = kind == "void" or (kind == "partial" and (given_up or rules.on_finished == "rerun"))
    # Answers that nobody has loaded yet are never bought again, or each retry of a rerun would pay.
    rerun = kind == "success" and rules.on_finished == "rerun" and ledger.state == "LOADED"
    if void or rerun:
        return WriteIntent(ledger.epoch + 1, ledger.epoch + 1)
    return Adopt(job)


_DECISIONS: Mapping[str, Callable[[Ledger, Sight, Rules], Step]] = {
    "INTENT": _intent,
    "REFUSED": _refused,
    "FENCING": _fencing,
    "FENCED": _fenced,
}


def _other_purchase(sight: Sight, rules: Rules, *, epoch: int) -> Step:
    """No ledger, or one about other requests: stop what runs for those, then find or buy ours."""
    if sight.jobs is None:
        return ListJobs()
    newest = max([epoch, *map(epoch_of, sight.jobs)]) + 1
    keep = _RANK if rules.on_finished == "adopt" else {"live": 1}
    step = _found(sight, rules, 1, keep) or WriteIntent(newest, newest)
    return replace(step, epoch=newest) if isinstance(step, Adopt) else step


_RANK: Mapping[str, int] = {"success": 0, "live": 1, "partial": 2}
"""Which of several jobs to keep: answers already paid for, then the oldest that will answer."""


def _found(sight: Sight, rules: Rules, since: int, keep: Mapping[str, int] = _RANK) -> Step | None:
    """Return what to do about the listed jobs of this purchase; ``None`` when none of them will do."""
    for job in sight.jobs or ():
        stale = job.labels.get(FINGERPRINT) != rules.fingerprint and _kind(job) == "live"
        if stale and job.name not in sight.cancelled:
            return Cancel(job, "it answers requests that have changed since")
    mine = _mine(sight, rules, since)
    ranked = sorted(
        (job for job in mine if _kind(job) in keep),
        key=lambda job: (keep[_kind(job)], job.create_time or 0.0, job.name),
    )
    if ranked:
        spare = tuple(job for job in ranked[1:] if _kind(job) == "live")
        return Adopt(ranked[0], spare, _unaccounted(sight.ledger, ranked[0]))
    ending = [job for job in mine if _kind(job) == "ending"]
    return _cancel_or_wait(ending[0], sight, "it is being cancelled") if ending else None


def _kind(job: Job) -> Literal["live", "ending", "success", "partial", "void"]:
    """Return what a job is worth: only a void one answered nothing, is over, and may be bought again."""
    if job.state == "JOB_STATE_CANCELLING":
        return "ending"
    if not job.ended:
        return "live"
    if job.rule.success:
        return "success"
    return "partial" if job.counts.succeeded or job.state == "JOB_STATE_PAUSED" else "void"


def _mine(sight: Sight, rules: Rules, since: int) -> list[Job]:
    """Return the listed jobs of the present purchase."""
    jobs: Iterable[Job] = sight.jobs or ()
    return [
        job for job in jobs if job.labels.get(FINGERPRINT) == rules.fingerprint and epoch_of(job) >= since
    ]


def _cancel_or_wait(job: Job, sight: Sight, why: str) -> Step:
    if job.name in sight.cancelled or job.state == "JOB_STATE_CANCELLING":
        return WaitFor(LOOK_AGAIN_SECONDS, f"{job.name} is being cancelled and may still succeed")
    return Cancel(job, why)


def _unaccounted(ledger: Ledger | None, job: Job) -> tuple[str, ...]:
    """Return the inputs of posts that may still come although *job* is taken."""
    if ledger is None or ledger.state != "INTENT" or job.labels.get(NONCE) == ledger.nonce:
        return ()
    return (ledger.input_uri,)
