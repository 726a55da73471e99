from airflow.sdk import dag, task

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch


@dag(schedule="@daily")
def answer_letters():
    @task.gemini_batch(
        template=GeminiTemplate(prompt="Answer politely: {text}"),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri="gs://my-bucket/gemini",
    )
    def letters(day):
        for number in range(1, 4):  # from a mailbox, an API, …: one row at a time
            yield {"key": f"{day}-{number}", "text": f"The {number}. lamp flickers."}

    gemini_batch(batch=letters("{{ ds }}"), results_table="my-project.shop.answers")


answer_letters()
