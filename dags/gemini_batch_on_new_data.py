"""### Run when another DAG has new data

`gemini_batch_new_data` writes a day's rows to Cloud Storage and says so by the Asset `gemini_batch_new_packages`, with
the day in the event. That starts `gemini_batch_on_new_data`, which labels every day it was told of (events that came
while it was busy are worked off together) and loads the answers into the day's partition.

`which_files` → for each file: `prepare` → `submit` → `wait` (deferred: no worker is held) → `load`

Unpause both: of what it was told while it was paused, `gemini_batch_on_new_data` knows nothing. Triggered by hand, it
takes the day asked for.

**Leaves** `<dataset>.daily_labels`, `…_errors` and `…_batches`, partitioned by `batch_date`.

**Costs** about 60,000 input and 5,000 output tokens a day at half of the model's online price: a day's file has a
seventh of the Python packages installed here. Against the local cloud nothing.

**On Google**: a connection `google_cloud_default`, a bucket and a dataset in the location of the jobs, and the
Variables `gemini_batch_bucket` and `gemini_batch_dataset` (or the fields of the form).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from airflow.sdk import Asset, Metadata, dag, get_current_context, task, task_group
from gemini_examples.settings import (
    BUCKET,
    DATASET,
    LOCATION,
    MODEL,
    POLL_SECONDS,
    PROJECT,
    RETRIES,
    form,
    text_param,
)
from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

NEW_PACKAGES = Asset(name="gemini_batch_new_packages")


class Impression(BaseModel):
    """What Gemini says about one package."""

    tags: list[str]
    mature: bool


def day_uri(bucket: str, day: str) -> str:
    """Return where the rows of *day* lie; anything but a date raises ``ValueError``."""
    return f"gs://{bucket}/gemini/new/{date.fromisoformat(day).isoformat()}.jsonl"


@dag(
    dag_id="gemini_batch_new_data",
    description="Writes the rows of a day for another DAG",
    doc_md="Writes the day's rows, a seventh of the installed packages, and updates the Asset that starts "
    "`gemini_batch_on_new_data`. Costs nothing.",
    schedule="@daily",
    catchup=False,
    default_args=RETRIES,
    params=form(day=text_param("Day", "Whose rows are written. Empty: the day of the run.", format="date")),
    tags=["gemini", "example"],
)
def gemini_batch_new_data() -> None:
    """Wire the producer's one task."""

    @task(outlets=[NEW_PACKAGES])
    def write_rows(*, bucket: str, day: str) -> Iterator[Metadata]:
        """Write the rows of *day* and describe them in the Asset's event."""
        from gemini_examples.packages import installed_packages, save_rows

        uri = day_uri(bucket, day)
        weekday = date.fromisoformat(day).weekday()
        rows = save_rows((row for i, row in enumerate(installed_packages()) if i % 7 == weekday), uri)
        yield Metadata(NEW_PACKAGES, extra={"day": day, "rows": rows})

    write_rows(bucket=BUCKET, day="{{ params.day or dag_run.run_after.strftime('%Y-%m-%d') }}")


@dag(
    dag_id="gemini_batch_on_new_data",
    description="Run when another DAG has new data",
    doc_md=__doc__,
    schedule=[NEW_PACKAGES],
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(
        day=text_param(
            "Day",
            "Which day's file is labelled when the run is started by hand. Empty: today's.",
            format="date",
        )
    ),
    tags=["gemini", "example"],
)
def gemini_batch_on_new_data() -> None:
    """Wire the consumer."""

    @task
    def which_files(*, bucket: str, day: str) -> list[dict[str, Any]]:
        """Return day and file of every event that started this run; by hand, of the day asked for."""
        events = get_current_context()["triggering_asset_events"]
        days = {event.extra["day"] for event in events.get(NEW_PACKAGES, [])} or {day}
        return [{"day": day, "uri": day_uri(bucket, day)} for day in sorted(days)]

    @task_group
    def label(day: str, uri: str) -> None:
        """Take one file from rows to results."""
        prepare = GeminiBatchPrepareOperator(
            task_id="prepare",
            source_uri=uri,
            key_column="name",
            template=GeminiTemplate(
                prompt="Python package {name}: {summary}\n\n{description}\n\nGive five tags. Is it mature?",
                generation_config={"temperature": 0, "maxOutputTokens": 512},
                response_schema=Impression,
            ),
            model=MODEL,
            project_id=PROJECT,
            location=LOCATION,
            work_uri=f"gs://{BUCKET}/gemini",
        )
        # A day's file fits one job; what is mapped already cannot be mapped over parts again.
        submit = GeminiBatchSubmitOperator(task_id="submit", batch=prepare.output)
        wait = GeminiBatchSensor(task_id="wait", job_name=submit.output, poll_interval=POLL_SECONDS)
        load = GeminiBatchLoadOperator(
            task_id="load",
            batch=prepare.output,
            results_table=f"{DATASET}.daily_labels",
            project_id=PROJECT,
            batch_date=day,
        )
        wait >> load

    label.expand_kwargs(
        which_files(bucket=BUCKET, day="{{ params.day or dag_run.run_after.strftime('%Y-%m-%d') }}")
    )


gemini_batch_new_data()
gemini_batch_on_new_data()
