"""One attempt of one task: a forked process that runs the real operator, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn
from uuid import UUID

import deaths
import warm
from deaths import Order

Medium = Literal["gcs", "bigquery"]
Task = Literal["prepare", "submit", "load"]
State = Literal["new", "running", "stopped", "deferred", "killed", "failed", "done"]
LOCATION = "us-central1"
OPEN = frozenset({"running", "deferred"})


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What all attempts of a story work on."""

    run: str
    folder: Path
    """Orders, journal, results and logs of the attempts."""
    medium: Medium
    rows: Mapping[str, str]
    """Key → text; the answer to a row is its prompt."""
    rows_per_part: int
    results: str
    settle_seconds: float
    deferrable: bool = False
    sabotage: Callable[[], None] | None = None
    """What every attempt does to the package first, to see that the tests notice."""

    @property
    def source(self) -> str:
        """Where the rows lie on Cloud Storage."""
        return f"gs://kills/sources/{self.run}.jsonl"


@dataclass
class Ti:
    """As much of a task instance as an operator sees. Later numbers are later attempts."""

    run_id: str
    task_id: str
    try_number: int
    dag_id: str = "kills"
    map_index: int = -1

    @property
    def id(self) -> UUID:
        """A uuid7: what comes first in it is time."""
        return UUID(int=(self.try_number << 80) | (7 << 76) | (2 << 62))

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep nothing."""


@dataclass(kw_only=True)
class Attempt:
    """A process at a time: a deferral ends one, and its resumption is another one of the same attempt."""

    batch: Batch
    task: Task
    number: int
    given: Any = None
    """The batch, or the part of it, as it came through XCom."""
    fate: Order | None = None
    state: State = "new"
    due: float = 0.0
    """When a deferral is over."""
    result: dict[str, Any] = field(default_factory=dict)
    _pid: int = 0

    def start(self) -> None:
        """Fork."""
        if self.fate is not None and self.state == "new":
            deaths.give(self.batch.folder, replace(self.fate, attempt=self.number))
        self.state = "running"
        self._pid = os.fork()
        if not self._pid:
            self._live()

    def tend(self, now: float) -> None:
        """See what has become of the process; resume it when its deferral is over."""
        if self.state == "deferred" and now >= self.due:
            self.start()
        if self.state != "running":
            return
        pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        if os.WIFSTOPPED(status):
            self.state = "stopped"
        elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.state = "killed"
        elif os.WIFEXITED(status) and self._path.exists():
            self.result = json.loads(self._path.read_text())
            self._path.unlink()
            warm.learn(self.result.pop("modules"))
            self.state = self.result["state"]
            self.due = now + self.result.get("seconds", 0.0)
        else:
            self.state, self.result = (
                "failed",
                {"error": f"ended with status {status} and no word", "final": True},
            )

    def wake(self) -> None:
        """Let a stopped process go on."""
        self.state = "running"
        os.kill(self._pid, signal.SIGCONT)

    def end(self) -> None:
        """Make sure that no process is left."""
        if self.state in {"running", "stopped"}:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self.state = "failed"

    @property
    def _path(self) -> Path:
        return self.batch.folder / f"attempt-{self.number}.result"

    # ------------------------------------------------------------------------------------------------- in the child

    def _live(self) -> NoReturn:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            log = os.open(self.batch.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ[deaths.VARIABLE] = str(self.batch.folder)
            deaths.install()
            if self.batch.sabotage is not None:
                self.batch.sabotage()
            draft = self._path.with_suffix(".draft")
            before = set(sys.modules)
            result = self._run()
            result["modules"] = sorted(set(sys.modules) - before)
            draft.write_text(json.dumps(result))
            draft.rename(self._path)
        except BaseException:  # noqa: BLE001  # whatever it is, it must not run on as a second parent
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def _run(self) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
        from airflow.sdk.execution_time.context import set_current_context

        print(f"== {self.task}, attempt {self.number}, process {os.getpid()}", flush=True)  # noqa: T201  # the log
        ti = Ti(self.batch.run, self.task, self.number)
        context: Any = {"ti": ti, "ds": "2026-09-01", "outlet_events": {}}
        operator = _operator(self.batch, self.task, self.given)
        signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
        resumed = self.result
        try:
            with set_current_context(context):
                if not resumed:
                    return {"state": "done", "value": operator.execute(context)}
                method = getattr(operator, resumed["method"])
                return {
                    "state": "done",
                    "value": method(context, event=resumed["event"], **resumed["kwargs"]),
                }
        except TaskDeferred as deferral:
            return {
                "state": "deferred",
                "method": deferral.method_name,
                "kwargs": dict(deferral.kwargs or {}),
                **_waited(deferral.trigger, self.batch.settle_seconds),
            }
        except Exception as error:  # noqa: BLE001  # an attempt that fails is part of the story
            traceback.print_exc()
            return {
                "state": "failed",
                "error": f"{type(error).__name__}: {error}",
                "final": isinstance(error, AirflowFailException),
            }


def _waited(trigger: Any, settle_seconds: float) -> dict[str, Any]:
    """Return what the trigger would answer. The clock jumps: no wait is longer than the settle time."""
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger

    if isinstance(trigger, DateTimeTrigger):
        left = trigger.moment.timestamp() - time.time()
        return {"event": None, "seconds": max(0.0, min(left, settle_seconds + 0.02))}
    return {"event": {"jobs": trigger.jobs}, "seconds": 0.05}


def _operator(batch: Batch, task: Task, given: Any) -> Any:
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
    from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

    if task == "prepare":
        return _prepare(batch)
    if task == "submit":
        return GeminiBatchSubmitOperator(task_id=task, batch=given, settle_seconds=batch.settle_seconds)
    return GeminiBatchLoadOperator(
        task_id=task,
        batch=given,
        results_table=batch.results,
        deferrable=batch.deferrable,
        poll_interval=0.05,
        timeout=60,
    )


def _prepare(batch: Batch) -> Any:
    from airflow_batch_gemini import GeminiTemplate
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

    source: dict[str, Any] = {"source_uri": batch.source}
    if batch.medium == "bigquery":
        rows = _literals(batch.rows)
        source = {
            "sql": f"SELECT r.key AS key, r.text AS text FROM UNNEST([{rows}]) AS r",
            "requests_dataset": "kills",
            "predictions_dataset": "kills",
        }
    return GeminiBatchPrepareOperator(
        task_id="prepare",
        template=GeminiTemplate(prompt="Say {text}."),
        model="gemini-2.5-flash",
        location=LOCATION,
        work_uri="gs://kills/work",
        max_rows_per_part=batch.rows_per_part,
        **source,
    )


def _literals(rows: Mapping[str, str]) -> str:
    pairs: Sequence[tuple[str, str]] = list(rows.items())
    return ", ".join(f"STRUCT({_quoted(key)} AS key, {_quoted(text)} AS text)" for key, text in pairs)


def now() -> float:
    """The clock that all waits go by."""
    return time.monotonic()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
