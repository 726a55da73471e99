"""The demo: ``demo.py run`` once through, ``demo.py up`` and leave it, ``demo.py down``."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_api import call
from processes import tail
from stack import DAGS, DATASET, LOCATION, PROJECT, ROOT, Stack

DAG_ID = "gemini_batch_packages"
HOME = ROOT / ".demo"
UI_PORT = 8080
TIMEOUT_SECONDS = 600
ENDED = {"success", "failed"}
NOTICE = """\
  The answers come from a local stand-in, NOT from Gemini: it makes up text that fits the
  response schema. Airflow, Google's client libraries, the requests, files and SQL are real."""

Say = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return 0 when it worked."""
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__)
    parser.add_argument("action", choices=["run", "up", "down"])
    action = parser.parse_args(arguments).action
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return {"run": _run, "up": _up, "down": _down}[action](_sayer())
    except (RuntimeError, OSError) as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was started is stopped.\n")
        return 130


def _sayer() -> Say:
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        stamp = f"{minutes:02d}:{seconds:02d}  " if text and not text.startswith((" ", "\n")) else ""
        sys.stdout.write(f"{stamp}{text}\n")
        sys.stdout.flush()

    return say


def _run(say: Say) -> int:
    """Start everything, run the DAG, show what came out, stop everything."""
    stack = _fresh(say)
    try:
        _start(stack, say)
        run_id = stack.api.trigger(DAG_ID)
        say(f"triggered {DAG_ID}, run {run_id}")
        state = _watch(stack, run_id, say)
        if state == "success":
            _show(stack, run_id, say)
            say(f"\n  UI: {stack.api.base} (stopped now; `make up` leaves one running)\n")
        else:
            _blame(stack, run_id, say)
        return 0 if state == "success" else 1
    finally:
        stack.stop()
        say("stopped Airflow and the local cloud")


def _up(say: Say) -> int:
    """Start everything and leave it running."""
    stack = Stack(home=HOME, ui_port=UI_PORT)
    if stack.running():
        say(f"It runs already: {stack.api.base}")
        return 0
    _start(stack, say)
    say(f"\n{NOTICE}\n\n  UI:          {stack.api.base}  (no password)\n  local cloud: {stack.cloud_url}")
    say(f"  DAGs:        {_shown(DAGS)}; a file you put there is found within seconds")
    say(f"  logs:        {_shown(HOME / 'logs')}\n  stop:        make down")
    tool = _shown(Path(sys.executable).with_name("gemini-batch"))
    say(f"  shell:       set -a; . {_shown(stack.exports)}; set +a")
    say(f"               {tool} jobs list --location {LOCATION}\n")
    return 0


def _down(say: Say) -> int:
    """Stop what ``up`` started; its data stays for the next ``up``."""
    stack = Stack(home=HOME)
    names = [process.name for process in stack.running()]
    stack.stop()
    say(f"stopped {', '.join(names)}" if names else "nothing was running")
    return 0


def _fresh(say: Say) -> Stack:
    """Return a stack with no past; one that is running is left alone."""
    home = HOME / "run"
    before = Stack(home=home)
    if before.running():
        say("stopping what an earlier demo left running")
        before.stop()
    shutil.rmtree(home, ignore_errors=True)
    return Stack(home=home, ui_port=UI_PORT)


def _start(stack: Stack, say: Say) -> None:
    say("starting the local cloud and Airflow (scheduler, triggerer, dag processor, API server) …")
    stack.start()
    say(f"Airflow is up: {stack.api.base}")
    if not stack.api.base.endswith(f":{UI_PORT}"):
        say(f"port {UI_PORT} is taken, so the UI is on another one")


def _watch(stack: Stack, run_id: str, say: Say) -> str:
    """Say every change of a task until the run has ended; return its state."""
    known: dict[str, str] = {}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        dead = [process.name for process in stack.processes() if process.running is None]
        if dead:
            say(f"{', '.join(dead)} ended unexpectedly")
            return "failed"
        with suppress(OSError):  # whoever does not answer is slow, or will be found dead above
            state = stack.api.run_state(DAG_ID, run_id)
            _say_changes(stack, run_id, known, say)
            if state in ENDED:
                return state
        time.sleep(0.5)
    say(f"not done after {TIMEOUT_SECONDS} s")
    return "failed"


def _say_changes(stack: Stack, run_id: str, known: dict[str, str], say: Say) -> None:
    """Say what differs from *known*, and remember it there."""
    for task in stack.api.tasks(DAG_ID, run_id):
        name, now = _name(task), task["state"] or "-"
        if known.get(name, "-") == now:
            continue
        known[name] = now
        say(f"{name:<18} {now:<12} {_explanation(stack, task)}".rstrip())
        if now == "up_for_retry":
            say(_task_log(stack, run_id, task))
    if "deferred" in known.values() and (news := _job(stack)) != known.get("job"):
        known["job"] = news
        say(f"{'job':<18} {news}")


def _name(task: Mapping[str, Any]) -> str:
    index = task["map_index"]
    return str(task["task_id"]) if index < 0 else f"{task['task_id']}[{index}]"


def _explanation(stack: Stack, task: Mapping[str, Any]) -> str:
    """Tell what Airflow has on record of a deferred task."""
    if task["state"] != "deferred":
        return ""
    trigger = (task.get("trigger") or {}).get("classpath", "").rpartition(".")[2]
    pool = stack.api.pool()
    return (
        f"waits in the triggerer ({trigger}); tasks in the pool: {pool['running_slots']} running, "
        f"{pool['deferred_slots']} deferred"
    )


def _job(stack: Stack) -> str:
    """Return how the batch job is, as Vertex AI's API tells it."""
    url = f"{stack.cloud_url}/v1/projects/{PROJECT}/locations/{LOCATION}/batchPredictionJobs"
    jobs = call("GET", url).get("batchPredictionJobs", [])
    if not jobs:
        return "no job yet"
    counts = jobs[0].get("completionStats", {})
    told = ", ".join(f"{name.removesuffix('Count')} {count}" for name, count in counts.items())
    return f"{jobs[0]['state']}{': ' if told else ''}{told}"


def _show(stack: Stack, run_id: str, say: Say) -> None:
    """Print the first result rows and the report."""
    report = stack.api.xcom(DAG_ID, run_id, "load")
    say(f"\n{NOTICE}\n\n  First rows of {PROJECT}.{DATASET}.package_labels")
    sql = (
        "SELECT key, category, summary, total_tokens, cost_usd "
        f"FROM `{PROJECT}.{DATASET}.package_labels` ORDER BY key LIMIT 8"
    )
    for line in _table(*_query(stack, sql)):
        say(f"    {line}")
    categories = stack.api.xcom(DAG_ID, run_id, "count_categories")
    say("\n  Answers by category\n    " + ", ".join(f"{name} {count}" for name, count in categories.items()))
    say("\n  Report")
    for name, value in _report_lines(report):
        say(f"    {name:<10} {value}")


def _report_lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    def listed(counts: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"

    cost = report["cost_usd"]
    yield "rows", f"{report['rows']:,}"
    yield "outcomes", listed(report["outcomes"])
    yield "tokens", listed(report["tokens"])
    yield (
        "cost",
        "unknown" if cost is None else f"{float(cost):.4f} USD, as Vertex AI would bill it; nothing was paid",
    )


def _query(stack: Stack, sql: str) -> tuple[list[str], list[list[str]]]:
    answer = call(
        "POST",
        f"{stack.cloud_url}/bigquery/v2/projects/{PROJECT}/queries",
        {"query": sql, "useLegacySql": False, "location": LOCATION},
        timeout=60,
    )
    names = [column["name"] for column in answer["schema"]["fields"]]
    return names, [[str(cell["v"]) for cell in row["f"]] for row in answer.get("rows", [])]


def _table(names: list[str], rows: list[list[str]], *, widest: int = 34) -> Iterator[str]:
    cut = [
        [cell if len(cell) <= widest else f"{cell[: widest - 1]}…" for cell in row] for row in [names, *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row in cut:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _blame(stack: Stack, run_id: str, say: Say) -> None:
    """Print the logs that tell what went wrong."""
    with suppress(OSError):
        for task in stack.api.tasks(DAG_ID, run_id):
            if task["state"] in {"failed", "up_for_retry", "running", "deferred"}:
                say(_task_log(stack, run_id, task))
    for process in stack.processes():
        if process.running is None:
            say(f"\n== {process.name}\n{process.last_words()}")
    say(f"\nAll logs: {_shown(stack.home / 'logs')}, {_shown(stack.home / 'airflow/logs')}")


def _task_log(stack: Stack, run_id: str, task: Mapping[str, Any]) -> str:
    log = stack.task_log(DAG_ID, run_id, task["task_id"])
    lines = map(_readable, tail(log, 40).splitlines()) if log else ["it left no log"]
    return "\n".join(["", f"== {_name(task)}: {task['state']}", *lines, ""])


def _readable(line: str) -> str:
    """Return one line of Airflow's task log, which is JSON, as a person reads it."""
    try:
        record = json.loads(line)
        text = f"{record['timestamp'][11:19]} {record['level']:<8} {record['event']}"
    except (ValueError, KeyError, TypeError):
        return line
    errors = [f"    {error['exc_type']}: {error['exc_value']}" for error in record.get("error_detail") or []]
    return "\n".join([text, *errors])


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    sys.exit(main())
