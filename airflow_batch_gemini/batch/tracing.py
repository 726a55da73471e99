"""Whose a job is: told by its labels, and by where its ledger lies."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import BATCH, PART
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Identity
from airflow_batch_gemini.batch.names import GcsUri

_PLACE = re.compile(r"(?P<folder>.+)/ledger/part-[0-9]{5,}\.json", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a job comes from, as far as that can be told."""

    batch_id: str | None = None
    part: int | None = None
    workspace: Workspace | None = None
    identity: Identity | None = None
    """The task instance that prepared its batch. Its ids hash to the batch's id, so it is never a guess."""


def origin_of(job: Job, ledger: GcsUri | None) -> Origin:
    """Return where *job* comes from.

    :param ledger: where its ledger lies, if that is known. A workspace's path ends in the ids of DAG, run and task; ids
        that no path can hold are written otherwise there, and nobody reads them back.
    """
    batch_id = _label(job, BATCH, "b")
    part = _label(job, PART, "p")
    workspace = _workspace(ledger)
    return Origin(
        batch_id=batch_id,
        part=int(part) if part and part.isascii() and part.isdigit() else None,
        workspace=workspace,
        identity=_identity(workspace, batch_id),
    )


def _label(job: Job, name: str, mark: str) -> str | None:
    value = job.labels.get(name, "")
    return value.removeprefix(mark) if value.startswith(mark) else None


def _workspace(ledger: GcsUri | None) -> Workspace | None:
    match = _PLACE.fullmatch(ledger.name) if ledger else None
    return Workspace(GcsUri(ledger.bucket, match["folder"])) if ledger and match else None


def _identity(workspace: Workspace | None, batch_id: str | None) -> Identity | None:
    segments = workspace.folder.name.split("/") if workspace else []
    readings = [(*segments[-3:], "-1"), tuple(segments[-4:])]
    for *ids, index in (reading for reading in readings if len(reading) == 4):
        if re.fullmatch(r"-1|[0-9]{1,9}", index):
            dag_id, run_id, task_id = ids
            found = Identity(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=int(index))
            if found.batch_id == batch_id:
                return found
    return None
