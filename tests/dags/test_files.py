"""The example DAGs as a user meets them: in the list, in the docs tab, in the Trigger form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_gemini.batch.models import RETIRED

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
DAG_IDS = {path.stem for path in FILES} | {"gemini_batch_new_data"}
SCHEDULED = {"gemini_batch_new_data", "gemini_batch_on_new_data"}
PLACES = {"project", "location", "bucket", "dataset"}


def test_every_file_makes_its_dag_and_nothing_else_does(dags: dict[str, Any]) -> None:
    """A file is called as its DAG; the producer lives with its consumer."""
    assert set(dags) == DAG_IDS


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_it_is_documented(dag_id: str, dags: dict[str, Any]) -> None:
    """The docs tab says what it does, what it costs and where its tasks lead."""
    text = dags[dag_id].doc_md
    assert "cost" in text.lower()
    assert dags[dag_id].description  # what the list of DAGs shows
    if dag_id != "gemini_batch_new_data":
        assert text.startswith(f"### {dags[dag_id].description}\n")
        assert "**On Google**" in text
        named = set(re.findall(r"`(\w+)`", next(line for line in text.splitlines() if " → " in line)))
        assert named == {task_id.rpartition(".")[2] for task_id in dags[dag_id].task_ids}


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_its_form_is_usable_as_it_stands(dag_id: str, dags: dict[str, Any]) -> None:
    """Every field has a title, a description and a section; no field has to be filled in; defaults are valid."""
    params = dags[dag_id].params
    assert set(params) >= {"model", *PLACES}
    for name in params:
        param = params.get_param(name)
        assert param.description, name
        assert {"title", "section", "type"} <= set(param.schema), name
    params.validate()


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_its_form_suggests_models_that_are_served(dag_id: str, dags: dict[str, Any]) -> None:
    """None whose last day is known: who picks one gets a job that fails."""
    suggested = set(dags[dag_id].params.get_param("model").schema["examples"])
    assert suggested
    assert not suggested & set(RETIRED)


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_its_runs_are_retried_and_never_caught_up(dag_id: str, dags: dict[str, Any]) -> None:
    """A weekend off must not buy a weekend's batches on Monday."""
    dag = dags[dag_id]
    assert dag.catchup is False
    assert "gemini" in dag.tags
    assert (dag.timetable.__class__.__name__ != "NullTimetable") == (dag_id in SCHEDULED)
    for task in dag.tasks:
        assert task.retries >= 1
        assert task.retry_exponential_backoff


def test_parsing_them_asks_no_database_and_loads_no_client(tmp_path: Path) -> None:
    """With no metadata database at all the files still parse, and without Google's libraries."""
    code = (
        "import runpy, sys, airflow.sdk as sdk; sdk.dag, sdk.task, sdk.Param, sdk.BaseSensorOperator\n"
        "before = set(sys.modules); [runpy.run_path(path) for path in sys.argv[1:]]\n"
        "print([m for m in set(sys.modules) - before if m.partition('.')[0] in {'google', 'duckdb', 'pandas'}])"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "dags"),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/absent/airflow.db",
    }
    command = [sys.executable, "-c", code, *map(str, FILES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
