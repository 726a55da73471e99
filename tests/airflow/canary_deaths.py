"""Prepare with a canary, and die by SIGKILL at every moment of it: ``python canary_deaths.py BUCKET``.

A run is two processes, the second of which lives. The moments are those before and after each call that the canary
makes to the world; both processes ask several rows at once. Each run has a model of its own, so that its bills can be
told from those of a run whose last call arrives when its caller is dead. One line of JSON a run says who lived.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from google.cloud import aiplatform_v1  # noqa: F401  # imported once, for all that are forked

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

ROWS = 3
MOMENTS = ROWS * 3 * 2
"""Before and after a note, a call and an answer of every row."""


def model(moment: int) -> str:
    """Name the model of a run."""
    return f"gemini-mortal-{moment}"


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


def attempt(bucket: str, run: int, number: int, moment: int) -> bool:
    """Prepare in a process of its own; return whether it lived."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        mortal(moment)
        operator = GeminiBatchPrepareOperator(
            task_id="prepare",
            rows=lambda: ({"key": f"k{row}", "text": f"row {row}"} for row in range(ROWS)),
            template=GeminiTemplate(prompt="Say {text}."),
            model=model(run),
            location="us-central1",
            work_uri=f"gs://{bucket}/gemini",
            canary_rows=ROWS,
            count_tokens_rows=0,
        )
        operator.execute({"ti": Ti(f"run-{run}", number)})  # type: ignore[arg-type,typeddict-item]
        status = 0
    except BaseException:  # noqa: BLE001  # whatever it is, it must not run on as a second parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(bucket: str) -> None:
    """Tell a run for every moment there is, and one that lives through all of them."""
    for moment in range(MOMENTS + 1):
        lived = attempt(bucket, moment, 1, moment)
        again = lived or attempt(bucket, moment, 2, -1)
        print(json.dumps({"lived": lived, "again": again}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
