"""Which jobs are ours, and whose each of them is."""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import ANY_BATCH
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.tracing import Origin, origin_of
from airflow_batch_gemini.commands._google import Google
from airflow_batch_gemini.commands._printing import rfc3339
from airflow_batch_gemini.exceptions import GeminiBatchError


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A job, and where it comes from."""

    job: Job
    ledger: GcsUri | None
    origin: Origin


def labelled_jobs(services: Google, options: argparse.Namespace, *, now: dt.datetime) -> list[Job]:
    """Return the jobs of the place and time that *options* name, the oldest first."""
    since = (now - dt.timedelta(days=options.days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    jobs = services.vertex.list(
        project_id=services.project(options.project_id),
        location=names.location(options.location),
        filter=f'{ANY_BATCH} AND createTime>="{since}"',
    )
    return sorted(jobs, key=lambda job: (job.create_time or 0.0, job.name))


def traced(services: Google, job: Job) -> Traced:
    """Return where *job* comes from; of a job whose input cannot be looked at, what its labels say."""
    from airflow_batch_gemini.hooks.cancelling import find_ledger

    try:
        ledger = find_ledger(job, gcp_conn_id=services.gcp_conn_id)
    except GeminiBatchError:
        ledger = None
    return Traced(job=job, ledger=ledger, origin=origin_of(job, ledger))


def described(found: Traced) -> dict[str, Any]:
    """Return a job for programs: names, counts and times."""
    job, origin = found.job, found.origin
    return {
        "name": job.name,
        "state": job.state,
        "model": job.model,
        "batch_id": origin.batch_id,
        "part": origin.part,
        **(asdict(origin.identity) if origin.identity else {}),
        "workspace": str(origin.workspace.folder) if origin.workspace else None,
        "counts": asdict(job.counts),
        "created": rfc3339(job.create_time),
        "started": rfc3339(job.start_time),
        "ended": rfc3339(job.end_time),
    }
