"""What an attempt to submit a part sees, and what the jobs it sees are worth to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import FINGERPRINT, epoch_of
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.steps import WaitFor

OnFinished = Literal["adopt", "rerun"]
OnAmbiguous = Literal["resolve", "fail"]


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
    answered: Mapping[str, bool] = field(default_factory=dict)
    """Whether answers lie where a dead job wrote, for those this process has looked into."""


Worth = Literal["live", "ending", "success", "partial", "unclear", "void"]


def worth(job: Job, sight: Sight) -> Worth:
    """Return what a job is worth: only a void one answered nothing, is over, and may be bought again."""
    if job.state == "JOB_STATE_CANCELLING":
        return "ending"
    if not job.ended:
        return "live"
    if job.rule.success:
        return "success"
    if job.counts.succeeded or job.rule.resumable:
        return "partial"
    if job.counts.succeeded is None and job.output_uri and job.rule.has_output:
        looked = sight.answered.get(job.name)
        return "unclear" if looked is None else "partial" if looked else "void"
    return "void"


def wanted_jobs(sight: Sight, rules: Rules, since: int) -> list[Job]:
    """Return the listed jobs of the present purchase."""
    return [
        job
        for job in sight.jobs or ()
        if job.labels.get(FINGERPRINT) == rules.fingerprint and epoch_of(job) >= since
    ]


def stale_jobs(sight: Sight, rules: Rules) -> list[Job]:
    """Return the listed jobs that run for other requests."""
    return [
        job
        for job in sight.jobs or ()
        if job.labels.get(FINGERPRINT) != rules.fingerprint and worth(job, sight) == "live"
    ]


def settling(sight: Sight, rules: Rules, why: str) -> WaitFor | None:
    """Return the wait until a listing shows everything from before the ledger's last change."""
    left = sight.written + rules.settle_seconds - sight.now
    return WaitFor(left, why) if left > 0 else None
