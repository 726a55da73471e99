from airflow.sdk import dag
from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor


class Review(BaseModel):
    sentiment: str
    summary: str


@dag(schedule="@daily")
def label_reviews():
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        sql="SELECT id AS key, product, body FROM `my-project.shop.reviews`",
        template=GeminiTemplate(
            prompt="A review of {product}: {body}",
            response_schema=Review,
            generation_config={"maxOutputTokens": 2048},  # what an answer can cost at most, thoughts included
        ),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri="gs://my-bucket/gemini",
    )
    submit = GeminiBatchSubmitOperator.partial(task_id="submit").expand(batch=prepare.output)
    wait = GeminiBatchSensor.partial(task_id="wait").expand(job_name=submit.output)
    load = GeminiBatchLoadOperator(
        task_id="load", batch=prepare.output, results_table="my-project.shop.review_labels"
    )
    wait >> load


label_reviews()
