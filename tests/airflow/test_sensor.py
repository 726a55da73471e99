"""GeminiBatchSensor: one look before it defers, one meaning for every end, deferred or poking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, BaseOperator, XComArg
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from job_side import Prepared, context, prepare

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.batch.waiting import end_of_wait
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    InvalidNameError,
    JobFailedError,
    JobLostError,
    ServiceError,
)
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

NAME = "projects/demo/locations/us-central1/batchPredictionJobs/7"


def sensor(**options: Any) -> GeminiBatchSensor:
    return GeminiBatchSensor(**({"task_id": "wait", "job_name": NAME} | options))


class Script:
    """A hook that answers line by line; the last line for ever."""

    def __init__(self, *lines: Job | Exception) -> None:
        self.lines = list(lines)
        self.looks = 0

    def get(self, job_name: str) -> Job:
        assert job_name == NAME
        self.looks += 1
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, Exception):
            raise line
        return line


def scripted(*lines: Job | Exception, **options: Any) -> GeminiBatchSensor:
    made = sensor(**options)
    made.__dict__["_hook"] = Script(*lines)
    return made


def seen(word: str, **changes: Any) -> Job:
    return Job(name=NAME, state=f"JOB_STATE_{word}", **({"create_time": time.time()} | changes))


MISS = ServiceError("503", http_status=503)
RESULT = {
    "job_name": NAME,
    "state": "JOB_STATE_SUCCEEDED",
    "succeeded": 3,
    "failed": 1,
    "incomplete": 0,
    "output_uri": "gs://b/out",
}
DONE = seen("SUCCEEDED", counts=Counts(succeeded=3, failed=1, incomplete=0), output_uri="gs://b/out")


def test_a_job_that_has_ended_is_told_at_once_without_deferring() -> None:
    """No trigger for what is over."""
    here = context()
    assert scripted(DONE).execute(here) == RESULT
    assert here["ti"].pushed == {"job_name": NAME}


def test_it_defers_until_the_deadline_counted_from_the_jobs_creation() -> None:
    """By Vertex AI's clock; the link's parameter is pushed before."""
    here = context()
    waiting = scripted(seen("RUNNING", create_time=5000.0), timeout=1e10, poll_interval=30, gcp_conn_id="c")
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(here)
    assert here["ti"].pushed == {"job_name": NAME}
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.trigger.serialize()[1] == {
        "job_name": NAME,
        "deadline": 5000.0 + 1e10,
        "timeout": None,
        "created": 5000.0,
        "poll_interval": 30,
        "cancel_on_kill": False,
        "owner": None,
        "gcp_conn_id": "c",
        "impersonation_chain": None,
    }


def test_a_first_look_that_fails_is_a_miss_and_not_the_end() -> None:
    """The deadline then counts from now."""
    with pytest.raises(TaskDeferred) as deferred:
        scripted(MISS, timeout=100).execute(context())
    assert deferred.value.trigger.deadline == pytest.approx(time.time() + 100, abs=5)


def test_a_week_is_the_default_timeout() -> None:
    """Seventy-two hours in the queue and a day of work fit."""
    assert sensor().timeout == 7 * 24 * 3600


ENDS = [
    ("FAILED", {}, JobFailedError),
    ("CANCELLED", {}, JobFailedError),
    ("EXPIRED", {}, JobFailedError),
    ("PAUSED", {}, JobFailedError),
    ("RUNNING", {"create_time": 1.0}, AirflowSensorTimeout),
]


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("word", "changes", "error"), ENDS)
def test_every_end_without_success_means_the_same_deferred_or_poking(
    word: str, changes: dict[str, Any], error: type[Exception], deferrable: bool, soft_fail: bool
) -> None:
    """Failed, or skipped when soft_fail says so."""
    waiting = scripted(seen(word, **changes), deferrable=deferrable, soft_fail=soft_fail)
    with pytest.raises(AirflowSkipException if soft_fail else error):
        waiting.execute(context())


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_lost_job_fails_at_once(deferrable: bool) -> None:
    """403 and 404."""
    with pytest.raises(JobLostError):
        scripted(JobLostError("gone"), deferrable=deferrable).execute(context())


@pytest.mark.parametrize(("word", "changes", "error"), ENDS)
@pytest.mark.parametrize("option", ["soft_fail", "never_fail", None])
def test_what_the_trigger_tells_means_the_same(
    word: str, changes: dict[str, Any], error: type[Exception], option: str | None
) -> None:
    """Through Airflow's own way of resuming."""
    end = end_of_wait(seen(word, **changes), job_name=NAME, now=time.time(), deadline=1.0)
    assert end is not None
    waiting = sensor(**({option: True} if option else {}))
    with pytest.raises(AirflowSkipException if option else error) as caught:
        waiting.resume_execution("execute_complete", {"event": end.to_event()}, context())
    if not option:
        assert str(caught.value) == end.message


def test_success_comes_back_through_the_trigger_as_it_does_inline() -> None:
    """The same dict."""
    end = end_of_wait(DONE, job_name=NAME, now=0, deadline=1)
    assert end is not None
    assert sensor().resume_execution("execute_complete", {"event": end.to_event()}, context()) == RESULT


def test_partial_success_is_a_success_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """load accounts for every row."""
    waiting, warned = scripted(seen("PARTIALLY_SUCCEEDED")), []
    monkeypatch.setattr(waiting.log, "warning", lambda *said: warned.append(said[-1]))
    assert waiting.execute(context())["state"] == "JOB_STATE_PARTIALLY_SUCCEEDED"
    assert "some results missing" in warned[-1]


def test_a_failed_job_is_not_waited_for_again_by_a_retry() -> None:
    """Airflow fails the task at once."""
    with pytest.raises(JobFailedError) as caught:
        scripted(seen("FAILED")).execute(context())
    assert isinstance(caught.value, AirflowFailException)


def test_an_event_that_tells_nothing_is_no_success() -> None:
    """A retry looks again."""
    with pytest.raises(ServiceError):
        sensor().execute_complete(context(), event=None)


def test_poking_goes_on_over_misses_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """And returns what the deferred wait returns."""
    pauses: list[float] = []
    monkeypatch.setattr("airflow.sdk.bases.sensor.time.sleep", pauses.append)
    waiting = scripted(seen("RUNNING"), MISS, MISS, seen("RUNNING"), DONE, deferrable=False, poll_interval=10)
    assert waiting.execute(context()) == RESULT
    assert pauses == pytest.approx([10, 20, 40, 10])


def test_between_pokes_the_worker_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """mode="reschedule"."""
    here = context()
    monkeypatch.setattr(
        type(here["ti"]), "get_first_reschedule_date", lambda _self, _context: None, raising=False
    )
    with pytest.raises(AirflowRescheduleException):
        scripted(seen("RUNNING"), deferrable=False, mode="reschedule").execute(here)


@pytest.mark.parametrize("job_name", ["", "123", "projects/p/locations/l/batchPredictionJobs/x", None])
def test_a_name_that_is_no_job_name_is_refused_before_any_look(job_name: Any) -> None:
    """And nothing is pushed."""
    here = context()
    with pytest.raises(InvalidNameError):
        scripted(DONE, job_name=job_name).execute(here)
    assert here["ti"].pushed == {}


@pytest.mark.parametrize(
    "options",
    [
        {"poll_interval": 0},
        {"on_timeout": "kill"},
        {"cancel_on_kill": True, "deferrable": False},
        {"start_from_trigger": True, "deferrable": False},
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """When the DAG is parsed."""
    with pytest.raises(ConfigurationError, match="Nothing was sent"):
        sensor(**options)


@pytest.mark.parametrize(
    "job_name", ["{{ ti.xcom_pull('submit') }}", "{{ task_instance.xcom_pull(task_ids='a') }}", ["x"], None]
)
def test_a_wait_cannot_begin_in_the_triggerer_with_a_name_that_cannot_be_had_there(job_name: Any) -> None:
    """It would be deferred for ever."""
    with pytest.raises(ConfigurationError, match="Airflow could not render it"):
        sensor(job_name=job_name, start_from_trigger=True)
    assert sensor(job_name="{{ params.job }}", start_from_trigger=True).start_trigger_args is not None


def test_a_wait_that_begins_in_the_triggerer_takes_the_template_along() -> None:
    """What submit returns is pulled there; the deadline counts from the creation that the trigger will see."""
    with DAG("d"):
        submit = BaseOperator(task_id="submit")
        waiting = sensor(job_name=XComArg(submit), start_from_trigger=True, timeout=timedelta(hours=2))
    args = waiting.start_trigger_args
    assert args is not None
    assert import_string(args.trigger_cls) is GeminiBatchJobTrigger
    assert args.next_method == "execute_complete"
    kwargs = dict(args.trigger_kwargs or {})
    # With no map index, or several, the triggerer of Airflow 3.3 hangs.
    assert kwargs["job_name"] == "{{ ti.xcom_pull(task_ids='submit', key='return_value', map_indexes=-1) }}"
    assert GeminiBatchJobTrigger(**kwargs).timeout == 7200.0
    assert set(waiting.template_fields) & set(kwargs) == {"job_name", "gcp_conn_id", "impersonation_chain"}
    here = context()
    end = end_of_wait(DONE, job_name=NAME, now=0, deadline=1)
    assert end is not None
    assert waiting.execute_complete(here, event=end.to_event()) == RESULT
    assert here["ti"].pushed == {"job_name": NAME}


@pytest.fixture
def batch(bucket: str) -> Iterator[Prepared]:
    """A prepared batch of one part."""
    prepared = prepare(bucket)
    yield prepared
    prepared.close()


@pytest.mark.parametrize("deferrable", [False, True])
def test_it_waits_for_a_real_job(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    """Through the real hook."""
    monkeypatch.setattr("airflow.sdk.bases.sensor.time.sleep", lambda _seconds: None)
    cloud.knobs(pace="looks:2")
    job = batch.create()
    if deferrable:
        with pytest.raises(TaskDeferred):
            sensor(job_name=job.name).execute(context())
    done = sensor(job_name=job.name, deferrable=False).execute(context())
    assert (done["job_name"], done["state"], done["succeeded"]) == (job.name, "JOB_STATE_SUCCEEDED", 1)
