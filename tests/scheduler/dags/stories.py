"""A batch as a user writes it, in the variants that the stories under a real scheduler need; workers may die."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import deaths
from airflow.sdk import DAG, Param

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

deaths.install()

BUCKET = "{{ var.value.gemini_batch_bucket }}"
DATASET = "{{ var.value.gemini_batch_dataset }}"
ROWS_PER_PART = 3


def story(
    dag_id: str,
    *,
    dagrun_timeout: timedelta | None = None,
    load_when: str = "all_success",
    **wait_arguments: Any,
) -> DAG:
    """Return one variant."""
    with DAG(
        dag_id=dag_id,
        schedule=None,
        dagrun_timeout=dagrun_timeout,
        params={"parts": Param(1, type="integer", minimum=1)},
        default_args={"retries": 8, "retry_delay": timedelta(seconds=1)},
    ) as dag:
        prepare = GeminiBatchPrepareOperator(
            task_id="prepare",
            source_uri=f"gs://{BUCKET}/stories/{{{{ params.parts }}}}-parts.jsonl",
            template=GeminiTemplate(prompt="{text}"),
            model="gemini-3.5-flash",
            location="us-central1",
            work_uri=f"gs://{BUCKET}/gemini",
            max_rows_per_part=ROWS_PER_PART,
        )
        submit = GeminiBatchSubmitOperator.partial(task_id="submit", settle_seconds=6).expand(
            batch=prepare.output
        )
        wait = GeminiBatchSensor.partial(task_id="wait", poll_interval=5, **wait_arguments).expand(
            job_name=submit.output
        )
        load = GeminiBatchLoadOperator(
            task_id="load",
            batch=prepare.output,
            results_table=f"{DATASET}.story_results",
            poll_interval=1,
            trigger_rule=load_when,
        )
        wait >> load
    return dag


stories = story("stories")
stories_cancel = story("stories_cancel", load_when="all_done", cancel_on_kill=True)
stories_dagrun_timeout = story(
    "stories_dagrun_timeout", cancel_on_kill=True, dagrun_timeout=timedelta(seconds=60)
)
stories_timeout_leave = story("stories_timeout_leave", timeout=20)
stories_timeout_cancel = story("stories_timeout_cancel", timeout=20, on_timeout="cancel")
