"""Cancelling by hand, as the ledgers let: what they stand for is CANCELLED in them afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.commands._google import Google
from airflow_batch_gemini.commands._listing import traced
from airflow_batch_gemini.exceptions import GeminiBatchError, JobLostError, SourceError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.cancelling import GaveUp


def cancel_jobs(services: Google, names: Sequence[str]) -> dict[str, str]:
    """Ask for each job by itself, and return what came of it; an error for one is what came of that one."""
    answers: dict[str, str] = {}
    for name in names:
        try:
            answers[name] = _cancel(services, name)
        except GeminiBatchError as error:
            answers[name] = str(error)
    return answers


def cancel_batch(services: Google, workspace: GcsUri) -> dict[str, str]:
    """Cancel every live job of the batch in *workspace*, those that no ledger knows too."""
    from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator

    stored = services.workspace.read(Workspace(workspace).manifest)
    if stored is None:
        raise SourceError(f"{workspace} holds no manifest, so no batch. Nothing was cancelled.")
    batch = Manifest.from_json(stored.data).ref.to_dict()
    task = GeminiBatchCancelOperator(task_id="cancel", batch=batch, gcp_conn_id=services.gcp_conn_id)
    return dict(task.cancel())


def left_running(answers: Mapping[str, str]) -> list[str]:
    """Return the jobs that may run on."""
    return [name for name, answer in answers.items() if answer not in {"asked", "ended", "gone"}]


def text(answers: Mapping[str, str]) -> str:
    """Return a line for each job."""
    from airflow_batch_gemini.hooks.cancelling import SAID

    said = {str(answer): words for answer, words in SAID.items()}
    return "\n".join(f"{name}: {said.get(answer, answer)}" for name, answer in answers.items()) or "No jobs."


def _cancel(services: Google, name: str) -> GaveUp:
    from airflow_batch_gemini.hooks.cancelling import give_up
    from airflow_batch_gemini.hooks.ledger import LedgerStore

    try:
        found = traced(services, services.vertex.get(name))
    except JobLostError:
        return services.vertex.cancel(name)
    if found.ledger is not None:
        store = LedgerStore(workspace=services.workspace, uri=found.ledger)
        ledger = store.read()
        if ledger is not None and ledger.job_name == name:
            # Landed answers do not change any more, and its ledger stays as it is.
            return "ended" if ledger.state == "LOADED" else give_up(services.vertex, store, name)
    return services.vertex.cancel(name)
