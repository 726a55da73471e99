"""### What went wrong, row by row

Asks Gemini to sum up every Python package installed here, and lets every tenth answer have so few tokens that it is
cut off: so there are failures to read. A row without an answer is in the errors table, with an outcome, a reason and
what Vertex AI said; the last task groups them, and fails the run when more rows failed than the form allows.

`prepare` → `submit` → `wait` (deferred: no worker is held) → `load` → `read_failures`

**Reads** rows that a Python function yields. **Leaves** `<dataset>.summaries`, `…_errors` and `…_batches`.

**Costs** about 10,000 input and 15,000 output tokens for 300 packages, at half of the model's online price; `Most rows`
bounds it. Against the local cloud nothing.

**On Google**: a connection `google_cloud_default`, a bucket and a dataset in the location of the jobs, and the
Variables `gemini_batch_bucket` and `gemini_batch_dataset` (or the fields of the form).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException
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

FAILURES = """
SELECT outcome, reason, code, retryable, COUNT(*) AS row_count, MIN(key) AS example
FROM {table}
WHERE batch_id = @batch_id
GROUP BY outcome, reason, code, retryable
ORDER BY row_count DESC, outcome, reason
"""


def packages(most: str) -> Iterator[Mapping[str, Any]]:
    """Yield a row for every package that is installed here; each tenth one may hardly be answered."""
    from gemini_examples.packages import installed_packages

    for number, row in enumerate(installed_packages()[: int(most)]):
        yield {"key": row["name"], "summary": row["summary"], "most_tokens": 256 if number % 10 else 2}


@dag(
    dag_id="gemini_batch_failures",
    description="What went wrong, row by row",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    params=form(
        rows=rows_param(500, "packages"),
        allowed=Param(
            25,
            type="integer",
            minimum=0,
            maximum=100,
            title="Failures allowed",
            description="The run fails when more rows than so many in a hundred have no answer.",
            section="What it runs on",
        ),
    ),
    tags=["gemini", "example"],
)
def gemini_batch_failures() -> None:
    """Wire the group, and the task that reads."""

    @task
    def read_failures(report: dict[str, Any], allowed: str) -> list[dict[str, Any]]:
        """Return the failures of this batch by what they are; names and counts, no text of a row."""
        from airflow_batch_gemini.batch.names import TableName
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        warehouse, table = WarehouseHook(), TableName.parse(report["tables"]["errors"])
        rows = warehouse.query_rows(
            FAILURES.format(table=table.sql),
            project=table.project,
            location=warehouse.dataset_location(table.dataset_name),
            params={"batch_id": report["batch_id"]},
        )
        failures = [dict(row) for row in rows]
        for one in failures:
            log.warning("%(row_count)6d  %(outcome)-10s %(reason)s, like row %(example)s", one)
        failed = sum(one["row_count"] for one in failures)
        if failed * 100 > int(allowed) * report["rows"]:
            raise AirflowFailException(
                f"{failed} of {report['rows']} rows have no answer. Those that have one are loaded and stay; the "
                f"reasons are in {table}."
            )
        return failures

    summaries = gemini_batch(
        group_id="summaries",
        rows=packages,
        op_kwargs={"most": "{{ params.rows }}"},
        template=GeminiTemplate(
            prompt="Sum up what the Python package {key} does. It says of itself: {summary}",
            config_columns={"maxOutputTokens": "most_tokens"},
        ),
        model=MODEL,
        project_id=PROJECT,
        location=LOCATION,
        work_uri=f"gs://{BUCKET}/gemini",
        results_table=f"{DATASET}.summaries",
        wait={"poll_interval": POLL_SECONDS},
    )
    read_failures(summaries.output, "{{ params.allowed }}")


gemini_batch_failures()
