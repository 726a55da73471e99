"""One stack for all that runs under a real scheduler: PostgreSQL, one triggerer until a story wants two."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import DAGS, Stack

HERE = Path(__file__).parent
PATH = (HERE.parent / "kills", HERE / "settings")
sys.path.append(str(PATH[0]))
FASTER = {
    # A task is given up after 15 s without a heartbeat instead of 300 s, a triggerer after 15 s instead of 30 s.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    # A worker whose heartbeats fail three times ends its task within the minute instead of after several.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "2",
    # The DAG files do not change meanwhile.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__CORE__PARALLELISM": "8",
}


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which worker processes take the order to die."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, orders: Path) -> Iterator[Stack]:
    """Everything running, on ports of its own."""
    path = os.pathsep.join(filter(None, [*map(str, PATH), os.environ.get("PYTHONPATH")]))
    stack = Stack(
        home=tmp_path_factory.mktemp("stack"),
        pace="seconds:3",
        dags=(DAGS, HERE / "dags"),
        postgres=True,
        settings={**FASTER, "KILL_ORDERS": str(orders), "PYTHONPATH": path},
    )
    # Told to stop, the tests take the stack with them.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack.start()
    yield stack
    stack.stop()
    signal.signal(signal.SIGTERM, before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was counted."""
    from faults import TABLE

    if lines := config.stash.get(TABLE, None):
        terminalreporter.section("What the faults did")
        terminalreporter.write_line("\n".join(lines))
