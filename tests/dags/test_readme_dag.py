"""The DAG of the README, run as it stands there, over several parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_batch_gemini.local.server import LocalCloud

pytestmark = [
    pytest.mark.usefixtures("airflow_db"),
    # Airflow's own code warns of its own future; ours is held to no warnings everywhere else.
    pytest.mark.filterwarnings("default"),
]

REVIEWS = 7


@pytest.fixture
def shop(cloud: LocalCloud) -> LocalCloud:
    """The bucket, the dataset and the reviews that the README speaks of."""
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    cloud.parts.storage.create_bucket("my-bucket", location="us-central1", project="my-project")
    cloud.parts.warehouse.create_dataset("my-project", "shop", location="us-central1")
    WarehouseHook().client("my-project").query_and_wait(
        "CREATE TABLE `my-project.shop.reviews` AS SELECT CAST(n AS STRING) AS id, 'lamp' AS product, "
        f"CONCAT('review ', CAST(n AS STRING)) AS body FROM UNNEST(GENERATE_ARRAY(1, {REVIEWS})) AS n",
        location="us-central1",
    )
    return cloud


def test_the_dag_of_the_readme_labels_every_review_once(shop: LocalCloud) -> None:
    """Three reviews a part: one mapped submit and one mapped wait for each of three jobs, one load for all."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    bag = DagBag(str(Path(__file__).with_name("readme_dag.py")))
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    dag = bag.dags["label_reviews"]
    dag.get_task("prepare").max_rows_per_part = 3
    billed = shop.stats()["billed_rows"]
    dag_run = dag.test()
    tasks = dag_run.get_task_instances()
    assert {ti.state for ti in tasks} == {"success"}
    assert sorted((ti.task_id, ti.map_index) for ti in tasks) == [
        ("load", -1),
        ("prepare", -1),
        *[("submit", index) for index in range(3)],
        *[("wait", index) for index in range(3)],
    ]
    rows = list(
        WarehouseHook().query_rows(
            "SELECT key, part, JSON_VALUE(answer, '$.sentiment') AS sentiment FROM `my-project.shop.review_labels`",
            project="my-project",
            location="us-central1",
        )
    )
    assert sorted(row["key"] for row in rows) == [str(n) for n in range(1, REVIEWS + 1)]
    assert {row["part"] for row in rows} == {0, 1, 2}
    assert all(row["sentiment"] for row in rows)
    assert shop.stats()["billed_rows"] - billed == REVIEWS
