"""Each example DAG once through, from rows to tables, against the local cloud: rows in are rows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_batch_gemini.local.server import LocalCloud

THURSDAY = "2026-11-19"

pytestmark = [
    pytest.mark.usefixtures("airflow_db"),
    # How Airflow reads .airflowignore.
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),
]
Run = Callable[..., Any]


@pytest.fixture
def run(
    dags: dict[str, Any], cloud: LocalCloud, bucket: str, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a DAG in this process, triggers included, and return its run when it succeeded."""
    monkeypatch.setenv("AIRFLOW_VAR_GEMINI_BATCH_BUCKET", bucket)
    monkeypatch.setenv("AIRFLOW_VAR_GEMINI_BATCH_DATASET", dataset.rpartition(".")[2])

    def go(dag_id: str, **params: Any) -> Any:
        for task in dags[dag_id].tasks:
            if task.task_type == "GeminiBatchSensor" and task.is_mapped:
                task.partial_kwargs["poll_interval"] = 0.5
        dag_run = dags[dag_id].test(run_conf=params)
        states = {ti.task_id: ti.state for ti in dag_run.get_task_instances()}
        assert dag_run.state == "success", states
        return dag_run

    return go


def rows_of(sql: str) -> list[dict[str, Any]]:
    """Return what a query against the local BigQuery answers."""
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    return list(WarehouseHook().query_rows(sql, project="demo", location="us-central1"))


def report_of(dag_run: Any, task_id: str = "load") -> dict[str, Any]:
    """Return the report that the load task left."""
    ti = next(ti for ti in dag_run.get_task_instances() if ti.task_id == task_id)
    report: dict[str, Any] = ti.xcom_pull(task_ids=task_id, map_indexes=ti.map_index)
    return report


def names() -> list[str]:
    """Return the packages installed here."""
    from gemini_examples.packages import installed_packages

    return [row["name"] for row in installed_packages()]


def test_packages_every_installed_package_gets_one_valid_label(
    run: Run, cloud: LocalCloud, dataset: str
) -> None:
    """The sensor waits through the trigger; each row is answered, billed and loaded once."""
    cloud.knobs(pace="looks:1")
    billed = cloud.stats()["billed_rows"]
    dag_run = run("gemini_batch_packages")
    labels = rows_of(
        f"SELECT key, JSON_VALUE(answer, '$.category') AS category FROM `{dataset}.package_labels`"
    )
    assert sorted(row["key"] for row in labels) == names()
    assert {row["category"] for row in labels} <= {
        "data",
        "web",
        "cloud",
        "machine learning",
        "testing",
        "security",
        "developer tools",
        "other",
    }
    assert report_of(dag_run)["outcomes"]["succeeded"] == len(labels)
    assert cloud.stats()["billed_rows"] - billed == len(labels)
    counts = dag_run.get_task_instance("count_categories").xcom_pull(task_ids="count_categories")
    assert sum(counts.values()) == len(labels)


def test_packages_rows_that_fail_are_in_the_errors_table_with_a_reason(
    run: Run, cloud: LocalCloud, dataset: str
) -> None:
    """Failed, cut off, blocked and missing rows: rows in are rows out, each in one table."""
    cloud.knobs(row_error_rate=0.1, truncate_rate=0.1, blocked_rate=0.1, missing_rate=0.1)
    dag_run = run("gemini_batch_packages", rows=80)
    good = {row["key"] for row in rows_of(f"SELECT key FROM `{dataset}.package_labels`")}
    bad = rows_of(f"SELECT key, outcome, reason FROM `{dataset}.package_labels_errors`")
    assert good | {row["key"] for row in bad} == set(names()[:80])
    assert len(good) + len(bad) == 80
    assert {row["outcome"] for row in bad} >= {"failed", "truncated", "blocked", "missing"}
    assert all(row["reason"] for row in bad)
    assert sum(report_of(dag_run)["outcomes"].values()) == 80


def test_bigquery_reads_a_table_of_the_user_and_sends_no_file(
    run: Run, cloud: LocalCloud, dataset: str, bucket: str
) -> None:
    """The requests and the predictions are tables; the bucket holds only names and counts."""
    run("gemini_batch_bigquery", rows=50)
    labels = rows_of(f"SELECT key, JSON_VALUE(answer, '$.tone') AS tone FROM `{dataset}.native_labels`")
    assert sorted(row["key"] for row in labels) == names()[:50]
    assert {row["tone"] for row in labels} <= {"neutral", "promotional", "technical", "other"}
    objects = [
        found.name for found in cloud.parts.storage.list(bucket, prefix="gemini/gemini_batch_bigquery")
    ]
    assert objects
    assert [name for name in objects if name.endswith(".jsonl")] == []


def test_multimodal_each_file_is_asked_about_by_its_own_uri(run: Run, dataset: str, bucket: str) -> None:
    """The echo of each answer shows the question; the sample files are made when the folder is empty."""
    run("gemini_batch_multimodal", question="What colour is it?")
    rows = rows_of(f"SELECT key, text FROM `{dataset}.file_descriptions` ORDER BY key")
    assert [row["key"] for row in rows] == ["batch.txt", "sunset.png"]
    assert all(row["text"] for row in rows)


def test_new_data_is_labelled_into_the_partition_of_its_day(run: Run, dataset: str) -> None:
    """What the producer wrote for a day is what the consumer has results of on that day."""
    run("gemini_batch_new_data", day=THURSDAY)
    run("gemini_batch_on_new_data", day=THURSDAY)
    rows = rows_of(f"SELECT key, CAST(batch_date AS STRING) AS day FROM `{dataset}.daily_labels`")
    assert sorted(row["key"] for row in rows) == names()[3::7]
    assert {row["day"] for row in rows} == {THURSDAY}


def test_one_call_asks_what_failed_once_more_and_tells_how_all_rows_stand(
    run: Run, cloud: LocalCloud, dataset: str
) -> None:
    """Rows in are rows out over both rounds, and what was billed is what was answered."""
    cloud.knobs(row_error_rate=0.3)
    billed = cloud.stats()["billed_rows"]
    dag_run = run("gemini_batch_one_call", rows=40)
    good = {row["key"] for row in rows_of(f"SELECT key FROM `{dataset}.one_liners`")}
    bad = {row["key"] for row in rows_of(f"SELECT key FROM `{dataset}.one_liners_errors`")}
    assert sorted([*good, *bad]) == names()[:40]
    again = report_of(dag_run, "one_liners.load_1")
    assert 0 < again["rows"] == report_of(dag_run, "one_liners.load")["outcomes"]["failed"]
    assert cloud.stats()["billed_rows"] - billed == len(good)
    standing = dag_run.get_task_instance("tell").xcom_pull(task_ids="tell")
    assert (standing["succeeded"], standing["failed"], sum(standing.values())) == (len(good), len(bad), 40)


def test_decorated_each_licence_is_asked_about_once(run: Run, cloud: LocalCloud, dataset: str) -> None:
    """The rows that the function yields all have an answer; the equal ones paid for one."""
    from gemini_examples.packages import installed_packages

    licences = {row["licence"] for row in installed_packages()[:60]}
    billed = cloud.stats()["billed_rows"]
    run("gemini_batch_decorated", rows=60)
    rows = rows_of(f"SELECT key, JSON_VALUE(answer) AS kind FROM `{dataset}.licences`")
    assert sorted(row["key"] for row in rows) == names()[:60]
    assert {row["kind"] for row in rows} <= {"permissive", "copyleft", "proprietary", "unclear"}
    assert cloud.stats()["billed_rows"] - billed == len(licences) < 60


def test_failures_are_told_by_what_they_are(run: Run, cloud: LocalCloud, dataset: str) -> None:
    """Each tenth answer is cut off; the table, the report and the task agree."""
    dag_run = run("gemini_batch_failures", rows=40)
    failures = dag_run.get_task_instance("read_failures").xcom_pull(task_ids="read_failures")
    assert [(one["outcome"], one["row_count"]) for one in failures] == [("truncated", 4)]
    assert report_of(dag_run, "summaries.load")["outcomes"]["succeeded"] == 36
    assert failures[0]["example"] == min(names()[0:40:10])


def test_too_many_failures_fail_the_run_and_keep_the_answers(
    run: Run, dags: dict[str, Any], dataset: str
) -> None:
    """None allowed: the rows that were answered are in the results table all the same."""
    with pytest.raises(AssertionError, match="read_failures"):
        run("gemini_batch_failures", rows=20, allowed=0)
    [row] = rows_of(f"SELECT COUNT(*) AS n FROM `{dataset}.summaries`")
    assert row["n"] == 18
