"""Submitting a part of a batch: one paid job, whatever dies, whoever retries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from airflow_batch_gemini.batch.job_body import check_labels
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.steps import WaitFor
from airflow_batch_gemini.batch.submission import OnAmbiguous, OnFinished, Rules
from airflow_batch_gemini.batch.waiting import SETTLING_SECONDS
from airflow_batch_gemini.exceptions import ConfigurationError, RefusedForNowError, SourceError
from airflow_batch_gemini.links.job import GeminiBatchJobLink
from airflow_batch_gemini.operators._manifest import manifest_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._submission import Submission

_REFUSAL_PAUSES = (30.0, 60.0, 120.0, 240.0)
"""Seconds to wait after each refusal that time mends, at least; then the task fails, and its retries go on."""


class GeminiBatchSubmitOperator(BaseOperator):
    """Submit one part of a prepared batch to Vertex AI and return the job's name.

    Whatever happened before, there is one paid job for the part's requests: a retry, a cleared task or a second
    attempt running at once finds the job by the ledger or by its labels and adopts it, even a finished one. Requests
    that changed since (another prompt, model or source) cancel the job that still runs for the old ones and buy a new
    one; the first part's task also cancels the jobs of parts that the batch no longer has. Waiting, when an earlier
    attempt left the matter unclear, is a deferral.

    :param batch: what :class:`GeminiBatchPrepareOperator` returned, when that is a single part; else one of its
        elements: ``.partial(…).expand(batch=prepare.output)``. Templated.
    :param part: which part, where *batch* does not say it. Templated.
    :param display_name: the job's name in the console; ids of the DAG, run and part by default. Templated.
    :param labels: more labels for the job, as for the bill. Templated.
    :param on_finished: ``"adopt"`` a finished job of the same requests, or ``"rerun"``: buy a new one once the answers
        of the finished one were loaded, or when it ended without success.
    :param on_ambiguous: when a create request got no clear answer: ``"resolve"`` it (look for the job; only when there
        is none, fence the old attempt off and submit), or ``"fail"`` and leave it to a human.
    :param settle_seconds: longer than a new job may be missing from Vertex AI's listings.
    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    template_fields: Sequence[str] = (
        "batch", "part", "display_name", "labels", "gcp_conn_id", "impersonation_chain",
    )  # fmt: skip
    operator_extra_links = (GeminiBatchJobLink(),)
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        batch: Any,
        part: int | None = None,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        on_finished: OnFinished = "adopt",
        on_ambiguous: OnAmbiguous = "resolve",
        settle_seconds: float = 120,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_finished not in {"adopt", "rerun"} or on_ambiguous not in {"resolve", "fail"}:
            raise ConfigurationError(
                f"on_finished={on_finished!r} wants adopt or rerun, on_ambiguous={on_ambiguous!r} resolve or fail."
            )
        if settle_seconds < 0:
            raise ConfigurationError(f"settle_seconds={settle_seconds!r} is less than nothing.")
        self.batch = batch
        self.part = part
        self.display_name = display_name
        self.labels = labels
        self.on_finished = on_finished
        self.on_ambiguous = on_ambiguous
        self.settle_seconds = settle_seconds
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._killed = False

    def execute(self, context: Context) -> str:
        """Go as far as one look at the world allows; defer when time has to pass."""
        return self._submit(context)

    def resume(self, context: Context, event: Any = None) -> str:  # noqa: ARG002  # Airflow passes the event by name
        """Look again: what happened meanwhile is in the ledger, not in this attempt's memory."""
        return self._submit(context)

    def on_kill(self) -> None:
        """Post nothing any more. ``execute`` goes on meanwhile, and may just be writing down a created job."""
        self._killed = True

    def _submit(self, context: Context) -> str:
        submission = self._submission(context)
        if submission.part == 0:
            self._give_up_vanished_parts(submission)
        try:
            outcome = submission.run()
        except RefusedForNowError as error:
            ledger = submission.store.ledger
            if ledger is None or ledger.state != "REFUSED" or ledger.refusals > len(_REFUSAL_PAUSES):
                raise
            pause = max(_REFUSAL_PAUSES[ledger.refusals - 1], error.pause_seconds)
            outcome = WaitFor(pause, str(error))
        if isinstance(outcome, WaitFor):
            self._come_back(outcome)
        return self._submitted(context, outcome)

    def _give_up_vanished_parts(self, submission: Submission) -> None:
        from airflow_batch_gemini.operators._vanished import VanishedParts

        VanishedParts(
            manifest=submission.manifest,
            owner=submission.rules.owner,
            workspace=submission.store.workspace,
            vertex=submission.vertex,
            inputs=submission.inputs,
            log=self.log,
        ).give_up()

    def _come_back(self, wait: WaitFor) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        seconds = max(wait.seconds, SETTLING_SECONDS)
        self.log.info("Coming back in %.0f s: %s.", seconds, wait.why)
        moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        self.defer(trigger=DateTimeTrigger(moment=moment), method_name="resume")

    def _submitted(self, context: Context, job: Job) -> str:
        GeminiBatchJobLink.push(context, job.name)
        store = context.get("task_state_store")
        if store is not None:
            try:
                store.set("gemini_batch_job", job.name)
            except Exception:  # a mirror for people: it decides nothing, so it fails nothing
                self.log.warning("The job's name could not be kept as task state.", exc_info=True)
        return job.name

    def _submission(self, context: Context) -> Submission:
        from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
        from airflow_batch_gemini.hooks.ledger import LedgerStore
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook
        from airflow_batch_gemini.operators._inputs import JobInputs
        from airflow_batch_gemini.operators._outputs import JobOutputs
        from airflow_batch_gemini.operators._submission import Submission

        ref, labels = BatchRef.from_xcom(self.batch), check_labels(_texts(self.labels))
        part = self._part(ref)
        connection: dict[str, Any] = {
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
        }
        workspace = WorkspaceHook(**connection)
        manifest = self._manifest(ref, workspace)
        return Submission(
            manifest=manifest,
            part=part,
            rules=Rules(
                owner=str(context["ti"].id),
                fingerprint=manifest.fingerprint(part),
                settle_seconds=self.settle_seconds,
                on_finished=self.on_finished,
                on_ambiguous=self.on_ambiguous,
            ),
            store=LedgerStore(workspace=workspace, uri=Workspace(ref.folder).ledger(part)),
            vertex=GeminiBatchHook(**connection),
            inputs=JobInputs(manifest=manifest, part=part, workspace=workspace, **connection),
            outputs=JobOutputs(project_id=manifest.project_id, workspace=workspace, **connection),
            display_name=str(self.display_name or _display_name(manifest, part)),
            labels=labels,
            killed=lambda: self._killed,
            log=self.log,
        )

    def _part(self, ref: BatchRef) -> int:
        part = ref.part if self.part is None else int(self.part)
        if part is None and ref.parts > 1:
            raise ConfigurationError(
                f"The batch has {ref.parts} parts: map over them, .partial(…).expand(batch=prepare.output). "
                "Nothing was sent."
            )
        if part is not None and not 0 <= part < ref.parts:
            raise ConfigurationError(
                f"part={part} is none of the batch's {ref.parts} parts. Nothing was sent."
            )
        return part or 0

    def _manifest(self, ref: BatchRef, workspace: WorkspaceHook) -> Manifest:
        manifest = manifest_of(workspace, ref)
        if len(manifest.parts) != ref.parts:
            raise SourceError(
                f"{ref.workspace} holds a batch of {len(manifest.parts)} parts, not {ref.parts}. Nothing was sent; "
                "clear the prepare task."
            )
        return manifest


def _texts(labels: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return *labels* with the digits that ``render_template_as_native_obj`` has made numbers as they were written."""
    return {key: str(value) if type(value) is int else value for key, value in (labels or {}).items()}


def _display_name(manifest: Manifest, part: int) -> str:
    identity = manifest.identity
    return f"{identity.dag_id} {identity.task_id} part {part} {identity.run_id}"
