"""The sources of the README: each prepares what the text beside it says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

PARAMS = {"product": "lamp", "stars": [1, 2]}


def prompts(task: Any, bucket: str) -> dict[str, str]:
    """Render and run a prepare task, and return what it asks by key."""
    task.work_uri = f"gs://{bucket}/gemini"
    task.project_id = "demo"
    context: Any = {"params": PARAMS, "ds": "2026-09-02"}
    task.render_template_fields(context)
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id=task.task_id, map_index=-1, id="1")
    [batch] = task.execute({"ti": ti})
    stored = WorkspaceHook().read(GcsUri.parse(batch["workspace"]) / "requests/part-00000.jsonl")
    assert stored is not None
    lines = [json.loads(line) for line in stored.data.splitlines()]
    return {line["key"]: line["request"]["contents"][0]["parts"][0]["text"] for line in lines}


@pytest.fixture
def tasks() -> dict[str, Any]:
    """The tasks of the file, parsed anew."""
    import runpy

    found = runpy.run_path(str(Path(__file__).with_name("readme_sources.py")))
    return dict(found["prepare_from_anywhere"]().task_dict)


def test_a_query_takes_its_parameters_from_the_run(
    cloud: LocalCloud, bucket: str, dataset: str, tasks: dict[str, Any]
) -> None:
    """Of four reviews one is of the product, of the stars and of an earlier day."""
    WarehouseHook().client("demo").query_and_wait(
        f"CREATE TABLE `{dataset}.reviews` AS SELECT id, product, stars, day, 'It flickers.' AS body FROM UNNEST(["
        "STRUCT('a' AS id, 'lamp' AS product, 2 AS stars, DATE '2026-09-01' AS day), ('b', 'lamp', 3, '2026-09-01'),"
        "('c', 'vase', 1, '2026-09-01'), ('d', 'lamp', 1, '2026-09-02')])"
    )
    task = tasks["of_a_query"]
    task.sql = task.sql.replace("my-project.shop", dataset)
    assert prompts(task, bucket) == {"k_a": "What is wrong here? It flickers."}


def test_a_function_yields_its_rows(
    cloud: LocalCloud, bucket: str, tmp_path: Path, tasks: dict[str, Any]
) -> None:
    """One a mail, called by the name of its file."""
    (tmp_path / "2026-09-02").mkdir()
    for name in "ba":
        mail = f"Subject: My lamp {name}\n\nIt flickers.\n"
        (tmp_path / "2026-09-02" / f"{name}.eml").write_text(mail)
    task = tasks["of_python"]
    task.op_kwargs = {"folder": task.op_kwargs["folder"].replace("/data/letters", str(tmp_path))}
    assert prompts(task, bucket) == {
        f"k_{name}": f"Answer politely. My lamp {name}\n\nIt flickers.\n" for name in "ab"
    }
