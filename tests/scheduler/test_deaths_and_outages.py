"""Deaths of workers, hands on waiting tasks, pauses and outages under a real scheduler and triggerers, on PostgreSQL.

Whatever happens: what is billed are the rows of the input, once; what is landed is what the oracle says; and nothing is
cancelled that nobody cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deaths import Moment, deaths, open_orders
from faults import TABLE, fault_table
from stack import Stack
from story import ROWS_PER_PART, Run, Watch, input_rows
from tale import ORDERS, Tale, came_by

pytestmark = pytest.mark.scheduler

RUNS = {
    "killed": "success",
    "stopped": "success",
    "acted-on-and-cancels": "success",
    "acted-on-and-leaves": "failed",
    "overdue-and-leaves": "success",
    "overdue-and-cancels": "failed",
    "dagrun-timeout": "failed",
    "submits-in-api-outage": "success",
    "submits-in-database-outage": "success",
}
"""Every run, and how it ends: a wait that failed fails its run."""
CANCELLED = {("acted-on-and-cancels", 2), ("overdue-and-cancels", 0)}
"""Run and part of the jobs that somebody cancelled: by marking the wait failed, by a deadline that says so."""


@pytest.fixture(scope="module")
def tale(stack: Stack, orders: Path, pytestconfig: pytest.Config) -> Iterator[Tale]:
    """Everything, told once."""
    with Watch(stack).open() as watch:
        tale = Tale(stack=stack, watch=watch, orders=orders)
        tale.tell()
        try:
            pytestconfig.stash[TABLE] = list(fault_table(tale))
        except (OSError, LookupError) as error:  # the tests say what is wrong; the table is not to hide it
            pytestconfig.stash[TABLE] = [f"There is no table: {error!r}"]
        yield tale


def told(tale: Tale, *chapters: str) -> None:
    """Fail where a chapter that the test is about was not told to its end."""
    for chapter in chapters:
        if chapter in tale.trouble:
            raise tale.trouble[chapter]


def that_did(tale: Tale, how: str, step: str, run: Run, *, task: str = "submit") -> Moment:
    """Return the one death of this kind."""
    [moment] = [
        moment
        for moment in deaths(tale.orders)
        if (moment.did, moment.step, moment.run, moment.task) == (how, step, run.run_id, task)
    ]
    return moment


def test_every_order_to_die_was_obeyed(tale: Tale) -> None:
    """More than a dozen: nothing below is about a death that never came."""
    told(tale, "submit", "zombie", "load")
    assert open_orders(tale.orders) == []
    assert len(deaths(tale.orders)) == sum(map(len, ORDERS.values())) == 14


@pytest.mark.parametrize("name", RUNS)
def test_every_row_is_billed_once_and_nothing_else(tale: Tale, name: str) -> None:
    """One job of each part has billed all of its rows, or none where it was cancelled; a spare one has billed none."""
    run = tale.runs()[name]
    for part in range(run.parts):
        rows = 0 if (name, part) in CANCELLED else ROWS_PER_PART
        assert run.job(part)["billed_rows"] == rows, (part, run.job(part))
    assert [job for job in run.spare_jobs().values() if job["billed_rows"]] == []


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_cancelled_that_nobody_cancelled(tale: Tale, name: str) -> None:
    """The job that the ledger stands for succeeds, but for the two that were cancelled on purpose."""
    run = tale.runs()[name]
    states = {part: run.job(part)["state"] for part in range(run.parts)}
    assert states == {
        part: "JOB_STATE_CANCELLED" if (name, part) in CANCELLED else "JOB_STATE_SUCCEEDED" for part in states
    }


@pytest.mark.parametrize("name", RUNS)
def test_the_run_ends_and_the_tables_hold_what_the_oracle_says(tale: Tale, name: str) -> None:
    """Each row once: with its answer, or as missing where its job was cancelled; nothing where nothing was loaded."""
    run = tale.runs()[name]
    assert run.state == RUNS[name], run.states()
    oracle = input_rows(run.parts) if RUNS[name] == "success" else {}
    missing = {key for position, key in enumerate(oracle) if (name, position // ROWS_PER_PART) in CANCELLED}
    assert run.results() == sorted((key, text) for key, text in oracle.items() if key not in missing)
    assert run.errors() == sorted((key, "missing") for key in missing)


def test_a_submit_that_is_told_to_stop_before_it_posts_does_not_post(tale: Tale) -> None:
    """SIGTERM calls on_kill and lets execute go on: that process never came to the POST, the next attempt did."""
    told(tale, "zombie")
    stopped = that_did(tale, "SIGTERM", "write ledger INTENT", tale.stopped)
    assert not [name for name in came_by(tale.orders, stopped.pid) if "POST" in name]


def test_a_worker_that_is_shut_down_after_the_post_leaves_its_job_to_the_next_attempt(tale: Tale) -> None:
    """Worker and task get SIGTERM with the answer in hand: the job is adopted, not cancelled."""
    told(tale, "zombie")
    that_did(tale, "SIGTERM", "POST", tale.stopped)
    assert {task["try_number"] for task in tale.stopped.tasks("submit").values()} == {2}


def test_a_zombie_that_posts_after_its_successor_pays_nothing(tale: Tale) -> None:
    """It was stopped before the POST, given up and replaced; awake again it does post, and its job never runs."""
    told(tale, "zombie", "load")
    zombie = that_did(tale, "SIGSTOP", "POST", tale.stopped)
    assert "after POST" in came_by(tale.orders, zombie.pid)
    [spare] = tale.stopped.spare_jobs().values()
    assert spare["state"] in {"JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
    assert spare["billed_rows"] == 0


def test_a_load_that_is_killed_again_and_again_goes_on_where_it_was(tale: Tale) -> None:
    """Three deaths each, at six steps in all, and the fourth attempt publishes what the first would have."""
    told(tale, "load")
    assert [run.task("load")["try_number"] for run in (tale.killed, tale.stopped)] == [4, 4]


def test_a_cleared_wait_finds_its_job_again(tale: Tale) -> None:
    """The new attempt waits for the same job, though cancel_on_kill=True."""
    told(tale, "hands")
    assert (tale.acted.task("wait", 1)["state"], tale.acted.task("wait", 1)["try_number"]) == ("success", 2)
    assert tale.acted.ledger(1)["job_name"] == tale.before[1]


def test_a_cleared_submit_adopts_the_job_that_was_paid_for(tale: Tale) -> None:
    """The same job, and no other one for this part."""
    told(tale, "hands")
    assert tale.acted.ledger(4)["job_name"] == tale.before[4]
    assert tale.acted.spare_jobs() == {}


def test_a_wait_that_is_marked_failed_cancels_only_where_it_was_told_to(tale: Tale) -> None:
    """With cancel_on_kill=True the job is cancelled at once, without it it runs to its end."""
    told(tale, "hands")
    assert [tale.acted.task("wait", 2)["state"], tale.left.task("wait", 1)["state"]] == ["failed", "failed"]
    assert tale.acted.job(2)["state"] == "JOB_STATE_CANCELLED"
    assert tale.left.job(1)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_wait_that_is_marked_success_lets_its_job_run(tale: Tale) -> None:
    """Also with cancel_on_kill=True; the load lands what the job answers."""
    told(tale, "hands", "load")
    assert (tale.acted.task("wait", 3)["state"], tale.acted.task("wait", 3)["try_number"]) == ("success", 1)
    assert tale.acted.job(3)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_dagrun_timeout_skips_the_wait_and_lets_its_job_run(tale: Tale) -> None:
    """Airflow kills the trigger though nobody failed the task."""
    told(tale, "load")
    assert tale.dagrun_timeout.task("wait", 0)["state"] == "skipped"
    assert tale.dagrun_timeout.job(0)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_wait_past_its_deadline_leaves_or_cancels_as_it_was_told(tale: Tale) -> None:
    """What was left is paid for, and a clear lands it."""
    told(tale, "timeouts", "load")
    assert tale.overdue_cancelled.task("wait", 0)["state"] == "failed"
    assert tale.overdue_cancelled.job(0)["state"] == "JOB_STATE_CANCELLED"
    assert tale.overdue_left.task("wait", 0)["try_number"] == 2
    assert tale.overdue_left.job(0)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_submit_that_loses_the_api_server_during_its_post_is_ended_and_its_job_adopted(tale: Tale) -> None:
    """The answer never came and the worker was killed for want of heartbeats; a later attempt finds the job."""
    told(tale, "api server")
    assert tale.api_outage.task("submit", 0)["try_number"] > 1
    assert len(tale.api_outage.jobs) == 1


def test_a_paused_triggerer_that_finds_its_triggers_gone_cancels_nothing(tale: Tale) -> None:
    """Awake again it kills them as if somebody had acted on their tasks; they look at the task first."""
    told(tale, "api server")
    assert tale.killed_though_waiting >= 1
    waiting = {part: tale.acted.task("wait", part)["state"] for part in (0, 1, 4)}
    assert waiting == dict.fromkeys((0, 1, 4), "success")


def test_a_database_that_is_gone_ends_airflow_and_no_job(tale: Tale) -> None:
    """Scheduler, triggerer and dag processor die of it; started again they find every wait and the one lost submit."""
    told(tale, "database", "load")
    assert {"postgres", "scheduler", "triggerer", "dag-processor"} <= set(tale.died)
    assert tale.database_outage.task("submit", 0)["try_number"] > 1
    assert len(tale.database_outage.jobs) == 1
