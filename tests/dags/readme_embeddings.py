from airflow.sdk import dag

from airflow_batch_gemini import EmbeddingTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor


@dag(schedule="@daily")
def embed_reviews():
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        sql="SELECT id AS key, product, body FROM `my-project.shop.reviews`",
        template=EmbeddingTemplate(
            content="{body}", title="{product}", task_type="RETRIEVAL_DOCUMENT", output_dimensionality=768
        ),
        model="gemini-embedding-001",
        location="us-central1",
        work_uri="gs://my-bucket/gemini",
    )
    submit = GeminiBatchSubmitOperator.partial(task_id="submit").expand(batch=prepare.output)
    wait = GeminiBatchSensor.partial(task_id="wait").expand(job_name=submit.output)
    load = GeminiBatchLoadOperator(
        task_id="load", batch=prepare.output, results_table="my-project.shop.review_vectors"
    )
    wait >> load


embed_reviews()
