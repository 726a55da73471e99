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

from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.batch.waiting import (
    SETTLING_SECONDS,
    WaitEnd,
    end_of_wait,
    first_look,
    next_look,
    progress,
)
from airflow_batch_gemini.exceptions import JobLostError, ServiceError
from airflow_batch_gemini.triggers.kill import failed_on_purpose

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.batch.waiting import Progress
    from airflow_batch_gemini.hooks.cancelling import WaitedJob
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook


class GeminiBatchJobTrigger(BaseTrigger):
    """Look at a job until it ends, is lost, or the deadline passes; one event tells which.

    Misses (looks that failed) only slow it down. All triggers of one connection share one HTTP session, and those that
    watch the same project and location share looks: a listing shows a hundred jobs for the price of one.

    Killed, it cancels nothing unless ``cancel_on_kill`` says so, the task really is failed, and the ledger still
    belongs to the attempt that submitted the job when the wait began. Airflow also kills a trigger that was merely
    handed to another triggerer, or whose task was cleared; neither costs a job.

    :param job_name: full resource name of the job.
    :param deadline: epoch seconds; ``None``: *timeout* seconds after the job was created, by Vertex AI's clock.
    :param timeout: seconds; only without *deadline*.
    :param created: when the job was created (epoch seconds), where that is known already.
    :param poll_interval: seconds between looks.
    :param cancel_on_kill: cancel the job when somebody fails the waiting task.
    :param owner: the attempt that submitted the job; ``None``: whoever the ledger names at the first look.
    :param gcp_conn_id: the connection; only its name travels.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    def __init__(
        self,
        *,
        job_name: str,
        deadline: float | None = None,
        timeout: float | None = None,
        created: float | None = None,
        poll_interval: float = 60,
        cancel_on_kill: bool = False,
        owner: str | None = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
        self.job_name = job_name
        self.deadline = deadline
        self.timeout = timeout
        self.created = created
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.owner = owner
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._hook: GeminiBatchHook | None = None
        self._job: Job | None = None
        self._misses = 0
        self._said: Progress | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the database keeps: names and numbers."""
        names = (
            "job_name",
            "deadline",
            "timeout",
            "created",
            "poll_interval",
            "cancel_on_kill",
            "owner",
            "gcp_conn_id",
            "impersonation_chain",
        )
        return (
            "airflow_batch_gemini.triggers.job.GeminiBatchJobTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        end = await self._wait()
        yield TriggerEvent(end.to_event())

    async def on_kill(self) -> None:
        """Cancel the job if it is this wait's to cancel; say in the log what became of it."""
        from airflow_batch_gemini.hooks.cancelling import SAID

        if not self.cancel_on_kill:
            self.log.info("%s runs on: this wait does not cancel (cancel_on_kill=False).", self.job_name)
        elif not await asyncio.to_thread(failed_on_purpose, self.task_instance):
            self.log.info("%s runs on: nobody failed the task that waits for it.", self.job_name)
        elif self.owner is None:
            self.log.warning("%s runs on: it was never seen, so nobody knows whose it is.", self.job_name)
        else:
            waited = await asyncio.to_thread(self._waited)
            answer = await asyncio.to_thread(waited.give_up, owner=self.owner)
            self.log.info("%s: %s.", self.job_name, SAID[answer])

    async def _wait(self) -> WaitEnd:
        JobName.parse(self.job_name)  # a template that was rendered in the triggerer may have become anything
        started = self._now()
        async with AsyncExitStack() as stack:
            await asyncio.sleep(SETTLING_SECONDS)
            pause = first_look(poll_interval=self.poll_interval, jitter=random.random()) - SETTLING_SECONDS  # noqa: S311  # no secret
            while True:
                if end := await self._look(stack, pause, started):
                    return end
                pause = next_look(
                    poll_interval=self.poll_interval,
                    misses=self._misses,
                    jitter=random.random(),  # noqa: S311  # no secret
                    left=self._ends(started) - self._now(),
                )

    async def _borrowed(self, stack: AsyncExitStack) -> GeminiBatchHook:
        """Return the shared hook, kept for as long as *stack* is.

        The sensor has read the connection already; that it is not found now is how Airflow tells of a secrets backend
        that is down, so it is a look that failed.
        """
        hook = await asyncio.to_thread(_imported_hook)
        shared = hook.shared(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        try:
            return await stack.enter_async_context(shared)
        except AirflowNotFoundException as error:
            raise ServiceError(f"The connection {self.gcp_conn_id!r} could not be read: {error}") from error

    async def _look(self, stack: AsyncExitStack, pause: float, started: float) -> WaitEnd | None:
        """Look once, *pause* seconds from now at the latest; return how the wait ended if it did."""
        lost = None
        try:
            self._job = await self._seen(stack, pause)
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
            deadline=self._ends(started),
            misses=self._misses,
            lost=lost,
        )

    async def _seen(self, stack: AsyncExitStack, pause: float) -> Job:
        owned = not self.cancel_on_kill or self.owner is not None
        if self._hook is None:
            try:
                self._hook = await self._borrowed(stack)
            except ServiceError:
                await asyncio.sleep(pause)
                raise
        # A listing shows no input, by which the ledger is found.
        created = self.created if owned else None
        job = await self._hook.looks(self.job_name).look(self.job_name, created=created, pause=pause)
        self.created = job.create_time or self.created
        if not owned and not job.ended:
            waited = await asyncio.to_thread(self._waited)
            self.owner = await asyncio.to_thread(waited.owner, job)
        return job

    def _waited(self) -> WaitedJob:
        from airflow_batch_gemini.hooks.cancelling import WaitedJob

        return WaitedJob(
            self.job_name, gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain
        )

    def _ends(self, started: float) -> float:
        if self.deadline is not None:
            return self.deadline
        return (self.created or started) + (self.timeout or 0.0)

    def _say(self, job: Job) -> None:
        if news := progress(job, now=self._now(), said=self._said):
            self._said = news
            self.log.info("%s", news.line(job))

    def _now(self) -> float:
        return time.time()


def _imported_hook() -> type[GeminiBatchHook]:
    """Take the second that its libraries need the first time in a thread: others on the loop go on meanwhile."""
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

    return GeminiBatchHook
