"""### Rows from a Python function

The function `licences` yields the rows: under `@task.gemini_batch` it is the task that prepares the batch. A second
call wires what pays and lands.

`licences` → `submit` → `wait` (deferred: no worker is held) → `load`

**Reads** the metadata of the Python packages installed here. **Leaves** `<dataset>.licences`, `…_errors`
and `…_batches`.

**Costs** about 1,000 input and 1,000 output tokens for 300 packages of some 30 licences, for each licence is asked for
once, at half of the model's online price; `Most rows` bounds it. Against the local cloud nothing.

**On Google**: a connection `google_cloud_default`, a bucket and a dataset in the location of the jobs, and the
Variables `gemini_batch_bucket` and `gemini_batch_dataset` (or the fields of the form).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from airflow.sdk import dag, task
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
)

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch


class Kind(StrEnum):
    """What Gemini says about one licence."""

    PERMISSIVE = "permissive"
    COPYLEFT = "copyleft"
    PROPRIETARY = "proprietary"
    UNCLEAR = "unclear"


@dag(
    dag_id="gemini_batch_decorated",
    description="Rows from a Python function",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(rows=rows_param(2_000, "packages")),
    tags=["gemini", "example"],
)
def gemini_batch_decorated() -> None:
    """Wire the function and the rest."""

    @task.gemini_batch(
        template=GeminiTemplate(
            prompt="A package states its licence as: {licence}. Of which kind is it?",
            generation_config={"temperature": 0, "maxOutputTokens": 64},
            response_schema=Kind,
        ),
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
        dedupe=True,
    )
    def licences(most: str) -> Iterator[dict[str, str]]:
        """Yield a row for every package; those of the same licence share one request."""
        from gemini_examples.packages import installed_packages

        for row in installed_packages()[: int(most)]:
            yield {"key": row["name"], "licence": row["licence"]}

    gemini_batch(
        group_id="kinds",
        batch=licences("{{ params.rows }}"),
        project_id=PROJECT,
        results_table=f"{DATASET}.licences",
        wait={"poll_interval": POLL_SECONDS},
    )


gemini_batch_decorated()
