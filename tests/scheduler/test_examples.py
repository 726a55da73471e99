"""The example DAGs under a real scheduler, triggerer, dag processor and API server, beside the local cloud."""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Any

import pytest
from airflow_api import call
from stack import DATASET, LOCATION, PROJECT, Stack

pytestmark = pytest.mark.scheduler

TIMEOUT_SECONDS = 240
READING_TIME = dt.timedelta(seconds=5)


class Watched:
    """A run from its trigger to its end, and what Airflow's own record said meanwhile."""

    def __init__(self, stack: Stack, dag_id: str, **params: Any) -> None:
        self.stack, self.dag_id = stack, dag_id
        self.run_id = stack.api.trigger(dag_id, params)
        self.deferred: list[dict[str, Any]] = []
        """For each look at which the sensor was deferred: its record and the pool's."""

    def until_it_ends(self) -> str:
        """Look until the run has ended; return its state."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (state := self.stack.api.run_state(self.dag_id, self.run_id)) not in {"success", "failed"}:
            assert time.monotonic() < deadline, self.states()
            waiting = [
                task for task in self.tasks() if task["task_id"] == "wait" and task["state"] == "deferred"
            ]
            if waiting:
                self.deferred.append({"task": waiting[0], "pool": self.stack.api.pool()})
            time.sleep(0.5)
        return state

    def until_somebody_is_asked(self, task_id: str) -> dict[str, Any]:
        """Wait until the task asks; return what it asks."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (asked := self.asked(task_id)) is None:
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.5)
        return asked

    def asked(self, task_id: str) -> dict[str, Any] | None:
        """Return what the task asks, if it has gone to wait for an answer that nobody has given."""
        for asked in self.stack.api.asked(self.dag_id, self.run_id):
            task = asked["task_instance"]
            if (task["task_id"], task["state"]) == (task_id, "awaiting_input"):
                return asked
        return None

    def until_it_is_decided(self, task_id: str, answer: str) -> None:
        """Answer, and again if it has to be, until the task has ended.

        An answer that comes before the scheduler has heard of the end of the process that asked fails the attempt; the
        retry asks again. On a machine under load that is a matter of seconds: about what a person needs to read.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.states()[task_id] != "success":
            assert time.monotonic() < deadline, self.states()
            asked = self.asked(task_id)
            if asked and dt.datetime.now(dt.UTC) - _time(asked["created_at"]) > READING_TIME:
                self.stack.api.decide(self.dag_id, self.run_id, task_id, answer)
            time.sleep(0.5)

    def tasks(self) -> list[dict[str, Any]]:
        """Return the task instances."""
        return self.stack.api.tasks(self.dag_id, self.run_id)

    def states(self) -> dict[str, str]:
        """Return task → state, and the end of the log of whatever failed, for a failing test to show."""
        return {task["task_id"]: task["state"] for task in self.tasks()}

    def report(self) -> dict[str, Any]:
        """Return what the load task returned."""
        report: dict[str, Any] = self.stack.api.xcom(self.dag_id, self.run_id, "load")
        return report


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def count(stack: Stack, table: str) -> int:
    """Return how many rows a table of the local BigQuery has."""
    answer = call(
        "POST",
        f"{stack.cloud_url}/bigquery/v2/projects/{PROJECT}/queries",
        {
            "query": f"SELECT COUNT(*) AS n FROM {PROJECT}.{DATASET}.{table}",
            "useLegacySql": False,
            "location": LOCATION,
        },
    )
    return int(answer["rows"][0]["f"][0]["v"])


@pytest.mark.parametrize(
    ("dag_id", "results"),
    [("gemini_batch_packages", "package_labels"), ("gemini_batch_bigquery", "native_labels")],
)
def test_the_sensor_is_deferred_and_holds_no_slot_while_the_job_runs(
    stack: Stack, dag_id: str, results: str
) -> None:
    """Airflow's own record: the trigger has the wait, the pool has nothing running, every row arrives."""
    run = Watched(stack, dag_id, rows=40)
    assert run.until_it_ends() == "success", run.states()
    assert len(run.deferred) >= 4
    # Task and pool are read one after the other: at the very last look the task may have been resumed in between,
    # and at the very first one the process that deferred it may still be on its way out.
    for look in run.deferred[:-1]:
        assert look["task"]["trigger"]["classpath"].endswith("GeminiBatchJobTrigger")
        assert look["pool"]["deferred_slots"] == 1
    assert {look["pool"]["running_slots"] for look in run.deferred[1:-1]} == {0}
    report = run.report()
    assert report["rows"] == report["outcomes"]["succeeded"] == count(stack, results) == 40


def test_a_wait_may_begin_in_the_triggerer_and_pulls_its_job_there(stack: Stack) -> None:
    """No worker has had it while it is deferred; a template that Airflow could not render there would hang for ever."""
    run = Watched(stack, "begun_in_triggerer")
    assert run.until_it_ends() == "success", run.states()
    assert run.deferred
    assert {look["task"]["pid"] for look in run.deferred} == {None}
    report = run.report()
    assert report["rows"] == report["outcomes"]["succeeded"] == count(stack, "begun_results") == 5


@pytest.mark.parametrize(("answer", "state"), [("Reject", "skipped"), ("Approve", "success")])
def test_a_person_decides_whether_a_batch_is_paid_for(stack: Stack, answer: str, state: str) -> None:
    """They see how much it is and what a canary showed; until they say yes there is no job, and nothing to cancel."""
    before = call("GET", f"{stack.cloud_url}/admin/stats")["jobs"]
    run = Watched(stack, "gemini_batch_approved", rows=30)
    approval = run.until_somebody_is_asked("slogans.approve")
    assert re.match(r"\*\*30\*\* requests in 1 job, \d+\.\d kB\.", approval["body"])
    low, expected, high = map(float, re.findall(r"\| (\d+\.\d{4}) USD ", approval["body"]))
    assert 0 < low <= expected <= high
    assert "Of 10 rows that were asked beforehand, none failed." in approval["body"]
    assert call("GET", f"{stack.cloud_url}/admin/stats")["jobs"] == before
    run.until_it_is_decided("slogans.approve", answer)
    assert run.until_it_ends() == "success", run.states()
    decided = dict.fromkeys(("submit", "wait", "load", "cancel"), state)
    ended = {"prepare": "success", "approve": "success", **decided}
    assert run.states() == {f"slogans.{name}": found for name, found in ended.items()}
    billed = call("GET", f"{stack.cloud_url}/admin/stats")["jobs"]
    assert len(billed) - len(before) == (answer == "Approve")


def test_new_data_starts_the_consumer_by_its_asset(stack: Stack) -> None:
    """Nobody triggers the second DAG: the event of the first one does, and carries the day."""
    stack.api.unpause("gemini_batch_on_new_data")
    producer = Watched(stack, "gemini_batch_new_data", day="2026-11-19")
    assert producer.until_it_ends() == "success", producer.states()
    # Being scheduled too, the producer may run for today as well: each event starts a run, or several share one.
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        runs = stack.api.runs("gemini_batch_on_new_data")
        if runs and all(run["state"] in {"success", "failed"} for run in runs):
            break
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)
    assert {(run["run_type"], run["state"]) for run in runs} == {("asset_triggered", "success")}
    assert count(stack, "daily_labels WHERE batch_date = DATE '2026-11-19'") > 0
