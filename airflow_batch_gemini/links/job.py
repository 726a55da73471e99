"""The link from a task to its job: its page in the Google Cloud console, or what the local cloud knows of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from airflow_batch_gemini.batch.endpoints import trusted_override
from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.exceptions import EndpointError, InvalidNameError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

JOB_NAME_KEY = "job_name"
"""The XCom that names the job; pushed before the task defers, so that the link works while it waits."""


def console_url(job_name: str) -> str:
    """Return the address of the job's page."""
    name = JobName.parse(job_name)
    return (
        f"https://console.cloud.google.com/vertex-ai/locations/{name.location}/batch-predictions/{name.job_id}"
        f"?project={name.project}"
    )


def job_url(job_name: str) -> str:
    """Return where a browser sees the job; no console knows one of the local cloud, so that shows it itself.

    :raises EndpointError: jobs go neither to Google nor to a local stand-in.
    """
    local = trusted_override(
        os.environ.get("VERTEX_AI_EMULATOR_HOST"),
        variable="VERTEX_AI_EMULATOR_HOST",
        trusted_hosts=os.environ.get("GEMINI_BATCH_TRUSTED_HOSTS", ""),
    )
    return f"{local}/v1/{JobName.parse(job_name)}" if local else console_url(job_name)


class GeminiBatchJobLink(BaseOperatorLink):
    """Opens the job's page in the Google Cloud console, or the job in the local cloud."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Vertex AI batch job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        """Return the address, or nothing as long as there is no job."""
        from airflow.sdk.execution_time.xcom import XCom

        job_name = XCom.get_value(ti_key=ti_key, key=JOB_NAME_KEY)
        try:
            return job_url(job_name)
        except (InvalidNameError, EndpointError):
            return ""

    @staticmethod
    def push(context: Context, job_name: str) -> None:
        """Keep what the link needs."""
        context["ti"].xcom_push(key=JOB_NAME_KEY, value=job_name)
