"""Jobs that somebody should look at: they run for nobody, or were paid for and nobody landed what they answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import epoch_of
from airflow_batch_gemini.batch.ledger import Ledger

Kind = Literal["orphan", "unsettled", "unlanded", "unknown"]
"""``orphan``: it runs, and no ledger stands for it. ``unsettled``: it runs, and a submit that came to no end may still
adopt it. ``unlanded``: it answered rows that were paid for and are in no table. ``unknown``: nobody can find or read
its ledger."""

THEN: dict[Kind, str] = {
    "orphan": "cancel it: gemini-batch jobs cancel, or sweep --cancel",
    "unsettled": "clear its submit task, which adopts it; or cancel it",
    "unlanded": "clear its load task, and its submit task first where the ledger does not name the job",
    "unknown": "look into its workspace before you cancel it",
}
"""What to do about each."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A job to look at, and why."""

    job: Job
    kind: Kind
    why: str


def suspect(job: Job, ledger: Ledger | None) -> Suspect | None:
    """Return why somebody should look at *job*; ``None`` when all is well.

    :param ledger: of the job's part, read after the job was; ``None``: there is none, definitely.
    """
    if _is_live(job):
        return _running(job, ledger)
    return _over(job, ledger) if has_answers(job) is not False else None


def unknown(job: Job, why: str) -> Suspect | None:
    """Return what is to be said of a job whose ledger nobody can show; nothing when it is over and answered nothing."""
    if _is_live(job) or has_answers(job) is not False:
        return Suspect(job=job, kind="unknown", why=why)
    return None


def has_answers(job: Job) -> bool | None:
    """Whether an ended job answered rows; ``None``: it does not say, and its output has to be looked at."""
    if job.counts.succeeded is not None:
        return job.counts.succeeded > 0
    if job.rule.success:
        return True
    return None if job.output_uri and job.rule.has_output else False


def is_settled(job: Job, *, now: float, minutes: float) -> bool:
    """Whether nobody may be expected to come for *job* any more: it was made, or has ended, long enough ago."""
    since = job.create_time if _is_live(job) else job.end_time or job.update_time
    return since is None or now - since >= minutes * 60


def _is_live(job: Job) -> bool:
    return not job.ended or job.rule.resumable


def _running(job: Job, ledger: Ledger | None) -> Suspect | None:
    if job.state == "JOB_STATE_CANCELLING":
        return None  # somebody has seen to it
    if ledger is None:
        return Suspect(job=job, kind="orphan", why="its part has no ledger")
    if ledger.job_name == job.name:
        return None
    if ledger.job_name is not None:
        return Suspect(job=job, kind="orphan", why=f"the ledger stands for {ledger.job_name}")
    if ledger.state != "REFUSED" and epoch_of(job) >= ledger.since:
        return Suspect(
            job=job, kind="unsettled", why=f"the ledger is {ledger.state}: a submit came to no end"
        )
    return Suspect(job=job, kind="orphan", why=f"the ledger is {ledger.state} and names no job")


def _over(job: Job, ledger: Ledger | None) -> Suspect | None:
    if ledger is None:
        return Suspect(job=job, kind="unlanded", why="its part has no ledger")
    if ledger.job_name == job.name:
        if ledger.state == "LOADED":
            return None
        return Suspect(job=job, kind="unlanded", why=f"the ledger is {ledger.state}: no load came to its end")
    if epoch_of(job) < ledger.since:
        return None  # of an earlier purchase: that was landed or given up before the next one was made
    return Suspect(
        job=job,
        kind="unlanded",
        why=f"the ledger is {ledger.state} and stands for {ledger.job_name or 'no job'}",
    )
