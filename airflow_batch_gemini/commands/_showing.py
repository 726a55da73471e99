"""A job as a row of a list, and as a page of its own."""

from __future__ import annotations

from typing import Any

from airflow_batch_gemini.commands._google import Google
from airflow_batch_gemini.commands._listing import Traced, described, traced
from airflow_batch_gemini.commands._printing import moment
from airflow_batch_gemini.exceptions import PaymentUnknownError

HEAD = ("JOB", "STATE", "DAG", "RUN", "TASK", "PART", "CREATED", "ENDED", "ROWS")


def row(found: Traced) -> tuple[str, ...]:
    """Return the columns of a list, in the order of :data:`HEAD`."""
    job, identity = found.job, found.origin.identity
    ids = (identity.dag_id, identity.run_id, identity.task_id) if identity else (job.display_name, "-", "-")
    part = "-" if found.origin.part is None else str(found.origin.part)
    state = job.state.removeprefix("JOB_STATE_")
    return (job.name, state, *ids, part, moment(job.create_time), moment(job.end_time), str(job.counts))


def shown(services: Google, name: str) -> dict[str, Any]:
    """Return all that is known of one job, and what its ledger says."""
    found = traced(services, services.vertex.get(name))
    job = found.job
    return {
        **described(found),
        "display_name": job.display_name,
        "error": f"{job.error_code}: {job.error_message}" if job.error_code else None,
        "input": job.input_uri,
        "output": job.output_uri or None,
        "labels": dict(job.labels),
        "ledger": _ledger(services, found),
    }


def text(document: dict[str, Any]) -> str:
    """Return a line for each thing that is known."""
    flat: dict[str, str] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{name} {key}": str(inner) for key, inner in value.items() if inner is not None}
        elif value is not None:
            flat[name] = str(value)
    width = max(map(len, flat))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in flat.items())


def _ledger(services: Google, found: Traced) -> dict[str, Any]:
    from airflow_batch_gemini.hooks.ledger import LedgerStore

    if found.ledger is None:
        return {"uri": None, "says": "nobody knows where it lies"}
    store = LedgerStore(workspace=services.workspace, uri=found.ledger)
    try:
        ledger = store.read()
    except PaymentUnknownError as error:
        return {"uri": str(found.ledger), "says": str(error)}
    if ledger is None:
        return {"uri": str(found.ledger), "says": "there is none"}
    whose = "this job" if ledger.job_name == found.job.name else ledger.job_name or "no job yet"
    return {
        "uri": str(found.ledger),
        "state": ledger.state,
        "epoch": ledger.epoch,
        "owner": ledger.owner,
        "stands for": whose,
    }
