"""### A batch in one call

Has Gemini say in one sentence what each Python package installed here is for. The task group is one call of
`gemini_batch(…)`: rows that fail and deserve another try are asked once more, and what comes after the group gets the
report.

`prepare` → `submit` → `wait` → `load`, then `repair_1` → `submit_1` → `wait_1` → `load_1`, then `report` → `tell`

A wait is deferred: no worker is held. Where no row deserves it, the round of repair is skipped, and nothing else is.

**Reads** rows that a Python function yields. **Leaves** `<dataset>.one_liners`, `…_errors` and `…_batches`.

**Costs** about 10,000 input and 10,000 output tokens for 300 packages, at half of the model's online price; `Most rows`
bounds it. Against the local cloud nothing.

**On Google**: a connection `google_cloud_default`, a bucket and a dataset in the location of the jobs, and the
Variables `gemini_batch_bucket` and `gemini_batch_dataset` (or the fields of the form).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

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

log = logging.getLogger(__name__)


def packages(most: str) -> Iterator[Mapping[str, str]]:
    """Yield a row for every package that is installed here."""
    from gemini_examples.packages import installed_packages

    for row in installed_packages()[: int(most)]:
        yield {"key": row["name"], "summary": row["summary"]}


@dag(
    dag_id="gemini_batch_one_call",
    description="A batch in one call",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(rows=rows_param(2_000, "packages")),
    tags=["gemini", "example"],
)
def gemini_batch_one_call() -> None:
    """Wire the group, and a task after it."""

    @task
    def tell(report: dict[str, Any]) -> dict[str, int]:
        """Log how the rows stand after all rounds, and return it."""
        standing: dict[str, int] = report["standing"]
        rows, table = sum(standing.values()), report["tables"]["results"]
        log.info("%d of %d rows are answered, in %s", standing["succeeded"], rows, table)
        return standing

    one_liners = gemini_batch(
        group_id="one_liners",
        rows=packages,
        op_kwargs={"most": "{{ params.rows }}"},
        template=GeminiTemplate(
            prompt="What is the Python package {key} for, in one sentence? It says of itself: {summary}",
            generation_config={"maxOutputTokens": 128},
        ),
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
        results_table=f"{DATASET}.one_liners",
        wait={"poll_interval": POLL_SECONDS},
        rounds=1,
    )
    tell(one_liners.output)


gemini_batch_one_call()
