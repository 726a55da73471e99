"""### What is installed here, and whom is it for?

Reads the metadata of every Python distribution in Airflow's own environment into BigQuery, asks Gemini for a category,
an audience and one sentence about each, and counts the answers.

`read_packages` → `prepare` → `submit` → `wait` (deferred: no worker is held) → `load` → `count_categories`

**Leaves** `<dataset>.packages`, and `<dataset>.package_labels` with `…_errors` and `…_batches`; request and prediction
files lie under `gs://<bucket>/gemini/`.

**Costs** about 400,000 input and 30,000 output tokens for 300 packages, at half of the model's online price;
`Most rows` bounds it. Against the local cloud nothing.

**On Google**: a connection `google_cloud_default`, a bucket and a dataset in the location of the jobs, and the
Variables `gemini_batch_bucket` and `gemini_batch_dataset` (or the fields of the form).
"""

from __future__ import annotations

import logging
from typing import Any, Literal

from airflow.sdk import dag, get_current_context, task
from gemini_examples.settings import (
    BUCKET,
    DATASET,
    LOCATION,
    MODEL,
    POLL_SECONDS,
    PROJECT,
    RETRIES,
    form,
    rows_param,
)
from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

log = logging.getLogger(__name__)


class PackageLabel(BaseModel):
    """What Gemini says about one package."""

    category: Literal[
        "data", "web", "cloud", "machine learning", "testing", "security", "developer tools", "other"
    ]
    audience: str
    summary: str


TEMPLATE = GeminiTemplate(
    prompt=(
        "Python package {name} {version}. Licence: {licence}. Classifiers: {classifiers}\n"
        "{summary}\n\n{description}\n\n"
        "Which category fits best, who uses it, and what does it do, in one English sentence?"
    ),
    system_instruction="You catalogue software. Judge by what the text says; do not guess.",
    generation_config={"temperature": 0, "maxOutputTokens": 1024},
    response_schema=PackageLabel,
)


@dag(
    dag_id="gemini_batch_packages",
    description="What is installed here, and whom is it for?",
    doc_md=__doc__,
    schedule=None,  # what is installed changes with a deployment, not with the clock
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(rows=rows_param(2_000, "packages")),
    tags=["gemini", "example"],
)
def gemini_batch_packages() -> None:
    """Wire the tasks."""

    @task
    def read_packages(*, project: str, bucket: str, dataset: str, rows: str) -> str:
        """Load the installed packages into BigQuery; the worker only writes their text to the bucket."""
        from gemini_examples.packages import installed_packages, load_packages, save_rows

        run_id = get_current_context()["run_id"]
        uri = f"gs://{bucket}/gemini/packages.jsonl"
        count = save_rows(installed_packages()[: int(rows)], uri)
        log.info("%d packages are installed here", count)
        return load_packages(uri=uri, table=f"{dataset}.packages", project=project, salt=run_id)

    @task
    def count_categories(report: dict[str, Any]) -> dict[str, int]:
        """Read the results table and log how many packages each category has."""
        from airflow_batch_gemini.batch.names import TableName
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        warehouse, table = WarehouseHook(), TableName.parse(report["tables"]["results"])
        rows = warehouse.query_rows(
            f"SELECT category, COUNT(*) AS packages FROM {table.sql} "
            "WHERE batch_id = @batch_id GROUP BY category ORDER BY packages DESC, category",
            project=table.project,
            location=warehouse.dataset_location(table.dataset_name),
            params={"batch_id": report["batch_id"]},
        )
        counts = {row["category"]: row["packages"] for row in rows}
        for category, packages in counts.items():
            log.info("%6d  %s", packages, category)
        return counts

    packages = read_packages(project=PROJECT, bucket=BUCKET, dataset=DATASET, rows="{{ params.rows }}")
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        sql="SELECT name AS key, * FROM `{{ ti.xcom_pull(task_ids='read_packages') }}`",
        template=TEMPLATE,
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
    )
    submit = GeminiBatchSubmitOperator.partial(task_id="submit").expand(batch=prepare.output)
    wait = GeminiBatchSensor.partial(task_id="wait", poll_interval=POLL_SECONDS).expand(
        job_name=submit.output
    )
    load = GeminiBatchLoadOperator(
        task_id="load", batch=prepare.output, results_table=f"{DATASET}.package_labels", project_id=PROJECT
    )
    packages >> prepare
    wait >> load
    count_categories(load.output)


gemini_batch_packages()
