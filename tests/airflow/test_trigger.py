"""GeminiBatchJobTrigger: it looks, it waits, it tells once; and it creates nothing."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.exceptions import AirflowNotFoundException
from job_side import Prepared, prepare

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.exceptions import JobLostError, ServiceError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.triggers import job as module
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

NAME = "projects/demo/locations/us-central1/batchPredictionJobs/7"


class Clock(GeminiBatchJobTrigger):
    """A trigger in a world where waiting takes no time, and is written down."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"job_name": NAME, "deadline": 10_000.0, "poll_interval": 60} | options))
        self.time = 0.0
        self.pauses: list[float] = []

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    def _now(self) -> float:
        return self.time


class Script:
    """A hook that answers line by line; the last line for ever."""

    def __init__(self, *lines: Job | Exception) -> None:
        self.lines = list(lines)
        self.looks = 0

    async def aget(self, job_name: str) -> Job:
        assert job_name == NAME
        self.looks += 1
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, Exception):
            raise line
        return line


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a trigger against a script; return the events."""

    def play(trigger: GeminiBatchJobTrigger, script: Script, *, unread: int = 0) -> list[dict[str, Any]]:
        missing = [AirflowNotFoundException("The conn_id isn't defined")] * unread

        @asynccontextmanager
        async def shared(**connection: Any) -> AsyncIterator[Script]:
            assert connection == {"gcp_conn_id": "google_cloud_default", "impersonation_chain": None}
            if missing:
                raise missing.pop()
            yield script

        monkeypatch.setattr(GeminiBatchHook, "shared", shared)

        async def collect() -> list[dict[str, Any]]:
            return [event.payload async for event in trigger.run()]

        return asyncio.run(collect())

    return play


def seen(word: str, **changes: Any) -> Job:
    return Job(name=NAME, state=f"JOB_STATE_{word}", **changes)


def test_it_looks_until_the_job_ends_and_tells_once(play: Any) -> None:
    """First look after half a minute, then at the poll interval."""
    trigger = Clock()
    script = Script(seen("PENDING"), seen("RUNNING"), seen("SUCCEEDED", counts=Counts(succeeded=3, failed=0)))
    [event] = play(trigger, script)
    assert (event["status"], event["state"], event["counts"]["succeeded"]) == (
        "success",
        "JOB_STATE_SUCCEEDED",
        3,
    )
    assert 30 <= trigger.pauses[0] < 60
    assert all(54 <= pause <= 66 for pause in trigger.pauses[1:])
    assert len(trigger.pauses) == script.looks == 3


@pytest.mark.parametrize("poll_interval", [0.1, 1, 5, 30, 600])
def test_it_never_looks_within_the_first_seconds(play: Any, poll_interval: float) -> None:
    """Airflow may still be writing down that the task is deferred."""
    trigger = Clock(poll_interval=poll_interval)
    play(trigger, Script(seen("SUCCEEDED")))
    assert trigger.pauses[0] >= max(5, min(poll_interval, 30))


def test_misses_only_slow_it_down(play: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Ten in a row, up to ten minutes apart; the first success is back to speed."""
    trigger = Clock(deadline=1e6)
    miss = ServiceError("503", http_status=503)
    script = Script(*[miss] * 10, seen("RUNNING"), seen("FAILED", error_code=3, error_message="bad"))
    [event] = play(trigger, script)
    assert event["status"] == "failed"
    assert trigger.pauses[1] > 100
    assert 500 < max(trigger.pauses) < 700
    assert trigger.pauses[-1] < 70
    assert script.looks == 12


def test_a_connection_that_cannot_be_read_for_a_while_is_a_miss(play: Any) -> None:
    """So a secrets backend looks that is down when a triggerer restarts in the night."""
    trigger, script = Clock(), Script(seen("RUNNING"), seen("SUCCEEDED"))
    [event] = play(trigger, script, unread=2)
    assert (event["status"], script.looks, len(trigger.pauses)) == ("success", 2, 4)
    assert trigger.pauses[1] > 100


def test_a_lost_job_ends_the_wait_at_once(play: Any) -> None:
    """403 and 404."""
    trigger = Clock()
    [event] = play(trigger, Script(seen("RUNNING"), JobLostError("it was deleted")))
    assert (event["status"], event["state"], event["message"]) == (
        "lost",
        "JOB_STATE_RUNNING",
        "it was deleted",
    )


def test_the_deadline_ends_the_wait_on_time_misses_or_not(play: Any) -> None:
    """The last look is at the deadline, not a poll interval later."""
    for line in (seen("PENDING"), ServiceError("503")):
        trigger = Clock(deadline=1000.0)
        [event] = play(trigger, Script(line))
        assert event["status"] == "timeout"
        assert 1000 <= trigger.time <= 1002


def test_progress_is_said_on_change_only(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a look."""
    trigger, said = Clock(), []
    monkeypatch.setattr(trigger.log, "info", lambda _format, line: said.append(line))
    running = seen("RUNNING", counts=Counts(succeeded=5))
    play(trigger, Script(*[seen("PENDING")] * 20, *[running] * 20, seen("SUCCEEDED")))
    assert [line.split(":")[0] for line in said] == [
        "JOB_STATE_PENDING",
        "JOB_STATE_RUNNING",
        "JOB_STATE_SUCCEEDED",
    ]


def test_it_comes_back_from_the_database_as_it_was() -> None:
    """Names and numbers; JSON."""
    options = {
        "job_name": NAME,
        "deadline": 123.5,
        "poll_interval": 30.0,
        "gcp_conn_id": "other",
        "impersonation_chain": ["a@x", "b@x"],
    }
    path, kwargs = GeminiBatchJobTrigger(**options).serialize()
    assert kwargs == options == json.loads(json.dumps(kwargs))
    assert import_string(path) is GeminiBatchJobTrigger
    assert import_string(path)(**kwargs).serialize() == (path, kwargs)


def test_an_event_carries_names_counts_and_a_message(play: Any) -> None:
    """No payload, no credential."""
    [event] = play(Clock(), Script(seen("SUCCEEDED", output_uri="gs://b/out", labels={"a": "b"})))
    assert set(event) == {"status", "job_name", "state", "counts", "output_uri", "message"}
    json.dumps(event)


def test_it_has_no_means_to_create_anything() -> None:
    """It may run twice at once."""
    source = inspect.getsource(module)
    assert "create" not in source.replace("never creates", "")


@pytest.fixture
def batch(bucket: str) -> Iterator[Prepared]:
    """A prepared batch of one part."""
    prepared = prepare(bucket)
    yield prepared
    prepared.close()


def test_many_triggers_share_one_session_against_the_real_service(batch: Prepared, cloud: LocalCloud) -> None:
    """Forty triggers on one loop; one of them is cancelled and the rest goes on."""
    cloud.knobs(pace="looks:20")
    job = batch.vertex.create(
        project_id="demo",
        location="us-central1",
        display_name="a job",
        model=batch.manifest.model,
        source_uri=batch.manifest.parts[0].uri,
        destination_uri=f"gs://{batch.folder.folder.bucket}/out",
        labels={},
    )

    async def wait() -> dict[str, Any]:
        trigger = Clock(job_name=job.name, deadline=1e9)
        events = [event.payload async for event in trigger.run()]
        assert len(events) == 1
        return events[0]

    async def story() -> list[dict[str, Any]]:
        tasks = [asyncio.create_task(wait()) for _ in range(40)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        return answers[1:]  # type: ignore[return-value]  # the first was the exception

    events = asyncio.run(story())
    assert {event["status"] for event in events} == {"success"}
    assert events[0]["output_uri"].startswith(f"gs://{batch.folder.folder.bucket}/out/")
