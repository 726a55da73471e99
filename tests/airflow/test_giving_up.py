"""Who may cancel a job that is waited for: nobody, unless asked to; and never what somebody else has adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from job_side import Prepared, context, in_tables, prepare

from airflow_batch_gemini.exceptions import ConfigurationError, ServiceError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.triggers import job as module
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

LIVE = ("JOB_STATE_PENDING", "JOB_STATE_RUNNING")
GIVEN_UP = ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")


@pytest.fixture
def batch(bucket: str, cloud: LocalCloud) -> Iterator[Prepared]:
    """A prepared batch whose jobs never end by themselves."""
    cloud.knobs(pace="looks:1000000")
    prepared = prepare(bucket)
    yield prepared
    prepared.close()


@pytest.fixture(params=["gcs", "bigquery"])
def anywhere(request: Any, batch: Prepared, dataset: str, cloud: LocalCloud) -> Prepared:
    """The same, with requests on Cloud Storage or in BigQuery."""
    return in_tables(batch, dataset, cloud) if request.param == "bigquery" else batch


def submit(batch: Prepared, attempt: int = 1) -> str:
    operator = GeminiBatchSubmitOperator(task_id="submit", batch=batch.ref.to_dict(), settle_seconds=0)
    return operator.execute(context(attempt))


def deferred(job_name: str, **options: Any) -> TaskDeferred:
    waiting = GeminiBatchSensor(task_id="wait", job_name=job_name, **options)
    with pytest.raises(TaskDeferred) as caught:
        waiting.execute(context())
    return caught.value


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Kill a trigger as Airflow does, when the task is in *state* by Airflow's record."""

    def kill(trigger: Any, *, state: str | None, map_index: int = -1) -> None:
        asked: list[dict[str, Any]] = []

        def states(**query: Any) -> dict[str, Any]:
            asked.append(query)
            key = "wait" if map_index < 0 else f"wait_{map_index}"
            return {"run": {key: state, "wait_99": "failed"}}

        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(states))
        trigger = type(trigger)(**trigger.serialize()[1])
        trigger.task_instance = SimpleNamespace(
            dag_id="dag", run_id="run", task_id="wait", map_index=map_index
        )
        asyncio.run(trigger.on_kill())
        for query in asked:
            assert query == {
                "dag_id": "dag",
                "task_ids": ["wait"],
                "run_ids": ["run"],
                "map_index": map_index if map_index >= 0 else None,
            }

    return kill


@pytest.mark.parametrize("map_index", [-1, 7])
def test_failing_the_wait_cancels_the_job_when_asked_to(
    anywhere: Prepared, kill: Any, map_index: int
) -> None:
    """By the ledger; the next submit knows that it was given up."""
    job_name = submit(anywhere)
    kill(deferred(job_name, cancel_on_kill=True).trigger, state="failed", map_index=map_index)
    assert anywhere.vertex.get(job_name).state in GIVEN_UP
    assert anywhere.ledger().state == "CANCELLED"


def test_failing_the_wait_leaves_the_job_running_by_default(batch: Prepared, kill: Any) -> None:
    """It is paid for, and a retry goes on waiting."""
    job_name = submit(batch)
    kill(deferred(job_name).trigger, state="failed")
    assert (batch.vertex.get(job_name).state in LIVE, batch.ledger().state) == (True, "SUBMITTED")


@pytest.mark.parametrize(
    "state", ["deferred", None, "scheduled", "queued", "running", "success", "skipped", "up_for_retry"]
)
def test_a_trigger_killed_for_any_other_reason_cancels_nothing(
    batch: Prepared, kill: Any, state: str | None
) -> None:
    """Handed to another triggerer (still deferred), cleared, marked successful, run timed out (skipped)."""
    job_name = submit(batch)
    kill(deferred(job_name, cancel_on_kill=True).trigger, state=state)
    assert (batch.vertex.get(job_name).state in LIVE, batch.ledger().state) == (True, "SUBMITTED")


def test_a_job_that_a_newer_attempt_has_adopted_is_not_cancelled_by_the_old_wait(
    batch: Prepared, kill: Any
) -> None:
    """Failed and cleared at once: the new submit was faster than the old trigger's end."""
    job_name = submit(batch)
    trigger = deferred(job_name, cancel_on_kill=True).trigger
    assert submit(batch, attempt=2) == job_name
    kill(trigger, state="failed")
    assert (batch.vertex.get(job_name).state in LIVE, batch.ledger().state) == (True, "SUBMITTED")
    kill(deferred(job_name, cancel_on_kill=True).trigger, state="failed")
    assert batch.vertex.get(job_name).state in GIVEN_UP


def test_a_record_that_cannot_be_read_cancels_nothing(
    batch: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server is down: nobody knows that the task was failed."""
    job_name = submit(batch)
    trigger = deferred(job_name, cancel_on_kill=True).trigger

    def down(**_query: Any) -> None:
        raise ConnectionError("API server")

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(down))
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="wait", map_index=-1)
    with pytest.raises(ServiceError, match="The job runs on"):
        asyncio.run(trigger.on_kill())
    assert batch.vertex.get(job_name).state in LIVE


def test_a_wait_that_began_in_the_triggerer_learns_whose_the_job_is_at_its_first_look(
    batch: Prepared, kill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And cancels as any other."""
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(module, "first_look", lambda **_: 0.0)
    job_name = submit(batch)
    waiting = GeminiBatchSensor(
        task_id="wait", job_name=job_name, start_from_trigger=True, cancel_on_kill=True
    )
    args = waiting.start_trigger_args
    assert args is not None
    trigger = GeminiBatchJobTrigger(**(args.trigger_kwargs or {}))
    kill(trigger, state="failed")
    assert batch.vertex.get(job_name).state in LIVE, "it was never seen, so it is nobody's to cancel"

    async def begin() -> None:
        async for _ in trigger.run():
            raise AssertionError("it has not ended")

    async def story() -> None:
        wait = asyncio.create_task(begin())
        while trigger.owner is None:  # noqa: ASYNC110  # the trigger tells nobody
            await asyncio.sleep(0.01)
        wait.cancel()
        await asyncio.wait([wait])

    asyncio.run(story())
    assert trigger.owner == batch.ledger().owner
    kill(trigger, state="failed")
    assert batch.vertex.get(job_name).state in GIVEN_UP


@pytest.mark.parametrize("options", [{"cancel_on_kill": True}, {"on_timeout": "cancel"}])
def test_a_job_without_a_ledger_cannot_be_given_up_and_the_wait_says_so_at_once(
    anywhere: Prepared, options: dict[str, Any]
) -> None:
    """A promise that could not be kept is not given."""
    job = anywhere.create()
    waiting = GeminiBatchSensor(task_id="wait", job_name=job.name, **options)
    with pytest.raises(ConfigurationError, match="was not submitted by GeminiBatchSubmitOperator"):
        waiting.execute(context())


def overdue(trigger: Any) -> dict[str, Any]:
    """The event of a wait whose deadline has passed."""
    return {
        "status": "timeout",
        "job_name": trigger.job_name,
        "state": "JOB_STATE_RUNNING",
        "counts": {"succeeded": None, "failed": None, "incomplete": None},
        "output_uri": "",
        "message": "It is late. The job runs on and is paid for: clear the wait with a longer timeout to go on, "
        "or cancel the job.",
    }


@pytest.mark.parametrize("poking", [False, True])
def test_a_wait_that_times_out_cancels_only_when_told_to(batch: Prepared, poking: bool) -> None:
    """Deferred or poking; the message says what became of the job."""
    job_name = submit(batch)
    for on_timeout, states, words in [
        ("leave", LIVE, "The job runs on and is paid for"),
        ("cancel", GIVEN_UP, "Vertex AI was asked to cancel it"),
    ]:
        options = {"job_name": job_name, "on_timeout": on_timeout, "deferrable": not poking}
        waiting = GeminiBatchSensor(task_id="wait", timeout=0.001 if poking else 3600, **options)
        with pytest.raises(AirflowSensorTimeout, match=words) as caught:
            if poking:
                waiting.execute(context())
            else:
                defer = deferred(job_name, on_timeout=on_timeout)
                assert defer.kwargs is not None
                waiting.execute_complete(context(), event=overdue(defer.trigger), **defer.kwargs)
        assert ("runs on and is paid for" in str(caught.value)) == (on_timeout == "leave")
        assert batch.vertex.get(job_name).state in states


def test_a_wait_that_times_out_late_leaves_what_a_newer_attempt_has_adopted(batch: Prepared) -> None:
    """A worker that was thought dead comes to the end of its wait."""
    job_name = submit(batch)
    defer = deferred(job_name, on_timeout="cancel")
    submit(batch, attempt=2)
    waiting = GeminiBatchSensor(task_id="wait", job_name=job_name, on_timeout="cancel")
    with pytest.raises(AirflowSensorTimeout, match="another attempt to submit has taken it over"):
        waiting.execute_complete(context(), event=overdue(defer.trigger), **(defer.kwargs or {}))
    assert batch.vertex.get(job_name).state in LIVE


def test_a_job_that_cannot_be_cancelled_at_the_timeout_is_said_to_run_on(
    batch: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timeout is still the error; the reason is in it."""
    job_name = submit(batch)
    defer = deferred(job_name, on_timeout="cancel")
    waiting = GeminiBatchSensor(task_id="wait", job_name=job_name, on_timeout="cancel")

    def refuse(_self: Any, _name: str) -> None:
        raise ServiceError("no permission", http_status=403)

    monkeypatch.setattr(GeminiBatchHook, "cancel", refuse)
    with pytest.raises(
        AirflowSensorTimeout, match=r"could not be cancelled and may run on \(no permission\)"
    ):
        waiting.execute_complete(context(), event=overdue(defer.trigger), **(defer.kwargs or {}))
