"""Giving a job up: cancelled only by whom the ledger lets, so that nobody cancels what somebody else has adopted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.purchase import ledger_uri
from airflow_batch_gemini.exceptions import ConfigurationError, JobLostError
from airflow_batch_gemini.hooks.gemini_batch import CancelAnswer, GeminiBatchHook
from airflow_batch_gemini.hooks.ledger import LedgerStore

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.job import Job

GaveUp = Literal[CancelAnswer, "kept"]
"""What came of giving a job up: as of a cancel request, or ``kept``: the ledger says that it is somebody else's."""

SAID: dict[GaveUp, str] = {
    "asked": "Vertex AI was asked to cancel it; what it answers until then is kept and paid for",
    "ended": "it has ended already",
    "gone": "there is no such job any more",
    "kept": "it runs on: another attempt to submit has taken it over, or changed the ledger just now",
}


def give_up(
    vertex: GeminiBatchHook, store: LedgerStore, job_name: str, *, owner: str | None = None
) -> GaveUp:
    """Cancel the job if the ledger stands for it: SUBMITTED → CANCELLING → CANCELLED, by compare-and-set.

    What died half-way is taken up again. A job that has ended is left as it is, for a submit to adopt.

    :param owner: the attempt that the ledger must still belong to; ``None``: whoever.
    """
    ledger = store.read()
    if ledger is None or ledger.job_name != job_name or ledger.state == "LOADED":
        return "kept"
    if owner is not None and ledger.owner != owner:
        return "kept"
    try:
        job = vertex.get(job_name)
    except JobLostError:
        return vertex.cancel(job_name)
    if job.ended and not job.rule.resumable:
        return "ended"
    if ledger.state == "SUBMITTED" and not store.write(ledger.cancelling()):
        return "kept"
    answer = vertex.cancel(job_name)
    # A job that ended by itself meanwhile is as good as before: the next submit may adopt it.
    store.write(ledger.cancelled() if answer == "asked" else replace(ledger, state="SUBMITTED"))
    return answer


def find_ledger(
    job: Job, *, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None
) -> GcsUri | None:
    """Return where the ledger of *job* lies; ``None`` for a job of somebody else, or one whose input table is gone."""
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    description = ""
    if job.input_uri.startswith("bq://"):
        hook = WarehouseHook(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        with closing(hook) as warehouse:
            table = warehouse.table_info(TableName.parse(job.input_uri))
        description = "" if table is None else table.description
    return ledger_uri(job.input_uri, description=description)


class WaitedJob:
    """The job somebody waits for, and the ledger that says whose it is.

    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    def __init__(
        self, job_name: str, *, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None
    ) -> None:
        self._job_name = job_name
        self._connection: dict[str, Any] = {
            "gcp_conn_id": gcp_conn_id,
            "impersonation_chain": impersonation_chain,
        }

    def owner(self, job: Job) -> str:
        """Return the attempt that the job belongs to.

        :raises ConfigurationError: the job has no ledger, so nobody could say whose it is.
        """
        with self._store(job) as store:
            ledger = None if store is None else store.read()
        if ledger is None or ledger.job_name != self._job_name:
            raise ConfigurationError(
                f"{self._job_name} was not submitted by GeminiBatchSubmitOperator, or its ledger is gone: a wait "
                "cannot tell whose it is to cancel. The job runs on; wait without cancel_on_kill= and "
                'on_timeout="cancel".'
            )
        return ledger.owner

    def give_up(self, *, owner: str) -> GaveUp:
        """Cancel the job if it still belongs to *owner*."""
        with closing(GeminiBatchHook(**self._connection)) as vertex:
            try:
                job = vertex.get(self._job_name)
            except JobLostError:
                return "gone"
            with self._store(job) as store:
                return "kept" if store is None else give_up(vertex, store, self._job_name, owner=owner)

    @contextmanager
    def _store(self, job: Job) -> Iterator[LedgerStore | None]:
        """Lend the job's ledger, if it has one; a triggerer lives long, so nothing stays open behind it."""
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook

        uri = find_ledger(job, **self._connection)
        if uri is None:
            yield None
            return
        with closing(WorkspaceHook(**self._connection)) as workspace:
            yield LedgerStore(workspace=workspace, uri=uri)
