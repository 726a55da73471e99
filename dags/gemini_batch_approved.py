"""### A batch that a person approves

Asks Gemini for a slogan for every Python package installed here, once somebody has seen how much that is, what it will
cost and what came of a canary of ten rows, and said yes: the task `approve` waits for an answer under *Required
Actions*, holding no worker. Rejected, the rest is skipped and nothing was paid but the canary.

`prepare` → `approve` → `submit` → `wait` (deferred: no worker is held) → `load`, in one call; and `cancel`, a teardown,
for what still runs after the wait.

**Reads** rows that a Python function yields. **Leaves** `<dataset>.slogans`, `…_errors` and `…_batches`.

**Costs** about 10,000 input and 10,000 output tokens for 300 packages, at half of the model's online price; `Most rows`
bounds it. The canary's ten answers come at the full one. Against the local cloud nothing.

**On Google**: a connection `google_cloud_default`, a bucket and a dataset in the location of the jobs, and the
Variables `gemini_batch_bucket` and `gemini_batch_dataset` (or the fields of the form).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow.sdk import dag
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


def packages(most: str) -> Iterator[Mapping[str, str]]:
    """Yield a row for every package that is installed here."""
    from gemini_examples.packages import installed_packages

    for row in installed_packages()[: int(most)]:
        yield {"key": row["name"], "summary": row["summary"]}


@dag(
    dag_id="gemini_batch_approved",
    description="A batch that a person approves",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(rows=rows_param(2_000, "packages")),
    tags=["gemini", "example"],
)
def gemini_batch_approved() -> None:
    """Wire the group."""
    gemini_batch(
        group_id="slogans",
        rows=packages,
        op_kwargs={"most": "{{ params.rows }}"},
        template=GeminiTemplate(
            prompt="Find a slogan for the Python package {key}. It says of itself: {summary}",
            generation_config={"maxOutputTokens": 64},
        ),
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
        results_table=f"{DATASET}.slogans",
        dedupe=True,
        canary_rows=10,
        max_failure_rate=0.2,
        approval=True,
        wait={"poll_interval": POLL_SECONDS},
        teardown=True,
    )


gemini_batch_approved()
