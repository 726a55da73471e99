"""What happens to the runs, in order: kills while they submit, hands on waiting tasks, outages, kills while they load.

All of it is told once; each test looks at one side of it. No job leaves PENDING until everything that is to happen to a
waiting job has happened, so nothing depends on how fast this machine is.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from deaths import Order, deaths, give, journal
from processes import wait_for
from stack import Stack
from story import Run, Watch, turn, upload_inputs

PAUSE_SECONDS = 46
OUTAGE_SECONDS = 60
_NO_ANSWER = {"slow_answer_seconds": 300, "fault_routes": "POST .*batchPredictionJobs$"}
ORDERS = {
    ("killed", "submit"): (
        Order(step="write ledger INTENT", when="after"),
        Order(step="POST", when="before"),
        Order(step="POST", when="before", whole=True),
        Order(step="write ledger SUBMITTED", when="after"),
    ),
    ("stopped", "submit"): (
        Order(step="write ledger INTENT", when="after", how="SIGTERM"),
        Order(step="POST", when="before", how="SIGSTOP", whole=True),
        Order(step="POST", when="after", how="SIGTERM", whole=True),
        Order(step="POST", when="after"),
    ),
    ("killed", "load"): (
        Order(step="start job requests", when="after"),
        Order(step="start job publish", when="before"),
        Order(step="write report", when="after"),
    ),
    ("stopped", "load"): (
        Order(step="start job classify", when="after"),
        Order(step="start job publish", when="after"),
        Order(step="write ledger LOADED", when="before"),
    ),
}
"""Run and task → how its workers die. A mapped submit dies once an instance, a load again and again."""


@dataclass
class Tale:
    """The runs, and what was seen while it was told."""

    stack: Stack
    watch: Watch
    orders: Path
    trouble: dict[str, BaseException] = field(default_factory=dict)
    """Chapter → why it could not be told to its end."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Chapter → how long it took."""
    died: list[str] = field(default_factory=list)
    """What ended when the database was gone."""
    killed_though_waiting: int = 0
    """Triggers that a paused triggerer killed when it woke up, though their tasks wait on."""
    before: dict[int, str] = field(default_factory=dict)
    """Part → its job, before anybody laid hands on the waits."""

    def __post_init__(self) -> None:
        """Name the runs."""

        def run(dag_id: str, name: str, parts: int = 1) -> Run:
            return Run(watch=self.watch, dag_id=dag_id, run_id=name, parts=parts)

        self.killed = run("stories", "killed", 4)
        self.stopped = run("stories", "stopped", 4)
        self.acted = run("stories_cancel", "acted-on-and-cancels", 5)
        self.left = run("stories", "acted-on-and-leaves", 2)
        self.overdue_left = run("stories_timeout_leave", "overdue-and-leaves")
        self.overdue_cancelled = run("stories_timeout_cancel", "overdue-and-cancels")
        self.dagrun_timeout = run("stories_dagrun_timeout", "dagrun-timeout")
        self.api_outage = run("stories", "submits-in-api-outage")
        self.database_outage = run("stories", "submits-in-database-outage")

    def runs(self) -> dict[str, Run]:
        """Return the runs by name."""
        return {run.run_id: run for run in vars(self).values() if isinstance(run, Run)}

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
        with self._chapter("zombie"):
            self._wake_the_zombie()
        with self._chapter("timeouts"):
            self._let_time_out()
        with self._chapter("api server"):
            self._stop_the_api_server()
        with self._chapter("database"):
            self._kill_the_database()
        turn(self.stack, stuck_pending=False, slow_answer_seconds=0)
        with self._chapter("load"):
            self._load()
        turn(self.stack, pace=self.stack.pace)

    def _submit(self) -> None:
        for (run, task), orders in ORDERS.items():
            for order in orders:
                attempt = 1 if task == "submit" else 0
                give(self.orders, replace(order, run=run, task=task, attempt=attempt))
        for begun in (
            *(self.dagrun_timeout, self.stopped, self.killed, self.acted, self.left),
            *(self.overdue_left, self.overdue_cancelled),
        ):
            begun.begin()
        for run in (self.acted, self.left):
            run.until_all_wait()

    def _wake_the_zombie(self) -> None:
        """Let the stopped task go on once its next attempt has paid; who watches it, and would end it, only later."""
        for run in (self.killed, self.stopped):
            run.until_all_wait()
        [zombie] = [moment for moment in deaths(self.orders) if moment.did == "SIGSTOP"]
        os.kill(zombie.pid, signal.SIGCONT)
        try:
            wait_for(lambda: "after POST" in came_by(self.orders, zombie.pid), timeout=60, alive=[])
        finally:
            os.kill(zombie.parent, signal.SIGCONT)

    def _lay_hands_on(self) -> None:
        # A trigger that no triggerer has begun yet is not told that its task was failed.
        for run, index in ((self.acted, 2), (self.left, 1)):
            folder = f"dag_id={run.dag_id}/run_id={run.run_id}/task_id=wait/map_index={index}"
            logs = self.stack.home / "airflow/logs" / folder
            run.until(lambda logs=logs: list(logs.glob("*.trigger.*")), f"wait {index} is begun")
        self.before = {part: self.acted.ledger(part)["job_name"] for part in range(self.acted.parts)}
        cleared = self.acted.task("wait", 1)["id"]
        self.acted.clear("wait", 1)
        self.acted.mark("wait", 2, "failed")
        self.acted.mark("wait", 3, "success")
        self.acted.clear("submit", 4)
        self.left.mark("wait", 1, "failed")
        self.acted.until(lambda: "CANCEL" in self.acted.job(2)["state"], "the failed wait's job is cancelled")
        self.acted.until(lambda: self._waits_anew(1, cleared), "the cleared wait waits again")
        self.acted.until(lambda: self._done_again(4), "the cleared submit is done again")

    def _waits_anew(self, index: int, before: str) -> bool:
        task = self.acted.task("wait", index)
        return task["state"] == "deferred" and task["id"] != before

    def _done_again(self, index: int) -> bool:
        task = self.acted.task("submit", index)
        return task["state"] == "success" and task["try_number"] == 2

    def _let_time_out(self) -> None:
        for run in (self.overdue_left, self.overdue_cancelled):
            run.until_it_ends()

    def _stop_the_api_server(self) -> None:
        """For a minute. For 46 s of it the triggerer too, while another takes over; then that one is killed."""
        self.stack.launch("triggerer-2")
        self._hold(self.api_outage)
        first = self._triggerer_of(self.acted)
        api, triggerer = self.stack.process("api-server"), self.stack.process("triggerer")
        wait_for(lambda: len(self.stack.api.triggerers()) == 2, timeout=60, alive=[api, triggerer])
        api.pause()
        triggerer.pause()
        began = time.monotonic()
        try:
            time.sleep(PAUSE_SECONDS)
            triggerer.resume()
            wait_for(lambda: self._killed_though_waiting() > 0, timeout=30, alive=[triggerer])
            self.killed_though_waiting = self._killed_though_waiting()
            self.stack.dismiss("triggerer-2")
            time.sleep(max(0, began + OUTAGE_SECONDS - time.monotonic()))
        finally:
            triggerer.resume()
            api.resume()
        wait_for(lambda: not self.stack.api.unhealthy(), timeout=60, alive=[api])
        self._hold(self.database_outage)
        self.acted.until(lambda: self._triggerer_of(self.acted) == first, "the first triggerer has it again")
        self.api_outage.until_all_wait()

    def _killed_though_waiting(self) -> int:
        """Return how many triggers of the waits that nobody has touched were killed all the same, by their own word."""
        logs = self.stack.task_logs(self.acted.dag_id, self.acted.run_id, "wait")
        untouched = [log for log in logs if log.parent.name in {"map_index=0", "map_index=4"}]
        return sum("nobody failed the task that waits" in log.read_text() for log in untouched)

    def _kill_the_database(self) -> None:
        """For a minute; then start what has died of it, as a supervisor would."""
        self.stack.process("postgres").kill()
        time.sleep(OUTAGE_SECONDS)
        self.died = self.stack.revive()
        deadline = time.monotonic() + 90
        while self.stack.api.unhealthy():
            assert time.monotonic() < deadline, "Airflow does not come back"
            time.sleep(0.5)
            # One or the other may notice only now that its connections are gone.
            self.died += self.stack.revive()

    def _load(self) -> None:
        for run in (
            *(self.killed, self.stopped, self.acted, self.left, self.dagrun_timeout),
            *(self.api_outage, self.database_outage),
        ):
            with suppress(AssertionError):  # that it did not end is what a test finds
                run.until_it_ends()
        self.overdue_left.clear("wait", 0)
        self.overdue_left.clear("load")
        self.overdue_left.until(lambda: self.overdue_left.state == "success", "what was overdue is loaded")

    def _hold(self, run: Run) -> None:
        """Begin a run, and return when its job is created but the worker has no answer."""
        turn(self.stack, **_NO_ANSWER)
        run.begin()
        run.until(lambda: run.jobs, "its job is created")

    def _triggerer_of(self, run: Run) -> int | None:
        ids = {task["triggerer_id"] for task in run.tasks("wait").values()} - {None}
        return ids.pop() if len(ids) == 1 else None


def came_by(orders: Path, pid: int) -> list[str]:
    """Return the moments that a process came by."""
    return [moment.name for moment in journal(orders) if moment.pid == pid]
