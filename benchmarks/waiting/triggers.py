"""The triggers that the triggerer benchmark waits with: the real ones, which also write down every look they had.

Airflow's triggerer imports this module by the class path of the trigger rows.
"""

from __future__ import annotations

import asyncio
import os
from functools import cached_property
from typing import Any

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.waiting import WaitEnd
from airflow_batch_gemini.hooks.looks import SharedLooks
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger
from waiting.looks import ENDED, MISSED, WAITING, note

SHARING, DOOR = "BENCH_SHARING", "BENCH_DOOR"
"""Environment: ``off`` for plain gets; host and port where JobService answers by gRPC."""


class Ours(GeminiBatchJobTrigger):
    """Our trigger as it is."""

    async def _look(self, *args: Any, **kwargs: Any) -> WaitEnd | None:
        end = await super()._look(*args, **kwargs)
        note(self.job_name, MISSED if self._misses else ENDED if end else WAITING)
        return end


async def _alone(self: SharedLooks, job_name: str, *, created: float | None, pause: float) -> Job:  # noqa: ARG001
    """Look at one job by itself when its time has come, as if nobody else waited."""
    await asyncio.sleep(pause)
    return await self._vertex.aget(job_name)


def _provider() -> type[Any]:
    """Return the Google provider's trigger, which asks over gRPC as ever, but at the benchmark's door.

    Its hook makes one client a trigger and reads the credentials for each; so does this one. Only the channel differs:
    it leads to the door, without TLS and without tokens, both of which the real one pays for.
    """
    import grpc
    from airflow.providers.google.cloud.hooks.vertex_ai.batch_prediction_job import (
        BatchPredictionJobAsyncHook,
    )
    from airflow.providers.google.cloud.triggers.vertex_ai import CreateBatchPredictionJobTrigger
    from google.cloud.aiplatform_v1 import JobServiceAsyncClient
    from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcAsyncIOTransport

    class AtTheDoor(BatchPredictionJobAsyncHook):
        async def get_job_service_client(self, region: str | None = None) -> Any:  # noqa: ARG002
            sync_hook = await self.get_sync_hook()
            sync_hook.get_credentials()
            channel = grpc.aio.insecure_channel(os.environ[DOOR])
            return JobServiceAsyncClient(transport=JobServiceGrpcAsyncIOTransport(channel=channel))

        async def get_batch_prediction_job(self, **kwargs: Any) -> Any:
            try:
                job = await super().get_batch_prediction_job(**kwargs)
            except BaseException:
                note(kwargs["job_id"], MISSED)
                raise
            note(kwargs["job_id"], ENDED if job.end_time else WAITING)
            return job

    class Provider(CreateBatchPredictionJobTrigger):
        @cached_property
        def async_hook(self) -> BatchPredictionJobAsyncHook:
            return AtTheDoor(gcp_conn_id=self.conn_id, impersonation_chain=self.impersonation_chain)

    return Provider


if os.environ.get(SHARING) == "off":
    SharedLooks.look = _alone  # type: ignore[method-assign]

if os.environ.get(DOOR):
    # Importing the provider's hooks takes seconds and a lot of memory, which is not to be counted as ours.
    Provider = _provider()
