"""A whole batch in one call, which a person approves."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch

with DAG(dag_id="approved_group", schedule=None, default_args={"retries": 2}) as dag:
    gemini_batch(
        group_id="all",
        sql="SELECT CONCAT('row-', CAST(i AS STRING)) AS key FROM UNNEST(GENERATE_ARRAY(1, 5)) AS i",
        template=GeminiTemplate(prompt="Say {key}."),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri="gs://{{ var.value.gemini_batch_bucket }}/gemini",
        max_rows_per_part=3,
        results_table="{{ var.value.gemini_batch_dataset }}.approved_results",
        approval=True,
        teardown=True,
        wait={"poll_interval": 5},
        load={"poll_interval": 1},
    )
