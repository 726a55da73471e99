"""Prepare with a canary, and die by SIGKILL at every moment of it: ``python canary_deaths.py BUCKET``.

A run is two processes, the second of which lives. The moments are those before and after each call that the canary
makes to the world; both processes ask several rows at once. One line of JSON a run says what was billed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

ROWS = 4


class Ti:
    """As much of a task instance as the operator sees."""

    dag_id, task_id, map_index = "deaths", "prepare", -1

    def __init__(self, run_id: str, number: int) -> None:
        self.run_id, self.id = run_id, f"attempt-{number}"


def mortal(moment: int) -> None:
    """Let this process die at its so-manieth moment, counted over all threads; -1: never."""
    counter, lock = itertools.count(), threading.Lock()

    def pass_by() -> None:
        with lock:
            if next(counter) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def around(self: Any, *args: Any, **more: Any) -> Any:
            if args and "/canary/" not in str(args[0]):
                return call(self, *args, **more)
            pass_by()
            found = call(self, *args, **more)
            pass_by()
            return found

        return around

    for hook, name in ((WorkspaceHook, "write"), (GeminiBatchHook, "generate_content")):
        setattr(hook, name, wrapped(getattr(hook, name)))


def attempt(bucket: str, run_id: str, number: int, moment: int) -> bool:
    """Prepare in a process of its own; return whether it lived."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        mortal(moment)
        operator = GeminiBatchPrepareOperator(
            task_id="prepare",
            rows=lambda: ({"key": f"k{row}", "text": f"{run_id} {row}"} for row in range(ROWS)),
            template=GeminiTemplate(prompt="Say {text}."),
            model="gemini-3.5-flash",
            location="us-central1",
            work_uri=f"gs://{bucket}/gemini",
            canary_rows=ROWS,
            count_tokens_rows=0,
        )
        operator.execute({"ti": Ti(run_id, number)})  # type: ignore[arg-type,typeddict-item]
        status = 0
    except BaseException:  # noqa: BLE001  # whatever it is, it must not run on as a second parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def billed() -> int:
    """Return what the local cloud has billed for direct calls."""
    with urllib.request.urlopen(f"{os.environ['VERTEX_AI_EMULATOR_HOST']}/admin/stats") as answer:
        stats = json.load(answer)
    return sum(one["billed_rows"] for one in stats["generate_content"].values())


def main(bucket: str) -> None:
    """Tell a run for every moment there is, until a process lives through all of them."""
    for moment in itertools.count():
        before, run_id = billed(), f"run-{moment}"
        lived = attempt(bucket, run_id, 1, moment)
        again = lived or attempt(bucket, run_id, 2, -1)
        print(json.dumps({"moment": moment, "lived": lived, "again": again, "billed": billed() - before}))  # noqa: T201
        if lived:
            break


if __name__ == "__main__":
    main(sys.argv[1])
