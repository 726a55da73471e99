"""Waiting for a job in the triggerer. It looks and never creates, so it may run twice, or again after a restart."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_batch_gemini.batch.waiting import WaitEnd, end_of_wait, first_look, next_look, progress
from airflow_batch_gemini.exceptions import JobLostError, ServiceError

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.batch.waiting import Progress
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook


class GeminiBatchJobTrigger(BaseTrigger):
    """Look at a job until it ends, is lost, or the deadline passes; one event tells which.

    Misses (looks that failed) only slow it down. All triggers of one connection share one HTTP session.

    :param job_name: full resource name of the job.
    :param deadline: epoch seconds.
    :param poll_interval: seconds between looks.
    :param gcp_conn_id: the connection; only its name travels.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    def __init__(
        self,
        *,
        job_name: str,
        deadline: float,
        poll_interval: float = 60,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
        self.job_name = job_name
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._hook: GeminiBatchHook | None = None
        self._job: Job | None = None
        self._misses = 0
        self._said: Progress | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the database keeps: names and numbers."""
        return (
            "airflow_batch_gemini.triggers.job.GeminiBatchJobTrigger",
            {
                "job_name": self.job_name,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        end = await self._wait()
        yield TriggerEvent(end.to_event())

    async def _wait(self) -> WaitEnd:
        async with AsyncExitStack() as stack:
            pause = first_look(poll_interval=self.poll_interval, jitter=random.random())  # noqa: S311  # no secret
            while True:
                await self._sleep(pause)
                if end := await self._look(stack):
                    return end
                pause = next_look(
                    poll_interval=self.poll_interval,
                    misses=self._misses,
                    jitter=random.random(),  # noqa: S311  # no secret
                    left=self.deadline - self._now(),
                )

    async def _borrowed(self, stack: AsyncExitStack) -> GeminiBatchHook:
        """Return the shared hook, kept for as long as *stack* is.

        The sensor has read the connection already; that it is not found now is how Airflow tells of a secrets backend
        that is down, so it is a look that failed.
        """
        from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

        shared = GeminiBatchHook.shared(
            gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain
        )
        try:
            return await stack.enter_async_context(shared)
        except AirflowNotFoundException as error:
            raise ServiceError(f"The connection {self.gcp_conn_id!r} could not be read: {error}") from error

    async def _look(self, stack: AsyncExitStack) -> WaitEnd | None:
        lost = None
        try:
            self._hook = self._hook or await self._borrowed(stack)
            self._job = await self._hook.aget(self.job_name)
            self._misses = 0
            self._say(self._job)
        except JobLostError as error:
            lost = str(error)
        except ServiceError as error:
            self._misses += 1
            self.log.warning("Look %s in a row that failed: %s", self._misses, error)
        return end_of_wait(
            self._job,
            job_name=self.job_name,
            now=self._now(),
            deadline=self.deadline,
            misses=self._misses,
            lost=lost,
        )

    def _say(self, job: Job) -> None:
        if news := progress(job, now=self._now(), said=self._said):
            self._said = news
            self.log.info("%s", news.line(job))

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _now(self) -> float:
        return time.time()
