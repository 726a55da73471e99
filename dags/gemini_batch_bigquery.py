"""### BigQuery in, BigQuery out

Labels the rows of a BigQuery table without one bulk byte through a worker: the requests are made by one
`CREATE TABLE … AS SELECT`, Vertex AI reads them from that table and writes its predictions into another, and the load
is SQL. One example of an answer stands before each question, and long texts may have longer answers: a column sets
`maxOutputTokens` for its row.

`source` → `prepare` → `submit` → `wait` (deferred: no worker is held) → `load`

**Reads** any table with a unique text column. Left empty, it is `<dataset>.packages`, filled with the Python packages
installed here when it does not exist. **Leaves** `<dataset>.native_labels`, `…_errors` and `…_batches`.

**Costs** the tokens of the rows at half of the model's online price (`Most rows` bounds it) and what BigQuery bills for
scanning the table once. Against the local cloud nothing.

**On Google**: dataset and job in the same region (no `global` model); the Vertex AI service agent reads and writes the
dataset.
"""

from __future__ import annotations

from typing import Literal

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
    text_param,
)
from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate, Turn
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor


class Label(BaseModel):
    """What Gemini says about one row."""

    topic: str
    language: str
    tone: Literal["neutral", "promotional", "technical", "other"]


QUESTION = "What is this text about, in which language is it, and what is its tone?\n\n{text}"
EXAMPLE = "Blazing fast! The only YAML parser you will ever need."
EXAMPLE_ANSWER = '{{"topic": "YAML parsing", "language": "en", "tone": "promotional"}}'


@dag(
    dag_id="gemini_batch_bigquery",
    description="BigQuery in, BigQuery out",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(
        source_table=text_param(
            "Source table",
            "project.dataset.table or dataset.table. Empty: packages in the dataset.",
            pattern=r"^[A-Za-z0-9_.:-]+$",
        ),
        key_column=text_param("Key column", "Unique in the table. Empty: name.", pattern=r"^[A-Za-z0-9_]+$"),
        text_column=text_param(
            "Text column", "What is labelled. Empty: description.", pattern=r"^[A-Za-z0-9_]+$"
        ),
        rows=rows_param(2_000, "rows"),
    ),
    tags=["gemini", "example"],
)
def gemini_batch_bigquery() -> None:
    """Wire the tasks."""

    @task
    def source(*, table: str, project: str, bucket: str, dataset: str) -> str:
        """Return the table to label; without one, fill ``<dataset>.packages``."""
        from airflow_batch_gemini.batch.names import TableName
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        warehouse = WarehouseHook()
        name = TableName.parse(
            table or f"{dataset}.packages", default_project=project or warehouse.project_id
        )
        if table or warehouse.table_info(name) is not None:
            return str(name)
        from gemini_examples.packages import installed_packages, load_packages, save_rows

        uri = f"gs://{bucket}/gemini/packages.jsonl"
        save_rows(installed_packages(), uri)
        return load_packages(uri=uri, table=str(name), project=project, salt=get_current_context()["run_id"])

    table = source(table="{{ params.source_table or '' }}", project=PROJECT, bucket=BUCKET, dataset=DATASET)
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        sql=(
            "SELECT key, text, IF(LENGTH(text) > 2000, 1024, NULL) AS most_tokens FROM (\n"
            "  SELECT {{ params.key_column or 'name' }} AS key, {{ params.text_column or 'description' }} AS text\n"
            "  FROM `{{ ti.xcom_pull(task_ids='source') }}`\n"
            ") ORDER BY 1 LIMIT {{ params.rows }}"
        ),
        template=GeminiTemplate(
            turns=[Turn("user", QUESTION.format(text=EXAMPLE)), Turn("model", EXAMPLE_ANSWER)],
            prompt=QUESTION,
            generation_config={"temperature": 0, "maxOutputTokens": 512},
            config_columns={"maxOutputTokens": "most_tokens"},
            response_schema=Label,
        ),
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
        requests_dataset=DATASET,
        predictions_dataset=DATASET,
    )
    submit = GeminiBatchSubmitOperator.partial(task_id="submit").expand(batch=prepare.output)
    wait = GeminiBatchSensor.partial(task_id="wait", poll_interval=POLL_SECONDS).expand(
        job_name=submit.output
    )
    load = GeminiBatchLoadOperator(
        task_id="load", batch=prepare.output, results_table=f"{DATASET}.native_labels", project_id=PROJECT
    )
    table >> prepare
    wait >> load


gemini_batch_bigquery()
