"""What happens to the runs, in order: kills while they submit, hands on deferred tasks, pauses, outages, kills while they load.

All of it is told once; each test looks at one side of it. Jobs do not leave PENDING until everything that is to happen
to a waiting job has happened, so nothing depends on how fast this machine is.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deaths import Order, deaths, give
from processes import wait_for
from stack import Stack
from story import Run, Watch, turn, upload_inputs

PAUSE_SECONDS = 46
OUTAGE_SECONDS = 60
_NEVER_ANSWERED = {"slow_answer_seconds": 300, "fault_routes": "POST .*batchPredictionJobs$"}
_SUBMIT_KILLS = {
    "killed": (
        Order(step="write ledger INTENT", when="after"),
        Order(step="POST", when="before"),
        Order(step="POST", when="before", whole=True),
        Order(step="write ledger SUBMITTED", when="after"),
    ),
    "stopped": (
        Order(step="write ledger INTENT", when="after", how="SIGTERM"),
        Order(step="POST", when="before", how="SIGSTOP", whole=True),
        Order(step="POST", when="after", how="SIGTERM", whole=True),
        Order(step="POST", when="after"),
    ),
}
_LOAD_KILLS = {
    "killed": (
        Order(step="start job requests", when="after"),
        Order(step="start job publish", when="before"),
        Order(step="write report", when="after"),
    ),
    "stopped": (
        Order(step="start job classify", when="after"),
        Order(step="start job publish", when="after"),
        Order(step="write ledger LOADED", when="before"),
    ),
}


@dataclass
class Tale:
    """The runs, and what was seen while it was told."""

    stack: Stack
    watch: Watch
    orders: Path
    trouble: dict[str, BaseException] = field(default_factory=dict)
    """Chapter → why it could not be told to its end."""
    seen: dict[str, Any] = field(default_factory=dict)
    """What tests ask for that is not to be seen any more at the end."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Chapter → how long it took."""

    def __post_init__(self) -> None:
        def run(dag_id: str, name: str, parts: int = 1) -> Run:
            return Run(self.watch, dag_id, name, parts)

        self.killed = run("stories", "killed", 4)
        self.stopped = run("stories", "stopped", 4)
        self.acted = run("stories_cancel", "acted-on-and-cancels", 5)
        self.left = run("stories", "acted-on-and-leaves", 2)
        self.overdue_left = run("stories_timeout_leave", "overdue-and-leaves")
        self.overdue_cancelled = run("stories_timeout_cancel", "overdue-and-cancels")
        self.dagrun_timeout = run("stories_dagrun_timeout", "dagrun-timeout")
        self.api_outage = run("stories", "submits-in-api-outage")
        self.database_outage = run("stories", "submits-in-database-outage")

    @contextmanager
    def _chapter(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except (AssertionError, OSError, RuntimeError) as error:
            self.trouble[name] = error
        finally:
            self.seconds[name] = time.monotonic() - began


    def tell(self) -> None:
        """Let it all happen."""
        upload_inputs(self.stack, most_parts=5)
        turn(self.stack, stuck_pending=True, pace="seconds:1")
        with self._chapter("submit"):
            self._submit()
        with self._chapter("hands"):
            self._lay_hands_on()
        with self._chapter("timeouts"):
            self._let_time_out()
        with self._chapter("api server"):
            self._stop_the_api_server()
        with self._chapter("triggerer"):
            self._kill_a_triggerer()
        with self._chapter("database"):
            self._kill_the_database()
        turn(self.stack, stuck_pending=False)
        with self._chapter("load"):
            self._load()

    def _submit(self) -> None:
        for run in (self.killed, self.stopped):
            for order in _SUBMIT_KILLS[run.run_id]:
                give(self.orders, _only(order, run.run_id, "submit", attempt=1))
            for order in _LOAD_KILLS[run.run_id]:
                give(self.orders, _only(order, run.run_id, "load"))
        for run in (self.dagrun_timeout, self.killed, self.stopped, self.acted, self.left, self.overdue_left):
            run.begin()
        self.overdue_cancelled.begin()
        self.stopped.until_all_wait()
        self._wake_the_zombie()
        self.killed.until_all_wait()

    def _wake_the_zombie(self) -> None:
        """Let the stopped worker go on once its task's next attempt has paid: first the task, then who watches it."""
        [zombie] = [moment for moment in deaths(self.orders) if moment.did == "SIGSTOP"]
        self.seen["zombie"] = zombie
        for pid in (zombie.pid, zombie.parent):
            os.kill(pid, signal.SIGCONT)

    def _lay_hands_on(self) -> None:
        for run in (self.acted, self.left):
            run.until_all_wait()
        before = self.acted.task("wait", 1)["id"]
        self.acted.clear("wait", 1)
        self.acted.mark("wait", 2, "failed")
        self.acted.mark("wait", 3, "success")
        self.acted.clear("submit", 4)
        self.left.mark("wait", 1, "failed")
        self.acted.until(lambda: "CANCEL" in self.acted.job(2)["state"], "the failed wait's job is cancelled")
        self.acted.until(lambda: self._waits_anew(1, before), "the cleared wait waits again")
        self.acted.until(lambda: self._done_anew(4), "the cleared submit is done again")

    def _waits_anew(self, index: int, before: str) -> bool:
        task = self.acted.task("wait", index)
        return task["state"] == "deferred" and task["id"] != before

    def _done_anew(self, index: int) -> bool:
        task = self.acted.task("submit", index)
        return task["state"] == "success" and task["try_number"] == 2

    def _let_time_out(self) -> None:
        for run in (self.overdue_left, self.overdue_cancelled):
            run.until_it_ends()
        self.seen["left overdue"] = self.overdue_left.job(0)["state"]

    def _stop_the_api_server(self) -> None:
        """For a minute; and for 46 s of it the triggerer, while another one takes over."""
        self.stack.launch("triggerer-2")
        self._hold(self.api_outage)
        first = self._triggerer_of(self.acted)
        api, triggerer = self.stack.process("api-server"), self.stack.process("triggerer")
        # What the paused one does when it wakes up must not depend on the API server, nor on who is healthy first.
        wait_for(lambda: len(self.stack.api.triggerers()) == 2, timeout=60, alive=[api, triggerer])
        api.pause()
        triggerer.pause()
        try:
            time.sleep(PAUSE_SECONDS)
            triggerer.resume()
            time.sleep(OUTAGE_SECONDS - PAUSE_SECONDS)
        finally:
            triggerer.resume()
            api.resume()
            turn(self.stack, slow_answer_seconds=0)
        wait_for(lambda: not self.stack.api.unhealthy(), timeout=60, alive=[api])
        self.acted.until(lambda: self._triggerer_of(self.acted) not in {None, first}, "another triggerer has it")
        self.api_outage.until_all_wait()

    def _kill_a_triggerer(self) -> None:
        """The second one, which has every wait now; the first one gets them back."""
        second = self._triggerer_of(self.acted)
        self.stack.dismiss("triggerer-2")
        self.acted.until(lambda: self._triggerer_of(self.acted) not in {None, second}, "the other triggerer has it")

    def _kill_the_database(self) -> None:
        """For a minute; then start what has died of it, as a supervisor would."""
        self._hold(self.database_outage)
        self.stack.process("postgres").kill()
        time.sleep(OUTAGE_SECONDS)
        self.seen["died of the database"] = self.stack.revive()
        turn(self.stack, slow_answer_seconds=0)
        deadline = time.monotonic() + 90
        while self.stack.api.unhealthy():
            assert time.monotonic() < deadline, "Airflow does not come back"
            time.sleep(0.5)
            # One or the other notices only now that its connections are gone.
            self.seen["died of the database"] += self.stack.revive()
        self.database_outage.until_all_wait()

    def _load(self) -> None:
        for run in (self.killed, self.stopped, self.acted, self.left, self.api_outage, self.database_outage):
            with suppress(AssertionError):
                run.until_it_ends()
        self.overdue_left.clear("wait", 0)
        self.overdue_left.clear("load")
        self.overdue_left.until_it_ends()

    def _hold(self, run: Run) -> None:
        """Begin a run, and return when its job is created but the worker has no answer."""
        turn(self.stack, **_NEVER_ANSWERED)
        run.begin()
        run.until(lambda: run.jobs, "its job is created")

    def _triggerer_of(self, run: Run) -> int | None:
        jobs = {(task.get("triggerer_job") or {}).get("id") for task in run.tasks("wait").values()} - {None}
        return jobs.pop() if len(jobs) == 1 else None



def _only(order: Order, run: str, task: str, *, attempt: int = 0) -> Order:
    return replace(order, run=run, task=task, attempt=attempt)
