"""Runs that things happen to, and what Airflow, Vertex AI and BigQuery have on record of them afterwards."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import psycopg2.extras
from airflow_api import call
from stack import BUCKET, DATASET, LOCATION, PROJECT, Stack

ROWS_PER_PART = 3
ENDED = frozenset({"success", "failed"})
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Seen:
    """What Airflow and the local cloud said at one moment."""

    tasks: tuple[Mapping[str, Any], ...] = ()
    runs: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_TASKS = """
SELECT task.id::text, task.run_id, task.task_id, task.map_index, task.state, task.try_number, trigger.triggerer_id
FROM task_instance AS task LEFT JOIN trigger ON trigger.id = task.trigger_id
"""


class Watch:
    """Looks for everybody, so that twenty stories ask no more than one; goes on when nobody answers.

    It reads Airflow's tables and not its API: that works while the API server is stopped, and leaves it to the workers.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.seen = Seen()
        self._news = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watch", daemon=True)

    @contextmanager
    def open(self) -> Iterator[Watch]:
        """Look on while the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()

    def _look_on(self) -> None:
        while not self._over.is_set():
            with suppress(OSError, psycopg2.Error), closing(self._connect()) as connection:
                while not self._over.wait(LOOK_SECONDS):
                    self._look(connection)
            self._over.wait(LOOK_SECONDS)

    def _connect(self) -> psycopg2.extensions.connection:
        assert self.stack.database is not None
        connection = psycopg2.connect(self.stack.database.url)
        connection.autocommit = True
        return connection

    def _look(self, connection: psycopg2.extensions.connection) -> None:
        jobs = call("GET", f"{self.stack.cloud_url}/admin/stats")["jobs"]
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(_TASKS)
            tasks = tuple(cursor.fetchall())
            cursor.execute("SELECT run_id, state FROM dag_run")
            runs = {run["run_id"]: run["state"] for run in cursor.fetchall()}
        self._say(Seen(tasks=tasks, runs=runs, jobs=jobs))

    def _say(self, seen: Seen) -> None:
        with self._news:
            self.seen = seen
            self._news.notify_all()

    def until(self, condition: Callable[[], Any], *, what: str, timeout: float) -> Any:
        """Wait for a condition on what is seen, and return what it found."""
        deadline = time.monotonic() + timeout
        with self._news:
            while not (found := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f"Not within {timeout:g} s: {what}"
                self._news.wait(min(left, 1))
        return found


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one of the DAGs, from its trigger on."""

    watch: Watch
    dag_id: str
    run_id: str
    parts: int = 1

    def begin(self) -> Run:
        """Trigger it."""
        self.watch.stack.api.trigger(self.dag_id, {"parts": self.parts}, run_id=self.run_id)
        return self

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.parts * ROWS_PER_PART

    def tasks(self, task_id: str | None = None) -> dict[tuple[str, int], Mapping[str, Any]]:
        """Return its task instances by name and map index."""
        return {
            (task["task_id"], task["map_index"]): task
            for task in self.watch.seen.tasks
            if task["run_id"] == self.run_id and task_id in {None, task["task_id"]}
        }

    def task(self, task_id: str, index: int = -1) -> Mapping[str, Any]:
        """Return one task instance; an empty record while there is none."""
        return self.tasks().get((task_id, index), {})

    def states(self) -> dict[str, str]:
        """Return state and try number of every task, for a failing test to show."""
        return {
            f"{name}[{index}]": f"{task['state']} try {task['try_number']}"
            for (name, index), task in sorted(self.tasks().items())
        }

    @property
    def state(self) -> str:
        """The state of the run."""
        return self.watch.seen.runs.get(self.run_id, "none")

    @property
    def jobs(self) -> dict[str, Mapping[str, Any]]:
        """Return Vertex AI's jobs for it."""
        return {
            name: job
            for name, job in self.watch.seen.jobs.items()
            if job["display_name"].endswith(self.run_id)
        }

    def ledger(self, part: int) -> dict[str, Any]:
        """Return the ledger of a part."""
        name = f"gemini/{self.dag_id}/{self.run_id}/prepare/ledger/part-{part:05d}.json"
        url = f"{self.watch.stack.cloud_url}/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}?alt=media"
        return dict(call("GET", url))

    def job(self, part: int) -> Mapping[str, Any]:
        """Return the job of a part, as the ledger names it."""
        return self.watch.seen.jobs[self.ledger(part)["job_name"]]

    def spare_jobs(self) -> dict[str, Mapping[str, Any]]:
        """Return the jobs that no ledger stands for."""
        kept = {self.ledger(part)["job_name"] for part in range(self.parts)}
        return {name: job for name, job in self.jobs.items() if name not in kept}

    def until(self, condition: Callable[[], Any], what: str, *, timeout: float = 180) -> Any:
        """Wait for something to be seen of this run."""
        try:
            return self.watch.until(condition, what=f"{self.run_id}: {what}", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.states()}\n{dict(self.jobs)}") from None

    def until_all_wait(self) -> None:
        """Wait until every part waits in a triggerer."""

        def waiting() -> bool:
            waits = self.tasks("wait").values()
            return [task["state"] for task in waits if task["map_index"] >= 0] == ["deferred"] * self.parts

        self.until(waiting, "every part is deferred")

    def until_it_ends(self) -> str:
        """Wait for the end of the run; return its state."""
        self.until(lambda: self.state in ENDED, "the run ends")
        return self.state

    def clear(self, task_id: str, index: int = -1) -> None:
        """Clear a task as the UI does."""
        self.watch.stack.api.clear(self.dag_id, self.run_id, task_id, index)

    def mark(self, task_id: str, index: int, state: str) -> None:
        """Mark a task as the UI does."""
        self.watch.stack.api.mark(self.dag_id, self.run_id, task_id, index, state)

    def billed(self) -> int:
        """Return the rows that were paid for."""
        return sum(int(job["billed_rows"]) for job in self.jobs.values())

    def cancelled(self) -> list[int]:
        """Return the parts whose job somebody cancelled."""
        return [part for part in range(self.parts) if "CANCEL" in self.job(part)["state"]]

    def results(self) -> list[tuple[str, str]]:
        """Return key and answer of every row of the results table, doubled ones too."""
        return sorted(
            tuple(row)
            for row in query(self.watch.stack, _OF_RUN.format(table="story_results", run_id=self.run_id))
        )

    def errors(self) -> list[tuple[str, str]]:
        """Return key and outcome of every row of the errors table."""
        return sorted(
            tuple(row) for row in query(self.watch.stack, _ERRORS_OF_RUN.format(run_id=self.run_id))
        )


_OF_RUN = f"SELECT key, text FROM {PROJECT}.{DATASET}.{{table}} WHERE run_id = '{{run_id}}'"
_ERRORS_OF_RUN = (
    f"SELECT key, outcome FROM {PROJECT}.{DATASET}.story_results_errors WHERE run_id = '{{run_id}}'"
)


def query(stack: Stack, sql: str) -> list[list[Any]]:
    """Return the rows of a query on the local BigQuery; none from a table that nobody has made yet."""
    body = {"query": sql, "useLegacySql": False, "location": LOCATION, "maxResults": 1_000}
    try:
        answer = call("POST", f"{stack.cloud_url}/bigquery/v2/projects/{PROJECT}/queries", body, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return []
    return [[cell["v"] for cell in row["f"]] for row in answer.get("rows", [])]


def input_rows(parts: int) -> dict[str, str]:
    """Return key and text of every row; the local cloud's answer to a text is the text: the oracle."""
    return {
        f"row-{number:03d}": f"Text of row {number} \N{SNOWMAN}" for number in range(parts * ROWS_PER_PART)
    }


def upload_inputs(stack: Stack, *, most_parts: int) -> None:
    """Write the source files that the DAGs read."""
    for parts in range(1, most_parts + 1):
        lines = [json.dumps({"key": key, "text": text}) for key, text in input_rows(parts).items()]
        name = urllib.parse.quote(f"stories/{parts}-parts.jsonl", safe="")
        request = urllib.request.Request(
            f"{stack.cloud_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}",
            data="\n".join(lines).encode(),
            method="POST",
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()


def turn(stack: Stack, **knobs: Any) -> None:
    """Turn knobs of the local cloud."""
    call("PUT", f"{stack.cloud_url}/admin/knobs", knobs)
