"""A DAG file parses fast: importing what it names loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[1] / "airflow_batch_gemini"
MODULES = sorted(
    f"airflow_batch_gemini.{path.parent.name}.{path.stem}"
    for floor in ("operators", "sensors", "triggers", "links", "task_groups", "decorators")
    for path in (PACKAGE / floor).glob("[!_]*.py")
)
HEAVY = ("google", "duckdb", "sqlglot", "pandas", "pyarrow", "aiohttp", "fsspec")
CODE = """
import importlib, json, sys, time
import airflow.sdk as sdk
# The names a DAG file takes from it load on first use.
sdk.dag, sdk.task, sdk.Param, sdk.BaseOperator, sdk.BaseSensorOperator, sdk.BaseHook, sdk.BaseOperatorLink, sdk.conf
loaded, began = {}, time.process_time()
for name in sys.argv[1:]:
    before = set(sys.modules)
    importlib.import_module(name)
    loaded[name] = sorted(set(sys.modules) - before)
print(json.dumps({"loaded": loaded, "seconds": time.process_time() - began}))
"""


@pytest.fixture(scope="module")
def imports() -> list[dict[str, Any]]:
    """What importing all modules over ``airflow.sdk`` loads, and its CPU seconds, in two fresh processes."""
    command = [sys.executable, "-c", CODE, *MODULES]
    runs = [
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120) for _ in range(2)
    ]
    return [json.loads(run.stdout.splitlines()[-1]) for run in runs]


def test_there_are_modules_to_judge() -> None:
    """Every operator, the sensor, the triggers, the link, the group and the decorator."""
    names = {module.removeprefix("airflow_batch_gemini.") for module in MODULES}
    assert {
        "operators.prepare",
        "operators.submit",
        "operators.load",
        "operators.cancel",
        "sensors.job",
    } <= names
    assert {"triggers.job", "links.job", "task_groups.gemini_batch", "decorators.gemini_batch"} <= names


@pytest.mark.parametrize("module", MODULES)
def test_importing_it_loads_no_heavy_library(module: str, imports: list[dict[str, Any]]) -> None:
    """Google's clients, DuckDB and the like are loaded where they are used."""
    assert [name for name in imports[0]["loaded"][module] if name.partition(".")[0] in HEAVY] == []


def test_importing_all_of_them_costs_at_most_0_3_seconds_of_cpu(imports: list[dict[str, Any]]) -> None:
    """The better of two, for a machine that is busy with other tests."""
    assert min(run["seconds"] for run in imports) <= 0.3


ON_THE_LOOP = """
import asyncio, json, sys, threading
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger
seen = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:] and threading.current_thread() is threading.main_thread():
            seen.append(name)
sys.meta_path.insert(0, Watch())
trigger = GeminiBatchJobTrigger(
    job_name="projects/p/locations/us-central1/batchPredictionJobs/1", deadline=1.0, poll_interval=1.0
)
async def wait():
    return [event.payload async for event in trigger.run()]
events = asyncio.run(wait())
print(json.dumps({"seen": seen, "events": events}))
"""


def test_a_triggerers_loop_imports_no_heavy_library() -> None:
    """A second of importing would hold up every other trigger; it is spent in threads."""
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_LOOP, *HEAVY], check=True, capture_output=True, text=True, timeout=120
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["seen"], len(told["events"])) == ([], 1)
