"""Waits for BigQuery jobs while nobody holds a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_batch_gemini.batch.landing import WarehouseJob
from airflow_batch_gemini.exceptions import LandingError, ServiceError


class GeminiBatchWarehouseTrigger(BaseTrigger):
    """Fire when none of *jobs* is running any more, or at the deadline.

    It only looks: started twice or again it changes nothing. The event carries job names and no verdict; whoever
    resumes looks for itself. The first look comes after one interval.

    :param jobs: BigQuery jobs as ``[project, location, job id]``.
    :param poll_interval: seconds between looks.
    :param deadline: epoch seconds.
    """

    def __init__(
        self,
        *,
        jobs: Sequence[Sequence[str]],
        deadline: float,
        poll_interval: float = 5.0,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
        self.jobs = [list(job) for job in jobs]
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the arguments: names and numbers only."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "jobs": self.jobs,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the wait ends."""
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        # Hook, credentials and client block: they are made, used and closed off the event loop.
        hook = await asyncio.to_thread(
            WarehouseHook, gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain
        )
        running = [WarehouseJob.from_list(job) for job in self.jobs]
        try:
            while running and time.time() < self.deadline:
                await asyncio.sleep(self.poll_interval)
                running = [job for job in running if await asyncio.to_thread(self._runs, hook, job)]
        finally:
            await asyncio.to_thread(hook.close)
        yield TriggerEvent({"jobs": self.jobs})

    def _runs(self, hook: Any, job: WarehouseJob) -> bool:
        """Look once. A look that failed says nothing, so the job is looked at again."""
        try:
            return not hook.look(job).done
        except ServiceError as miss:
            self.log.warning("%s", miss)
            return True
        except LandingError:
            return False
