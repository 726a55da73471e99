"""A wait that never held a worker slot before it was over."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

with DAG(dag_id="begun_in_triggerer", schedule=None) as dag:
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        sql="SELECT CONCAT('row-', CAST(i AS STRING)) AS key FROM UNNEST(GENERATE_ARRAY(1, 5)) AS i",
        template=GeminiTemplate(prompt="Say {key}."),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri="gs://{{ var.value.gemini_batch_bucket }}/gemini",
    )
    submit = GeminiBatchSubmitOperator(task_id="submit", batch=prepare.output)
    wait = GeminiBatchSensor(
        task_id="wait", job_name=submit.output, poll_interval=5, start_from_trigger=True, cancel_on_kill=True
    )
    load = GeminiBatchLoadOperator(
        task_id="load",
        batch=prepare.output,
        results_table="{{ var.value.gemini_batch_dataset }}.begun_results",
        poll_interval=1,
    )
    wait >> load
