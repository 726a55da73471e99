"""No prompt, answer, key or token in what Airflow keeps of a batch and its failures: a real scheduler, at DEBUG."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_api import call
from stack import DAGS, DATASET, PROJECT, Stack

sys.path.append(str(Path(__file__).parent))
import planting
from planting import Plants

pytestmark = pytest.mark.scheduler

REFUSED = ["TemplateError"] * 6 + ["SourceError", "TemplateError", "SourceError", "RowError", "TemplateError"]
REFUSED += ["RowError", "SourceError", "SourceError", "SourceError", "SourceError"]


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> Plants:
    return Plants(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, plants: Plants) -> Iterator[Stack]:
    """Everything running, with the DAG of this test beside the examples."""
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": name, "classpath": local, "kwargs": {"path": str(path)}}
        for name, path in (("dags-folder", DAGS), ("planted", planting.DAGS))
    ]
    stack = Stack(
        home=tmp_path_factory.mktemp("stack"),
        pace="seconds:1",
        settings={
            **plants.settings(),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        },
    )
    stack.start()
    yield stack
    stack.stop()


def test_nothing_of_prompts_answers_and_credentials_stays_in_airflow(stack: Stack, plants: Plants) -> None:
    """Not in the database, encrypted or not, nor in any log; while what is leaked on purpose is found everywhere."""
    dump = planting.dumped(f"sqlite:///{stack.home}/airflow/airflow.db", plants.fernet_key)
    knobs = plants.seed(stack)
    try:
        run_id, findings = planting.watch(stack, plants, dump)
    finally:
        call("PUT", f"{stack.cloud_url}/admin/knobs", knobs)
    assert findings.unseen() == {}
    assert findings.leaked() == {}
    states = {task["task_id"]: task["state"] for task in stack.api.tasks(planting.DAG_ID, run_id)}
    fine = {name for name, state in states.items() if state == "success"}
    assert fine == {"prepare", "submit", "wait", "load", "spoil", "other_refusals"}, states
    assert set(states) - fine == {"control", "no_media", "no_number", "load_spoilt"}
    assert stack.api.xcom(planting.DAG_ID, run_id, "other_refusals") == REFUSED
    # The texts did go where they belong: without that there would be nothing to find.
    row, prompt, system = (plants.secrets[name] for name in ("row", "prompt", "system"))
    table = f"{PROJECT}.{DATASET}.planted_results"
    answers = planting.count(stack, f"SELECT COUNT(*) FROM {table} WHERE STRPOS(text, '{row}') > 0")
    failed = planting.count(stack, f"SELECT COUNT(*) FROM {table}_errors WHERE outcome = 'failed'")
    assert answers + failed == planting.ROWS
    assert min(answers, failed) > 0
    sent = b"".join(
        path.read_bytes() for path in stack.home.glob("cloud/storage/**/requests/part-00000.jsonl")
    )
    assert min(sent.count(text.encode()) for text in (row, prompt, system)) == planting.ROWS
    asked = [json.loads(path.read_bytes()) for path in stack.home.glob("cloud/storage/**/canary/*.json")]
    assert len(asked) == 4
    assert any(row in json.dumps(answer) for answer in asked)
