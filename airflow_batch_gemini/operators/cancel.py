"""Cancelling jobs, for a teardown task or by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_batch_gemini.batch.job_body import batch_filter, belongs, part_filter
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    GeminiBatchError,
    PaymentUnknownError,
    ServiceError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.hooks.cancelling import GaveUp
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.ledger import LedgerStore
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook


class GeminiBatchCancelOperator(BaseOperator):
    """Ask Vertex AI to cancel jobs: those named, or every live job of a batch.

    Jobs that have ended or were deleted are fine. It does not wait: a job may still end otherwise, and rows answered
    until then are kept and paid for. With ``batch`` the ledgers say CANCELLED afterwards; jobs that no ledger knows, as
    of an attempt whose answer was lost, are found by their labels. The next submit buys a new job unless the cancelled
    one answered rows after all.

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

    def execute(self, context: Context) -> dict[str, GaveUp]:  # noqa: ARG002  # nothing of the run matters
        """Cancel, whatever run this is."""
        return self.cancel()

    def cancel(self) -> dict[str, GaveUp]:
        """Ask for all of them, then fail if one could not be asked for. A shell asks without a run."""
        from airflow_batch_gemini.hooks.cancelling import SAID, give_up
        from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

        vertex = GeminiBatchHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        answers: dict[str, GaveUp] = {}
        errors: list[GeminiBatchError] = []
        for job_name, store in self._jobs(vertex, errors):
            try:
                answer = give_up(vertex, store, job_name) if store else vertex.cancel(job_name)
                if store and answer == "kept":
                    raise ServiceError(
                        f"Somebody else changed {store.uri} just now; {job_name} was left alone."
                    )
                answers[job_name] = answer
                self.log.info("%s: %s.", job_name, SAID[answer])
            except ServiceError as error:
                self.log.warning("%s: %s", job_name, error)
                errors.append(error)
        if errors:
            raise ServiceError(
                f"{len(errors)} jobs could not be cancelled and may run on, {len(answers)} could; a retry asks again. "
                f"First: {errors[0]}",
                http_status=getattr(errors[0], "http_status", None),
            )
        if not answers:
            self.log.info("No job is left to cancel.")
        return answers

    def _jobs(
        self, vertex: GeminiBatchHook, errors: list[GeminiBatchError]
    ) -> Iterable[tuple[str, LedgerStore | None]]:
        if self.batch is None:
            names = [self.job_name] if isinstance(self.job_name, str) else list(self.job_name or ())
            return [(str(JobName.parse(name)), None) for name in names if name is not None]
        return self._jobs_of_batch(BatchRef.from_xcom(self.batch), vertex, errors)

    def _jobs_of_batch(
        self, ref: BatchRef, vertex: GeminiBatchHook, errors: list[GeminiBatchError]
    ) -> Iterable[tuple[str, LedgerStore | None]]:
        """Yield what the ledgers know, then what only labels tell; an error joins *errors* and keeps no other back."""
        from airflow_batch_gemini.hooks.ledger import LedgerStore
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook

        workspace = WorkspaceHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        known = set()
        for part in ref.indexes:
            store = LedgerStore(workspace=workspace, uri=Workspace(ref.folder).ledger(part))
            try:
                ledger = store.read()
            except (ServiceError, PaymentUnknownError) as error:
                self.log.warning("Part %s: %s", part, error)
                errors.append(error)
                continue
            if ledger and ledger.job_name:
                known.add(ledger.job_name)
                if ledger.state != "LOADED":
                    yield ledger.job_name, store
            else:
                self.log.info("Part %s: %s names no job.", part, ledger.state if ledger else "no ledger")
        for job in self._labelled(ref, workspace, vertex):
            ours = belongs(job, batch_id=ref.batch_id, part=ref.part)
            if ours and not job.ended and job.name not in known:
                self.log.warning("%s carries the batch's labels, and no ledger knows it.", job.name)
                yield job.name, None

    def _labelled(self, ref: BatchRef, workspace: WorkspaceHook, vertex: GeminiBatchHook) -> Iterable[Job]:
        """Return the jobs that carry the batch's label; of one part only, when only that is meant."""
        stored = workspace.read(Workspace(ref.folder).manifest)
        if stored is None:
            self.log.warning("%s holds no manifest, so nobody knows where to list jobs.", ref.workspace)
            return []
        manifest = Manifest.from_json(stored.data)
        wanted = batch_filter(ref.batch_id) if ref.part is None else part_filter(ref.batch_id, ref.part)
        return vertex.list(project_id=manifest.project_id, location=manifest.location, filter=wanted)
