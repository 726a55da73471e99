"""Paying once: what one attempt to submit a part does next, decided from what it knows.

A create request cannot be repeated safely: one whose answer is lost may have made a job, and an attempt believed
dead may still post. So nobody posts who has not written an intent into the ledger; an intent whose fate is unknown is
first looked for by its labels, then fenced off by deleting the input its job would read (a job without input fails at
import and bills nothing), and only when a listing made long enough after that shows no job, the next epoch may post.

:func:`next_step` is all of that decision. It sees frozen values only; ``operators`` obeys it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import NONCE, epoch_of
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.sight import (
    OnAmbiguous,
    OnFinished,
    Rules,
    Sight,
    settling,
    stale_jobs,
    wanted_jobs,
    worth,
)
from airflow_batch_gemini.batch.steps import (
    Adopt,
    AskHuman,
    Cancel,
    DeleteInputs,
    Fence,
    GiveWay,
    ListJobs,
    LookAt,
    LookForAnswers,
    Post,
    Step,
    WaitFor,
    WriteIntent,
)

__all__ = ["Ledger", "OnAmbiguous", "OnFinished", "Rules", "Sight", "next_step"]

LOOK_AGAIN_SECONDS = 30.0
"""The pause between looks at a job that is being cancelled."""
_NOT_STARTED = frozenset({"JOB_STATE_UNSPECIFIED", "JOB_STATE_QUEUED", "JOB_STATE_PENDING"})


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
    since = _since(ledger, rules, ledger.epoch + 1)
    return _found(sight, rules, since) or _unanswered(ledger, sight, rules, since)


def _unanswered(ledger: Ledger, sight: Sight, rules: Rules, since: int) -> Step:
    """No listed job will do for an intent that may have been posted."""
    if any(job.labels.get(NONCE) == ledger.nonce for job in sight.jobs or ()):
        # Its one post is known, and is over or for other requests.
        return _hidden(sight, rules) or WriteIntent(ledger.epoch + 1, since)
    if rules.on_ambiguous == "fail":
        return AskHuman()
    return settling(
        sight, rules, "an earlier post may have made a job that listings do not show yet"
    ) or Fence(since)


def _refused(ledger: Ledger, sight: Sight, rules: Rules) -> Step:
    """Nothing is outstanding: the next epoch may post, unless requests that were bought before are wanted again."""
    if ledger.fingerprint != rules.fingerprint:
        return _other_purchase(sight, rules, epoch=ledger.epoch)
    return WriteIntent(ledger.epoch + 1, ledger.since)


def _fencing(ledger: Ledger, _sight: Sight, _rules: Rules) -> Step:
    """Whoever took over may have died half-way; deleting twice is as good as once."""
    return DeleteInputs(ledger.fences)


def _fenced(ledger: Ledger, sight: Sight, rules: Rules) -> Step:
    """Earlier posts are fenced off: what was posted before that shows in a listing once it had time to."""
    if sight.jobs is None:
        return ListJobs()
    since = _since(ledger, rules, ledger.epoch)
    return (
        _found(sight, rules, since)
        or settling(sight, rules, "a job posted before the fence may not show in listings yet")
        or WriteIntent(ledger.epoch, since)
    )


def _with_job(ledger: Ledger, sight: Sight, rules: Rules) -> Step:
    """The ledger names a job."""
    if ledger.fingerprint != rules.fingerprint:
        return _other_purchase(sight, rules, epoch=ledger.epoch)
    if sight.jobs is None:
        return LookAt(ledger.job_name or "")
    job = sight.jobs[0]
    kind = worth(job, sight)
    given_up = ledger.state in {"CANCELLING", "CANCELLED"}
    if kind == "ending" or (kind == "live" and given_up):
        return _cancel_or_wait(job, sight, "an earlier attempt gave it up")
    if kind == "unclear" and rules.on_finished == "adopt":
        return LookForAnswers(job)
    void = kind == "void" or (kind in {"partial", "unclear"} and rules.on_finished == "rerun")
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
    stale = () if sight.ledger else tuple(stale_jobs(sight, rules))
    step = _found(sight, rules, 1, keep) or _hidden(sight, rules) or WriteIntent(newest, newest, stale=stale)
    return replace(step, epoch=newest) if isinstance(step, Adopt) else step


_RANK: Mapping[str, int] = {"success": 0, "live": 1, "partial": 2}
"""Which of several jobs to keep: answers already paid for, then the oldest that will answer."""


def _found(sight: Sight, rules: Rules, since: int, keep: Mapping[str, int] = _RANK) -> Step | None:
    """Return what to do about the listed jobs of this purchase; ``None`` when none of them will do."""
    ledger = sight.ledger
    for job in stale_jobs(sight, rules):
        if ledger and epoch_of(job) <= _reach(ledger) and job.name not in sight.cancelled:
            return Cancel(job, "it answers requests that have changed since")
    mine = wanted_jobs(sight, rules, since)
    # The inputs of earlier epochs are gone, so that what has not started yet can only fail.
    doomed = [job for job in mine if ledger and epoch_of(job) < ledger.epoch and job.state in _NOT_STARTED]
    ranked = sorted(
        (job for job in mine if job not in doomed and worth(job, sight) in keep),
        key=lambda job: (keep[worth(job, sight)], job.create_time or 0.0, job.name),
    )
    if ranked:
        spare = tuple(job for job in ranked[1:] if worth(job, sight) == "live")
        return Adopt(ranked[0], spare, _unaccounted(ledger, ranked[0]))
    for job in mine:
        if worth(job, sight) == "unclear" and "partial" in keep:
            return LookForAnswers(job)
    if doomed:
        return _cancel_or_wait(doomed[0], sight, "its input was fenced off before it started")
    ending = [job for job in mine if worth(job, sight) == "ending"]
    return _cancel_or_wait(ending[0], sight, "it is being cancelled") if ending else None


def _since(ledger: Ledger, rules: Rules, anew: int) -> int:
    """Return the first epoch whose jobs count. Requests that come back after others find what was bought for them."""
    if ledger.fingerprint == rules.fingerprint:
        return ledger.since
    return 1 if rules.on_finished == "adopt" else anew


def _reach(ledger: Ledger) -> int:
    """Return the last epoch with a post as far as *ledger* knows: a job of a later one is its overtaker's."""
    return ledger.epoch - (ledger.state == "FENCED")


def _hidden(sight: Sight, rules: Rules) -> WaitFor | None:
    """Return the wait for jobs that were bought for our requests before the ledger's others were."""
    ledger = sight.ledger
    if ledger is None or ledger.fingerprint == rules.fingerprint or ledger.epoch == 1:
        return None
    return settling(sight, rules, "a job bought earlier for the same requests may not show in listings yet")


def _cancel_or_wait(job: Job, sight: Sight, why: str) -> Step:
    if job.name in sight.cancelled or job.state == "JOB_STATE_CANCELLING":
        return WaitFor(LOOK_AGAIN_SECONDS, f"{job.name} is being cancelled and may still succeed")
    return Cancel(job, why)


def _unaccounted(ledger: Ledger | None, job: Job) -> tuple[str, ...]:
    """Return the inputs of posts that may still come although *job* is taken."""
    if ledger is None or ledger.state != "INTENT" or job.labels.get(NONCE) == ledger.nonce:
        return ()
    return (ledger.input_uri,)
