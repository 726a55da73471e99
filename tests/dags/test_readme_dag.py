"""The DAG of the README, run as it stands there, over several parts."""

from __future__ import annotations

import math
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_gemini.local.bigquery.errors import BigQueryError
from airflow_batch_gemini.local.server import LocalCloud
from airflow_batch_gemini.local.storage.errors import Conflict

pytestmark = [
    pytest.mark.usefixtures("airflow_db"),
    # Airflow's own code warns of its own future; ours is held to no warnings everywhere else.
    pytest.mark.filterwarnings("default"),
]

REVIEWS = 7
EMPTY = 4
"""The review without a word: nothing to embed."""


@pytest.fixture
def shop(cloud: LocalCloud) -> LocalCloud:
    """The bucket, the dataset and the reviews that the README speaks of."""
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    with suppress(Conflict):  # an earlier test has made it
        cloud.parts.storage.create_bucket("my-bucket", location="us-central1", project="my-project")
    with suppress(BigQueryError):
        cloud.parts.warehouse.create_dataset("my-project", "shop", location="us-central1")
    WarehouseHook().client("my-project").query_and_wait(
        "CREATE OR REPLACE TABLE `my-project.shop.reviews` AS SELECT CAST(n AS STRING) AS id, 'lamp' AS product, "
        f"IF(n = {EMPTY}, '', CONCAT('review ', CAST(n AS STRING))) AS body "
        f"FROM UNNEST(GENERATE_ARRAY(1, {REVIEWS})) AS n",
        location="us-central1",
    )
    return cloud


def run(file: str, dag_id: str, prepare_id: str = "prepare", **prepare: Any) -> list[Any]:
    """Run a DAG as its file says, but for arguments of its prepare task; return its task instances."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(Path(__file__).with_name(file)))
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    dag = bag.dags[dag_id]
    for name, value in prepare.items():
        setattr(dag.get_task(prepare_id), name, value)
    tasks = list(dag.test().get_task_instances())
    assert {ti.state for ti in tasks} == {"success"}
    return tasks


def rows_of(sql: str) -> list[dict[str, Any]]:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    return list(WarehouseHook().query_rows(sql, project="my-project", location="us-central1"))


def test_the_dag_of_the_readme_labels_every_review_once(shop: LocalCloud) -> None:
    """Three reviews a part: one mapped submit and one mapped wait for each of three jobs, one load for all."""
    billed = shop.stats()["billed_rows"]
    tasks = run("readme_dag.py", "label_reviews", max_rows_per_part=3)
    assert sorted((ti.task_id, ti.map_index) for ti in tasks) == [
        ("load", -1),
        ("prepare", -1),
        *[("submit", index) for index in range(3)],
        *[("wait", index) for index in range(3)],
    ]
    rows = rows_of(
        "SELECT key, part, JSON_VALUE(answer, '$.sentiment') AS sentiment FROM `my-project.shop.review_labels`"
    )
    assert sorted(row["key"] for row in rows) == [str(n) for n in range(1, REVIEWS + 1)]
    assert {row["part"] for row in rows} == {0, 1, 2}
    assert all(row["sentiment"] for row in rows)
    assert shop.stats()["billed_rows"] - billed == REVIEWS


def test_the_dag_of_the_readme_embeds_every_review_once(shop: LocalCloud) -> None:
    """A vector of the wanted length a row, its tokens, its cost; a row that has no text fails alone."""
    billed = shop.stats()["billed_rows"]
    tasks = run("readme_embeddings.py", "embed_reviews")
    rows = rows_of(
        "SELECT key, text, "
        "ARRAY(SELECT LAX_FLOAT64(n) FROM UNNEST(JSON_QUERY_ARRAY(answer)) AS n WITH OFFSET AS i ORDER BY i) AS vector,"
        " prompt_tokens, total_tokens, cost_usd FROM `my-project.shop.review_vectors` ORDER BY key"
    )
    errors = rows_of("SELECT key, outcome, code FROM `my-project.shop.review_vectors_errors`")
    assert [row["key"] for row in rows] == [str(n) for n in range(1, REVIEWS + 1) if n != EMPTY]
    assert errors == [{"key": str(EMPTY), "outcome": "failed", "code": 400}]
    for row in rows:
        assert len(row["vector"]) == 768
        assert math.isclose(sum(number * number for number in row["vector"]), 1, abs_tol=1e-4)
        assert row["text"] is None
        assert row["prompt_tokens"] == row["total_tokens"] > 0
        # Four fifths of 0.15 USD a million.
        assert row["cost_usd"] == row["prompt_tokens"] * Decimal("0.000000120")
    [load] = [ti for ti in tasks if ti.task_id == "load"]
    report = load.xcom_pull(task_ids="load")
    assert report["outcomes"]["succeeded"] == len(rows) == shop.stats()["billed_rows"] - billed
    assert report["outcomes"]["failed"] == len(errors)
    assert report["tokens"]["prompt"] == sum(row["prompt_tokens"] for row in rows)
    assert report["cost_usd"] == pytest.approx(float(sum(row["cost_usd"] for row in rows)))


def test_the_one_call_of_the_readme_does_the_same(shop: LocalCloud) -> None:
    """Over three parts too; the task after the group has the report."""
    billed = shop.stats()["billed_rows"]
    tasks = run(
        "readme_one_call.py", "label_reviews_in_one_call", "gemini_batch.prepare", max_rows_per_part=3
    )
    mapped = [(ti.task_id, ti.map_index) for ti in tasks if ti.map_index >= 0]
    assert sorted(mapped) == [
        *[("gemini_batch.submit", index) for index in range(3)],
        *[("gemini_batch.wait", index) for index in range(3)],
    ]
    rows = rows_of("SELECT key FROM `my-project.shop.labels`")
    assert sorted(row["key"] for row in rows) == [str(n) for n in range(1, REVIEWS + 1)]
    assert shop.stats()["billed_rows"] - billed == REVIEWS
    [tell] = [ti for ti in tasks if ti.task_id == "tell"]
    assert tell.xcom_pull(task_ids="tell").startswith(f"{REVIEWS} of {REVIEWS} reviews, ")


def test_the_decorated_function_of_the_readme_is_answered(shop: LocalCloud) -> None:
    """Its argument was a template."""
    tasks = run("readme_decorator.py", "answer_letters")
    [day] = {ti.dag_run.logical_date.strftime("%Y-%m-%d") for ti in tasks}
    rows = rows_of("SELECT key, text FROM `my-project.shop.answers` ORDER BY key")
    assert [row["key"] for row in rows] == [f"{day}-{n}" for n in (1, 2, 3)]
    assert all(row["text"] for row in rows)


def test_the_dag_of_the_readme_asks_once_more_for_what_failed(shop: LocalCloud) -> None:
    """By Airflow's own ids, which grow in no order that means anything for two tasks: all rows, each in one table."""
    billed = shop.stats()["billed_rows"]
    shop.knobs(row_error_rate=0.9)
    tasks = run("readme_repair.py", "find_topics")
    results = rows_of("SELECT key, round FROM `my-project.shop.review_topics`")
    errors = rows_of("SELECT key, round FROM `my-project.shop.review_topics_errors`")
    keys = [row["key"] for row in (*results, *errors)]
    assert sorted(keys) == [str(n) for n in range(1, REVIEWS + 1)]
    assert {row["round"] for row in errors} <= {1}
    assert shop.stats()["billed_rows"] - billed == len(results)
    [load] = [ti for ti in tasks if ti.task_id == "load_again"]
    report = load.xcom_pull(task_ids="load_again")
    assert (report["round"], sum(report["standing"].values())) == (1, REVIEWS)
    assert report["standing"]["succeeded"] == len(results)
