from airflow.sdk import dag

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

RESULTS = "my-project.shop.review_topics"


def answered(batch, name):
    """Buy the answers to a batch, wait for them and load them."""
    submit = GeminiBatchSubmitOperator.partial(task_id=f"submit_{name}").expand(batch=batch)
    wait = GeminiBatchSensor.partial(task_id=f"wait_{name}").expand(job_name=submit.output)
    load = GeminiBatchLoadOperator(task_id=f"load_{name}", batch=batch, results_table=RESULTS)
    wait >> load
    return load


@dag(schedule="@daily")
def find_topics():
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        sql="SELECT id AS key, body FROM `my-project.shop.reviews`",
        template=GeminiTemplate(prompt="What is this about? {body}"),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri="gs://my-bucket/gemini",
    )
    repair = GeminiBatchRepairOperator(
        task_id="repair", batch=prepare.output, results_table=RESULTS, round=1, max_rows=10_000
    )
    answered(prepare.output, "first") >> repair
    answered(repair.output, "again")


find_topics()
