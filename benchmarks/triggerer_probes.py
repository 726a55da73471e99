"""The triggers that the triggerer benchmark waits with: the real ones, which also write down every look they had.

Airflow's triggerer imports this module by the class path of the trigger rows.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.waiting import WaitEnd
from airflow_batch_gemini.hooks.looks import SharedLooks
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

LOOKS, SHARING, DOOR = "BENCH_LOOKS", "BENCH_SHARING", "BENCH_DOOR"
"""Environment: the file for the looks; ``off`` for plain gets; host and port where JobService answers by gRPC."""

WAITING, ENDED, MISSED = 0, 1, 2
_LOOK = struct.Struct("<QdB")


def looks(path: Path, *, skip: int = 0) -> Iterator[tuple[int, float, int]]:
    """Yield job id, epoch seconds and outcome of every look written to *path*, after the first *skip* of them."""
    whole = path.read_bytes()[skip * _LOOK.size :] if path.exists() else b""
    return _LOOK.iter_unpack(whole[: len(whole) // _LOOK.size * _LOOK.size])


def note(job_name: str, outcome: int) -> None:
    """Write down one look; the triggerer may be killed right after it."""
    os.write(_book(), _LOOK.pack(int(job_name.rpartition("/")[2]), time.time(), outcome))


@cache
def _book() -> int:
    return os.open(os.environ[LOOKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


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
