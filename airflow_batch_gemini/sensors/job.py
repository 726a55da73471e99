"""Waiting for a job without holding a worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseSensorOperator
from airflow.sdk.bases.sensor import PokeReturnValue
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.batch.waiting import WaitEnd, end_of_wait, next_look, overdue_with_fate, progress
from airflow_batch_gemini.exceptions import ConfigurationError, JobFailedError, JobLostError, ServiceError
from airflow_batch_gemini.links.job import GeminiBatchJobLink
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.batch.waiting import Progress
    from airflow_batch_gemini.hooks.cancelling import WaitedJob
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

OnTimeout = Literal["leave", "cancel"]
_WEEK = 7 * 24 * 3600.0


class GeminiBatchSensor(BaseSensorOperator):
    """Wait until a batch job ends; return its name, state, counts and output location.

    It looks once before it defers and finishes at once when the job has ended. Looks that fail only slow the wait
    down; what ends it are the job's end, its loss (403, 404) and the deadline. A job that ends without success raises
    :class:`JobFailedError`, which no retry repeats. PARTIALLY_SUCCEEDED is a success with a warning; PAUSED is none.

    Clearing, marking or killing the task leaves the job running, unless ``cancel_on_kill`` says otherwise and the task
    is failed. Whoever may cancel is decided by the ledger of the submission: never a job that a newer attempt has
    adopted. What a cancelled job answered until then is kept and paid for.

    :param job_name: full resource name of the job; what :class:`GeminiBatchSubmitOperator` returns. Templated.
    :param poll_interval: seconds between looks (Airflow's ``poke_interval``).
    :param timeout: seconds or ``timedelta`` from the creation of the job, by Vertex AI's clock, to
        ``AirflowSensorTimeout``.
    :param on_timeout: ``"leave"`` the job running then, or ``"cancel"`` it.
    :param deferrable: wait in the triggerer; else by ``mode`` in or between workers.
    :param cancel_on_kill: cancel the job when somebody marks the deferred task failed; ``fail_fast`` skips it.
    :param start_from_trigger: begin in the triggerer and spare the first worker slot. Airflow does not do so for
        mapped tasks; those begin in a worker. The link to the console comes with the end of the wait then.
    :param soft_fail: skip the task instead of failing it, however the wait ends.
    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    template_fields: Sequence[str] = ("job_name", "gcp_conn_id", "impersonation_chain")
    operator_extra_links = (GeminiBatchJobLink(),)
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        job_name: str,
        poll_interval: float = 60,
        timeout: float | timedelta = _WEEK,
        on_timeout: OnTimeout = "leave",
        deferrable: bool = True,
        cancel_on_kill: bool = False,
        start_from_trigger: bool = False,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poll_interval, timeout=timeout, **kwargs)
        if poll_interval <= 0:
            raise ConfigurationError(f"poll_interval={poll_interval!r} is no pause. Nothing was sent.")
        if on_timeout not in {"leave", "cancel"}:
            raise ConfigurationError(f"on_timeout={on_timeout!r} wants leave or cancel. Nothing was sent.")
        if (cancel_on_kill or start_from_trigger) and not deferrable:
            raise ConfigurationError(
                "cancel_on_kill= and start_from_trigger= are for waits in the triggerer: deferrable=True. "
                "Nothing was sent."
            )
        self.job_name = job_name
        self.poll_interval = poll_interval
        self.on_timeout = on_timeout
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.start_from_trigger = start_from_trigger
        if start_from_trigger:
            self.start_trigger_args = self._start_trigger_args()
        self._job: Job | None = None
        self._misses = 0
        self._said: Progress | None = None
        self._deadline: float | None = None
        self._owner: str | None = None

    def execute(self, context: Context) -> Any:
        """Look once, then defer; without ``deferrable`` poke."""
        GeminiBatchJobLink.push(context, str(JobName.parse(self.job_name)))
        if not self.deferrable:
            return super().execute(context)
        if end := self._look():
            return self._conclude(end)
        return self.defer(
            trigger=GeminiBatchJobTrigger(
                job_name=self.job_name,
                deadline=self._deadline or self._now() + self.timeout,
                created=self._job.create_time if self._job else None,
                poll_interval=self.poll_interval,
                cancel_on_kill=self.cancel_on_kill,
                owner=self._owner,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
            ),
            method_name="execute_complete",
            kwargs={"owner": self._owner},
        )

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, owner: str | None = None
    ) -> dict[str, Any]:
        """Return what the job ended with, or raise what its end means.

        :param owner: the attempt that the job belonged to when the wait began.
        """
        end = WaitEnd.from_event(event)
        self._owner = owner
        if self.start_from_trigger:
            GeminiBatchJobLink.push(context, end.job_name)
        return self._conclude(end)

    def poke(self, context: Context) -> bool | PokeReturnValue:  # noqa: ARG002
        """Look once."""
        end = self._look()
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(end)) if end else False

    def _look(self) -> WaitEnd | None:
        now = self._now()
        lost = None
        try:
            self._job = self._hook.get(self.job_name)
            self._misses = 0
            self._say(self._job, now)
            self._note_owner(self._job)
        except JobLostError as error:
            lost = str(error)
        except ServiceError as error:
            self._misses += 1
            self.log.warning("Look %s in a row that failed: %s", self._misses, error)
        if self._job and self._job.create_time:
            self._deadline = self._job.create_time + self.timeout
        self._deadline = self._deadline or now + self.timeout
        return end_of_wait(
            self._job,
            job_name=self.job_name,
            now=now,
            deadline=self._deadline,
            misses=self._misses,
            lost=lost,
        )

    def _say(self, job: Job, now: float) -> None:
        if news := progress(job, now=now, said=self._said):
            self._said = news
            self.log.info("%s", news.line(job))

    def _conclude(self, end: WaitEnd) -> dict[str, Any]:
        if end.status == "success":
            log = self.log.info if end.state == "JOB_STATE_SUCCEEDED" else self.log.warning
            log("%s", end.message)
            return end.result
        message = end.message
        if end.status == "timeout" and self.on_timeout == "cancel":
            message = overdue_with_fate(end, self._cancel())
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(message)
        raise _ERRORS[end.status](message)

    def _note_owner(self, job: Job) -> None:
        """Remember whose the job is, where this wait may have to cancel it; a job that has ended it never will."""
        may_cancel = self.cancel_on_kill or self.on_timeout == "cancel"
        if may_cancel and self._owner is None and not job.ended:
            self._owner = self._waited.owner(job)

    def _cancel(self) -> str:
        """Cancel the job if it still belongs to whom it did; return what became of it."""
        from airflow_batch_gemini.hooks.cancelling import SAID

        try:
            owner = self._owner or self._waited.owner(self._hook.get(self.job_name))
            answer = self._waited.give_up(owner=owner)
        except (ServiceError, JobLostError) as error:
            return f"It could not be cancelled and may run on ({error}); cancel it by hand."
        return f"As to cancelling, {SAID[answer]}."

    def _get_next_poke_interval(self, *args: Any, **kwargs: Any) -> float:
        """Slow down after misses, as the trigger does."""
        if not self._misses:
            return float(super()._get_next_poke_interval(*args, **kwargs))
        return next_look(
            poll_interval=self.poll_interval,
            misses=self._misses,
            jitter=0.5,
            left=(self._deadline or self._now()) - self._now(),
        )

    @cached_property
    def _hook(self) -> GeminiBatchHook:
        from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

        return GeminiBatchHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)

    @cached_property
    def _waited(self) -> WaitedJob:
        from airflow_batch_gemini.hooks.cancelling import WaitedJob

        return WaitedJob(
            self.job_name, gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain
        )

    def _start_trigger_args(self) -> StartTriggerArgs:
        """Return what the scheduler starts the trigger with; it renders the templates among them."""
        return StartTriggerArgs(
            trigger_cls="airflow_batch_gemini.triggers.job.GeminiBatchJobTrigger",
            trigger_kwargs={
                "job_name": self._pulled_in_triggerer(),
                "timeout": float(self.timeout),
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
            },
            next_method="execute_complete",
        )

    def _pulled_in_triggerer(self) -> str:
        """Return the job's name, or the template by which the triggerer gets at it.

        A triggerer can pull the XCom of one task and map index only; at any other pull it hangs (Airflow 3.3).
        """
        name: Any = self.job_name
        if isinstance(name, PlainXComArg):
            mapped = next(name.operator.iter_mapped_task_groups(), None) is not None
            pulled = f"task_ids={name.operator.task_id!r}, key={name.key!r}"
            return f"{{{{ ti.xcom_pull({pulled}, map_indexes={'ti.map_index' if mapped else -1}) }}}}"
        if not isinstance(name, str) or "xcom_pull" in name:
            raise ConfigurationError(
                f"start_from_trigger= wants job_name= as what a task returned (submit.output) or as text that pulls no "
                f"XCom, not {type(name).__name__}: Airflow could not render it in the triggerer. Nothing was sent."
            )
        return name

    def _now(self) -> float:
        return time.time()


_ERRORS: dict[str, type[AirflowException]] = {
    "failed": JobFailedError,
    "lost": JobLostError,
    "timeout": AirflowSensorTimeout,
}
