"""What a load starts from: for every part the one job that was paid for, and where its answers lie."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Manifest, Part
from airflow_batch_gemini.exceptions import OutputError


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """A part and the job that answered it."""

    part: Part
    epoch: int
    job: Job
    output_uri: str | None
    """``gs://`` folder or ``bq://`` table; ``None`` when the job ended without writing any."""


def paid_ledger(manifest: Manifest, part: int, ledger: Ledger | None) -> Ledger:
    """Return the ledger of *part* if it names a job for these very requests."""
    if ledger is None or ledger.job_name is None:
        state = "has no ledger" if ledger is None else f"is {ledger.state}"
        raise OutputError(
            f"Part {part} {state}: no job was submitted for it. Run submit for every part first."
        )
    if ledger.fingerprint != manifest.fingerprint(part):
        raise OutputError(
            f"Part {part} was prepared anew after {ledger.job_name} was submitted, so that job answers other requests. "
            "Its output is kept; clear submit to buy answers to the new requests."
        )
    return ledger


def part_job(part: Part, ledger: Ledger, job: Job) -> PartJob:
    """Return what the ended *job* of a part left behind.

    A job that failed, was cancelled or expired may have answered some rows; those are landed, the rest is ``missing``.
    """
    if not job.ended:
        raise OutputError(f"{job.name} is {job.state} and still at work: wait for it first, then load.")
    if job.rule.success and not job.output_uri:
        raise OutputError(
            f"{job.name} is {job.state} but does not say where it wrote. Nothing was published; look at the job in "
            "the console."
        )
    output_uri = job.output_uri if job.rule.has_output and job.output_uri else None
    return PartJob(part=part, epoch=ledger.epoch, job=job, output_uri=output_uri)
