"""### Images and text from Cloud Storage

Asks Gemini to describe every file in a folder of Cloud Storage: each request has a text part and a `fileData` part that
names the file, so that no picture passes through Airflow.

`list_files` → `prepare` → `submit` → `wait` (deferred: no worker is held) → `load`

**Reads** the images, texts and PDFs in the folder; an empty folder first gets a picture and a text made here.
**Leaves** `<dataset>.file_descriptions`, `…_errors` and `…_batches`.

**Costs** at half of the model's online price: about 1,100 tokens an image, the tokens of a text, and the answers;
`Most rows` bounds it. Against the local cloud nothing.

**On Google**: the Vertex AI service agent reads the bucket.
"""

from __future__ import annotations

import logging

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

from airflow_batch_gemini import GeminiTemplate, Media
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

log = logging.getLogger(__name__)

FOLDER = "{{ params.folder or 'gemini/media' }}"


@dag(
    dag_id="gemini_batch_multimodal",
    description="Images and text from Cloud Storage",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(
        folder=text_param(
            "Folder",
            "Folder in the bucket whose files are described. Empty: gemini/media.",
            pattern=r"^[^/].*[^/]$",
        ),
        question=text_param("Question", "Asked about every file. Empty: a description."),
        rows=rows_param(1_000, "files"),
    ),
    tags=["gemini", "example"],
)
def gemini_batch_multimodal() -> None:
    """Wire the tasks."""

    @task
    def list_files(*, bucket: str, folder: str, question: str, rows: str) -> str:
        """Write one row a file (key, question, file) and return where."""
        from gemini_examples.media import described_files, put_samples
        from gemini_examples.packages import save_rows

        folder_uri = f"gs://{bucket}/{folder}"
        files = described_files(folder_uri) or put_samples(folder_uri)
        context = get_current_context()
        uri = f"gs://{bucket}/gemini/lists/{context['dag'].dag_id}/{context['run_id']}.jsonl"
        count = save_rows(({**file, "question": question} for file in files[: int(rows)]), uri)
        log.info("%d files in %s", count, folder_uri)
        return uri

    files = list_files(
        bucket=BUCKET,
        folder=FOLDER,
        question="{{ params.question or 'Describe this in two sentences.' }}",
        rows="{{ params.rows }}",
    )
    prepare = GeminiBatchPrepareOperator(
        task_id="prepare",
        source_uri=files,
        template=GeminiTemplate(
            prompt="{question}",
            media=[Media(column="file")],
            generation_config={"temperature": 0.4, "maxOutputTokens": 1024},
        ),
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
    )
    submit = GeminiBatchSubmitOperator.partial(task_id="submit").expand(batch=prepare.output)
    wait = GeminiBatchSensor.partial(task_id="wait", poll_interval=POLL_SECONDS).expand(
        job_name=submit.output
    )
    load = GeminiBatchLoadOperator(
        task_id="load", batch=prepare.output, results_table=f"{DATASET}.file_descriptions", project_id=PROJECT
    )
    wait >> load


gemini_batch_multimodal()
