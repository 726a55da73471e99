from airflow.sdk import dag, task
from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch


class Review(BaseModel):
    sentiment: str
    summary: str


@task
def tell(report):
    return f"{report['outcomes']['succeeded']} of {report['rows']} reviews, {report['cost_usd']} USD"


@dag(schedule="@daily")
def label_reviews_in_one_call():
    labels = gemini_batch(
        sql="SELECT id AS key, product, body FROM `my-project.shop.reviews`",
        template=GeminiTemplate(
            prompt="A review of {product}: {body}",
            response_schema=Review,
            generation_config={"maxOutputTokens": 2048},  # what an answer can cost at most, thoughts included
        ),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri="gs://my-bucket/gemini",
        results_table="my-project.shop.labels",
        wait={"on_timeout": "cancel", "timeout": 24 * 3600},
    )
    tell(labels.output)


label_reviews_in_one_call()
