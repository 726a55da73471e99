"""Cancelling jobs, for a teardown task or by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_batch_gemini.batch.manifest import BatchRef, Workspace
from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    GeminiBatchError,
    JobLostError,
    PaymentUnknownError,
    ServiceError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.hooks.gemini_batch import CancelAnswer, GeminiBatchHook
    from airflow_batch_gemini.hooks.ledger import LedgerStore


class GeminiBatchCancelOperator(BaseOperator):
    """Ask Vertex AI to cancel jobs: those named, or every live job that a batch's ledgers know.

    Jobs that have ended or were deleted are fine. It does not wait: a job may still end otherwise, and rows answered
    until then are kept and paid for. With ``batch`` the ledgers say CANCELLED afterwards, and the next submit
    buys a new job unless the cancelled one succeeded after all.

    :param job_name: one full resource name or several. Templated.
    :param batch: what :class:`GeminiBatchPrepareOperator` returned, or one element of it: a single part. Templated.
    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    :return: each job's name and what came of it: ``asked``, ``ended`` or ``gone``.
    """

    template_fields: Sequence[str] = ("job_name", "batch", "gcp_conn_id", "impersonation_chain")
    ui_color = "#fce8e6"

    def __init__(
        self,
        *,
        job_name: str | Iterable[str] | None = None,
        batch: Any = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (job_name is None) == (batch is None):
            raise ConfigurationError("Cancelling wants either job_name= or batch=. Nothing was sent.")
        self.job_name = job_name
        self.batch = batch
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    def execute(self, context: Context) -> dict[str, CancelAnswer]:  # noqa: ARG002  # nothing of the run matters
        """Ask for all of them, then fail if one could not be asked for."""
        from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

        vertex = GeminiBatchHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        answers: dict[str, CancelAnswer] = {}
        errors: list[GeminiBatchError] = []
        for job_name, store in self._jobs(errors):
            try:
                answers[job_name] = _cancel(vertex, job_name, store)
                self.log.info("%s: %s.", job_name, _SAID[answers[job_name]])
            except ServiceError as error:
                self.log.warning("%s: %s", job_name, error)
                errors.append(error)
        if errors:
            raise ServiceError(
                f"{len(errors)} jobs could not be cancelled and may run on, {len(answers)} could; a retry asks again. "
                f"First: {errors[0]}",
                http_status=getattr(errors[0], "http_status", None),
            )
        return answers

    def _jobs(self, errors: list[GeminiBatchError]) -> Iterable[tuple[str, LedgerStore | None]]:
        if self.batch is None:
            names = [self.job_name] if isinstance(self.job_name, str) else list(self.job_name or ())
            return [(str(JobName.parse(name)), None) for name in names if name is not None]
        return self._jobs_of_batch(BatchRef.from_xcom(self.batch), errors)

    def _jobs_of_batch(
        self, ref: BatchRef, errors: list[GeminiBatchError]
    ) -> Iterable[tuple[str, LedgerStore | None]]:
        """Yield what the ledgers know; one that cannot be read joins the *errors* and keeps no other back."""
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook
        from airflow_batch_gemini.hooks.ledger import LedgerStore

        workspace = WorkspaceHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        for part in ref.indexes:
            store = LedgerStore(workspace=workspace, folder=Workspace(ref.folder), part=part)
            try:
                ledger = store.read()
            except (ServiceError, PaymentUnknownError) as error:
                self.log.warning("Part %s: %s", part, error)
                errors.append(error)
                continue
            if ledger and ledger.job_name and ledger.state != "LOADED":
                yield ledger.job_name, store
            else:
                self.log.info(
                    "Part %s: %s, so no job to cancel.", part, ledger.state if ledger else "no ledger"
                )


_SAID: dict[CancelAnswer, str] = {
    "asked": "Vertex AI was asked to cancel it; what it answers until then is kept and paid for",
    "ended": "it has ended already",
    "gone": "there is no such job any more",
}


def _cancel(vertex: GeminiBatchHook, job_name: str, store: LedgerStore | None) -> CancelAnswer:
    if store is None:
        return vertex.cancel(job_name)
    try:
        if vertex.get(job_name).ended:
            return "ended"
    except JobLostError:
        return vertex.cancel(job_name)
    ledger = store.ledger
    if ledger is None or (ledger.state == "SUBMITTED" and not store.write(ledger.cancelling())):
        raise ServiceError(f"Somebody else changed {store.uri} just now; {job_name} was left alone.")
    answer = vertex.cancel(job_name)
    # A job that ended by itself meanwhile is as good as before: the next submit may adopt it.
    store.write(ledger.cancelled() if answer == "asked" else replace(ledger, state="SUBMITTED"))
    return answer
