"""Where the example DAGs run: asked in the Trigger form, else an Airflow Variable, else the connection.

An empty field of the form means the Variable of the same name (``gemini_batch_bucket`` and so on); without a
Variable the project is the connection's. Everything is a template, so that no DAG file asks the database for anything
while it is parsed.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import Param

PROJECT = "{{ params.project or var.value.get('gemini_batch_project', '') }}"
LOCATION = "{{ params.location or var.value.get('gemini_batch_location', 'us-central1') }}"
BUCKET = "{{ params.bucket or var.value.gemini_batch_bucket }}"
DATASET = "{{ params.dataset or var.value.gemini_batch_dataset }}"
MODEL = "{{ params.model or var.value.get('gemini_batch_model', 'gemini-3.5-flash') }}"

POLL_SECONDS = 5.0 if os.environ.get("VERTEX_AI_EMULATOR_HOST") else 60.0
"""Between looks at a job: jobs of the local cloud take seconds, those of Vertex AI minutes to hours."""

RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
}
"""Default arguments of every task. A retry adopts the job that was paid for; it never buys a second one."""

_WHERE = "Where it runs"
_WHAT = "What it runs on"


def form(**own: Param) -> dict[str, Param]:
    """Return the Params of a DAG: its *own* first, then those that all examples have."""
    return {**own, **_model(), **_places()}


def rows_param(default: int, what: str) -> Param:
    """Return the field that bounds how many rows are sent, and so what a run can cost."""
    return Param(
        default,
        type="integer",
        minimum=1,
        maximum=200_000,
        title="Most rows",
        description=f"At most so many {what} are sent and paid for.",
        section=_WHAT,
    )


def text_param(title: str, description: str, **schema: Any) -> Param:
    """Return an optional text field."""
    return Param(None, type=["null", "string"], title=title, description=description, section=_WHAT, **schema)


def _model() -> dict[str, Param]:
    return {
        "model": Param(
            None,
            type=["null", "string"],
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/-]*$",
            examples=["gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-3.6-flash"],
            title="Model",
            description="A Gemini model that takes batch jobs in the location; the newest are only in global, us and "
            "eu. Empty: the Variable gemini_batch_model, else gemini-3.5-flash.",
            section=_WHAT,
        )
    }


def _places() -> dict[str, Param]:
    def place(title: str, description: str, pattern: str, **schema: Any) -> Param:
        return Param(
            None,
            type=["null", "string"],
            pattern=pattern,
            title=title,
            description=description,
            section=_WHERE,
            **schema,
        )

    return {
        "project": place(
            "Project",
            "Google Cloud project that pays. Empty: the Variable gemini_batch_project, else the connection's.",
            r"^[a-z0-9.:-]+$",
        ),
        "location": place(
            "Location",
            "Region of the jobs; bucket and dataset belong there too. Empty: the Variable gemini_batch_location, "
            "else us-central1.",
            r"^[a-z][a-z0-9-]*$",
            examples=["us-central1", "europe-west4", "asia-northeast1", "global"],
        ),
        "bucket": place(
            "Bucket",
            "Cloud Storage bucket for request and prediction files. Empty: the Variable gemini_batch_bucket.",
            r"^[a-z0-9][a-z0-9._-]+$",
        ),
        "dataset": place(
            "Dataset",
            "BigQuery dataset of the tables, in the project. Empty: the Variable gemini_batch_dataset.",
            r"^[A-Za-z0-9_]+$",
        ),
    }
