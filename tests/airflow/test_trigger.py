"""GeminiBatchJobTrigger: it looks, it waits, it tells once; and it creates nothing."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.exceptions import AirflowNotFoundException
from job_side import Prepared, prepare
from virtual_time import run

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.exceptions import JobLostError, ServiceError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.looks import SharedLooks
from airflow_batch_gemini.triggers import job as module
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

JOBS = "/v1/projects/{project}/locations/{location}/batchPredictionJobs"
NAME = "projects/demo/locations/us-central1/batchPredictionJobs/7"


class Clock(GeminiBatchJobTrigger):
    """A trigger in virtual time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"job_name": NAME, "deadline": 10_000.0, "poll_interval": 60} | options))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class Script:
    """A hook that answers line by line, the last line for ever; and when it was asked."""

    def __init__(self, *lines: Job | Exception) -> None:
        self.lines = list(lines)
        self.times: list[float] = []
        self._shared: SharedLooks | None = None

    def looks(self, job_name: str) -> SharedLooks:
        assert job_name == NAME
        self._shared = self._shared or SharedLooks(self, project_id="demo", location="us-central1")  # type: ignore[arg-type]  # its stand-in
        return self._shared

    async def aget(self, job_name: str) -> Job:
        assert job_name == NAME
        self.times.append(asyncio.get_running_loop().time())
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, Exception):
            raise line
        return line

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in pairwise([0.0, *self.times])]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a trigger against a script; return the events, and the time at the end."""

    def play(
        trigger: GeminiBatchJobTrigger, script: Script, *, unread: int = 0
    ) -> tuple[dict[str, Any], float]:
        missing = [AirflowNotFoundException("The conn_id isn't defined")] * unread

        @asynccontextmanager
        async def shared(**connection: Any) -> AsyncIterator[Script]:
            assert connection == {"gcp_conn_id": "google_cloud_default", "impersonation_chain": None}
            if missing:
                raise missing.pop()
            yield script

        monkeypatch.setattr(GeminiBatchHook, "shared", shared)

        async def collect() -> tuple[dict[str, Any], float]:
            [event] = [event.payload async for event in trigger.run()]
            return event, asyncio.get_running_loop().time()

        return run(collect())

    return play


def seen(word: str, **changes: Any) -> Job:
    return Job(name=NAME, state=f"JOB_STATE_{word}", **changes)


def test_it_looks_until_the_job_ends_and_tells_once(play: Any) -> None:
    """First look after half a minute, then at the poll interval."""
    script = Script(seen("PENDING"), seen("RUNNING"), seen("SUCCEEDED", counts=Counts(succeeded=3, failed=0)))
    event, _ = play(Clock(), script)
    assert (event["status"], event["state"], event["counts"]["succeeded"]) == (
        "success",
        "JOB_STATE_SUCCEEDED",
        3,
    )
    assert 30 <= script.pauses[0] <= 60
    assert all(54 <= pause <= 66 for pause in script.pauses[1:])
    assert len(script.pauses) == 3


@pytest.mark.parametrize("poll_interval", [0.1, 1, 5, 30, 600])
def test_it_never_looks_within_the_first_seconds(play: Any, poll_interval: float) -> None:
    """Airflow may still be writing down that the task is deferred."""
    script = Script(seen("SUCCEEDED"))
    play(Clock(poll_interval=poll_interval), script)
    assert script.pauses[0] >= max(5, min(poll_interval, 30))


def test_misses_only_slow_it_down(play: Any) -> None:
    """Ten in a row, up to ten minutes apart; the first success is back to speed."""
    miss = ServiceError("503", http_status=503)
    script = Script(*[miss] * 10, seen("RUNNING"), seen("FAILED", error_code=3, error_message="bad"))
    event, _ = play(Clock(deadline=1e6), script)
    assert event["status"] == "failed"
    assert script.pauses[1] > 100
    assert 500 < max(script.pauses) < 700
    assert script.pauses[-1] < 70
    assert len(script.pauses) == 12


def test_a_connection_that_cannot_be_read_for_a_while_is_a_miss(play: Any) -> None:
    """So a secrets backend looks that is down when a triggerer restarts in the night."""
    script = Script(seen("RUNNING"), seen("SUCCEEDED"))
    event, _ = play(Clock(), script, unread=2)
    assert (event["status"], len(script.times)) == ("success", 2)
    assert script.times[0] > 300


def test_a_lost_job_ends_the_wait_at_once(play: Any) -> None:
    """403 and 404."""
    event, _ = play(Clock(), Script(seen("RUNNING"), JobLostError("it was deleted")))
    assert (event["status"], event["state"], event["message"]) == (
        "lost",
        "JOB_STATE_RUNNING",
        "it was deleted",
    )


def test_the_deadline_ends_the_wait_on_time_misses_or_not(play: Any) -> None:
    """The last look is at the deadline, not a poll interval later."""
    for line in (seen("PENDING"), ServiceError("503")):
        event, end = play(Clock(deadline=1000.0), Script(line))
        assert event["status"] == "timeout"
        assert 1000 <= end <= 1002


@pytest.mark.parametrize(("options", "latest"), [({}, 1000.0), ({"created": 700.0}, 1700.0)])
def test_a_timeout_counts_from_the_jobs_creation_once_that_is_known(
    play: Any, options: dict[str, Any], latest: float
) -> None:
    """For a wait that began in the triggerer; a job that is never seen counts from the wait's begin."""
    event, end = play(Clock(deadline=None, timeout=1000.0, **options), Script(ServiceError("503")))
    assert event["status"] == "timeout"
    assert latest <= end <= latest + 2
    event, end = play(Clock(deadline=None, timeout=1000.0), Script(seen("RUNNING", create_time=500.0)))
    assert event["status"] == "timeout"
    assert 1500 <= end <= 1502


def test_progress_is_said_on_change_only(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a look."""
    trigger, said = Clock(deadline=1e9), []
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
        "timeout": None,
        "created": 17.25,
        "poll_interval": 30.0,
        "cancel_on_kill": True,
        "owner": "0198-owner",
        "gcp_conn_id": "other",
        "impersonation_chain": ["a@x", "b@x"],
    }
    path, kwargs = GeminiBatchJobTrigger(**options).serialize()
    assert kwargs == options == json.loads(json.dumps(kwargs))
    assert import_string(path) is GeminiBatchJobTrigger
    assert import_string(path)(**kwargs).serialize() == (path, kwargs)


def test_an_event_carries_names_counts_and_a_message(play: Any) -> None:
    """No payload, no credential."""
    event, _ = play(Clock(), Script(seen("SUCCEEDED", output_uri="gs://b/out", labels={"a": "b"})))
    assert set(event) == {"status", "job_name", "state", "counts", "output_uri", "message"}
    json.dumps(event)


def test_it_has_no_means_to_create_anything() -> None:
    """It may run twice at once."""
    tree = ast.parse(inspect.getsource(module))
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {"looks", "give_up"} <= called
    assert not called & {"create", "delete", "write", "copy", "client", "aclient"}


@pytest.fixture
def batch(bucket: str) -> Iterator[Prepared]:
    """A prepared batch of one part."""
    prepared = prepare(bucket)
    yield prepared
    prepared.close()


@pytest.mark.parametrize("label", ["gemini_batch", "somebody_elses"])
def test_many_triggers_share_session_and_looks_against_the_real_service(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """Twenty jobs, two waits each, on one loop; one wait is cancelled and the rest goes on."""
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(module, "first_look", lambda **_: 0.05)
    cloud.knobs(pace="looks:3")
    jobs = [batch.create(**{label: "b1"}) for _ in range(20)]
    before = cloud.stats()["calls"]

    async def wait(job: Job) -> dict[str, Any]:
        trigger = GeminiBatchJobTrigger(
            job_name=job.name, created=job.create_time, deadline=time.time() + 60, poll_interval=0.1
        )
        events = [event.payload async for event in trigger.run()]
        assert len(events) == 1
        return events[0]

    async def story() -> list[dict[str, Any]]:
        tasks = [asyncio.create_task(wait(job)) for job in jobs for _ in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        return answers[1:]  # type: ignore[return-value]  # the first was the exception

    events = asyncio.run(story())
    assert {event["status"] for event in events} == {"success"}
    assert {event["job_name"] for event in events} == {job.name for job in jobs}
    assert all(event["output_uri"].startswith(f"gs://{batch.folder.folder.bucket}/out/") for event in events)
    made = {route: n - before.get(route, 0) for route, n in cloud.stats()["calls"].items()}
    lists = made[f"GET {JOBS}"]
    gets = made.get(f"GET {JOBS}/{{job}}", 0)
    if label == "gemini_batch":
        assert (gets, lists) == (0, pytest.approx(8, abs=6))
    else:
        assert 20 <= gets <= 2 * 20 * lists
