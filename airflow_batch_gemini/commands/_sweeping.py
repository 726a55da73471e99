"""Jobs held against their ledgers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_batch_gemini.batch import sweeping
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.batch.sweeping import THEN, Suspect, has_answers, is_settled, suspect
from airflow_batch_gemini.commands._google import Google
from airflow_batch_gemini.commands._listing import Traced, traced
from airflow_batch_gemini.commands._listing import described as job_described
from airflow_batch_gemini.commands._printing import moment
from airflow_batch_gemini.exceptions import GeminiBatchError


@dataclass(frozen=True, kw_only=True)
class Found:
    """A job that somebody should look at, where it comes from, and what came of cancelling it."""

    suspect: Suspect
    traced: Traced
    cancelled: str | None = None
    """What Vertex AI answered, or why nobody asked it; ``None``: it was not to be cancelled."""


def sweep(services: Google, jobs: Iterable[Job], *, now: float, minutes: float) -> list[Found]:
    """Return those of *jobs* that somebody should look at."""
    found = []
    for job in jobs:
        if is_settled(job, now=now, minutes=minutes):
            whose = traced(services, job)
            if (doubt := _doubt(services, whose)) is not None:
                found.append(Found(suspect=doubt, traced=whose))
    return found


def cancelled(services: Google, found: Found) -> Found:
    """Cancel the job if it runs and, looked at once more, no ledger stands for it; anything else is left alone."""
    if found.suspect.kind != "orphan":
        return found
    job = found.suspect.job
    again = _doubt(services, found.traced)
    if again is None or again.kind != "orphan":
        return replace(found, cancelled="left alone: its ledger has changed just now")
    try:
        return replace(found, cancelled=services.vertex.cancel(job.name))
    except GeminiBatchError as error:
        return replace(found, cancelled=str(error))


def described(found: Found) -> dict[str, Any]:
    """Return a find for programs."""
    return {
        **job_described(found.traced),
        "kind": found.suspect.kind,
        "why": found.suspect.why,
        "then": THEN[found.suspect.kind],
        "output": found.suspect.job.output_uri or None,
        "cancelled": found.cancelled,
    }


def text(found: Sequence[Found], *, looked_at: int) -> str:
    """Return a block for each find, and how many of which kind there are."""
    counts = Counter(one.suspect.kind for one in found)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "nothing found"
    return "\n".join([*map(_block, found), f"{looked_at} jobs looked at: {told}."])


def _block(found: Found) -> str:
    job, identity = found.suspect.job, found.traced.origin.identity
    whose = f"{identity.dag_id} {identity.run_id} {identity.task_id}" if identity else job.display_name
    state, times = job.state.removeprefix("JOB_STATE_"), (moment(job.create_time), moment(job.end_time))
    lines = [
        f"{found.suspect.kind}  {job.name}",
        f"  {state}, {job.counts}; created {times[0]}, ended {times[1]}",
        f"  of {whose}, part {found.traced.origin.part}",
        f"  {found.suspect.why}; {THEN[found.suspect.kind]}",
    ]
    if found.suspect.kind == "unlanded":
        lines.append(f"  its answers: {job.output_uri or 'it does not say where'}")
    if found.cancelled is not None:
        lines.append(f"  cancelled: {found.cancelled}")
    return "\n".join(lines)


def _doubt(services: Google, found: Traced) -> Suspect | None:
    from airflow_batch_gemini.hooks.ledger import LedgerStore

    if found.ledger is None:
        return sweeping.unknown(found.job, "nobody can tell where its ledger lies")
    try:
        ledger = LedgerStore(workspace=services.workspace, uri=found.ledger).read()
        doubt = suspect(found.job, ledger)
        if doubt is not None and doubt.kind == "unlanded" and not _is_unlanded(services, found):
            return None
    except GeminiBatchError as error:
        return sweeping.unknown(found.job, str(error))
    return doubt


def _is_unlanded(services: Google, found: Traced) -> bool:
    """Whether there are answers, and no report counts them in: one of a job that was given up landed all the same."""
    from airflow_batch_gemini.operators._outputs import JobOutputs

    if found.origin.workspace is not None:
        stored = services.workspace.read(found.origin.workspace.report)
        if stored is not None and found.job.name in _reported(stored.data):
            return False
    if has_answers(found.job) is not None:
        return True
    outputs = JobOutputs(
        project_id=JobName.parse(found.job.name).project,
        workspace=services.workspace,
        gcp_conn_id=services.gcp_conn_id,
        impersonation_chain=None,
    )
    return outputs.any_answer(found.job.output_uri)


def _reported(data: bytes) -> set[str]:
    """Return the jobs that a report names."""
    try:
        return {str(job["name"]) for job in json.loads(data)["jobs"]}
    except (ValueError, KeyError, TypeError):
        return set()
