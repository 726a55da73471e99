"""Airflow around the triggerer: its settings, its metadata database."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from waiting.cloud import paths


def airflow_settings(home: Path) -> dict[str, str]:
    """Return Airflow's settings: everything below *home*, and triggers taken up as fast as they come."""
    return {
        **paths(),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # One folder for all: thousands of them take longer to make and to remove than all else.
        "AIRFLOW__LOGGING__LOG_FILENAME_TEMPLATE": "{{ ti.map_index }}.log",
        "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "1000",
    }


def run(command: Sequence[str], env: Mapping[str, str], log: Path, *, given: str = "") -> None:
    """Run a command to its end."""
    with log.open("ab") as output:
        done = subprocess.run(
            command, input=given.encode(), env=env, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{log.read_text()[-3000:]}")


def resumed(home: Path) -> dict[int, tuple[float, bool]]:
    """Return index → when the event had set its task going again, and whether it told of a success."""
    with sqlite3.connect(f"file:{home}/airflow/airflow.db?mode=ro", uri=True, timeout=30) as database:
        rows = database.execute(
            "SELECT map_index, scheduled_dttm, next_kwargs FROM task_instance WHERE state != 'deferred'"
        ).fetchall()
    return {
        index: (
            datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp(),
            '"status": "success"' in kwargs,
        )
        for index, when, kwargs in rows
    }
