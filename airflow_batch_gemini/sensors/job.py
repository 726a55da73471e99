"""Waiting for a job without holding a worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.bases.sensor import PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException

from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.batch.waiting import WaitEnd, end_of_wait, next_look, progress
from airflow_batch_gemini.exceptions import ConfigurationError, JobFailedError, JobLostError, ServiceError
from airflow_batch_gemini.links.job import GeminiBatchJobLink
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.batch.waiting import Progress
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

_WEEK = 7 * 24 * 3600.0


class GeminiBatchSensor(BaseSensorOperator):
    """Wait until a batch job ends; return its name, state, counts and output location.

    It looks once before it defers and finishes at once when the job has ended. Looks that fail only slow the wait
    down; what ends it are the job's end, its loss (403, 404) and the deadline. A job that ends without success raises
    :class:`JobFailedError`, which no retry repeats. PARTIALLY_SUCCEEDED is a success with a warning; PAUSED is none.

    :param job_name: full resource name of the job; what :class:`GeminiBatchSubmitOperator` returns. Templated.
    :param poll_interval: seconds between looks (Airflow's ``poke_interval``).
    :param timeout: seconds or ``timedelta`` from the creation of the job, by Vertex AI's clock, to
        ``AirflowSensorTimeout``. The job runs on.
    :param deferrable: wait in the triggerer; else by ``mode`` in or between workers.
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
        deferrable: bool = True,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poll_interval, timeout=timeout, **kwargs)
        if poll_interval <= 0:
            raise ConfigurationError(f"poll_interval={poll_interval!r} is no pause. Nothing was sent.")
        self.job_name = job_name
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._job: Job | None = None
        self._misses = 0
        self._said: Progress | None = None
        self._deadline: float | None = None

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
                poll_interval=self.poll_interval,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Return what the job ended with, or raise what its end means."""
        return self._conclude(WaitEnd.from_event(event))

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
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(end.message)
        raise _ERRORS[end.status](end.message)

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

    def _now(self) -> float:
        return time.time()


_ERRORS: dict[str, type[AirflowException]] = {
    "failed": JobFailedError,
    "lost": JobLostError,
    "timeout": AirflowSensorTimeout,
}
