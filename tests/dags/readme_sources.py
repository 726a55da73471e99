import email
import email.policy
from collections.abc import Iterator
from pathlib import Path

from airflow.sdk import dag

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

JOB = {"model": "gemini-3.5-flash", "location": "us-central1", "work_uri": "gs://my-bucket/gemini"}


def letters(folder: str) -> Iterator[dict[str, str]]:
    """Yield a row for every mail; they are never a list, and a retry begins anew."""
    for path in sorted(Path(folder).glob("*.eml")):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        yield {"key": path.stem, "subject": message["subject"], "text": message.get_content()}


@dag(schedule="@daily", params={"product": "lamp", "stars": [1, 2]})
def prepare_from_anywhere():
    GeminiBatchPrepareOperator(
        task_id="of_a_query",
        sql="""
            SELECT id AS key, body FROM `my-project.shop.reviews`
            WHERE product = @product AND stars IN UNNEST(@stars) AND day < @day
        """,
        parameters={
            "product": "{{ params.product }}",
            "stars": {"value": "{{ params.stars | tojson }}", "type": "ARRAY<INT64>"},
            "day": {"value": "{{ ds }}", "type": "DATE"},
        },
        template=GeminiTemplate(prompt="What is wrong here? {body}"),
        **JOB,
    )
    GeminiBatchPrepareOperator(
        task_id="of_python",
        rows=letters,
        op_kwargs={"folder": "/data/letters/{{ ds }}"},
        template=GeminiTemplate(prompt="Answer politely. {subject}\n\n{text}"),
        **JOB,
    )


prepare_from_anywhere()
