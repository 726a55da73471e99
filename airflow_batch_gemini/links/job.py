"""The link from a task to its job in the Google Cloud console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.exceptions import InvalidNameError

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


class GeminiBatchJobLink(BaseOperatorLink):
    """Opens the job's page in the Google Cloud console."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Vertex AI batch job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        """Return the address, or nothing as long as there is no job."""
        from airflow.sdk.execution_time.xcom import XCom

        job_name = XCom.get_value(ti_key=ti_key, key=JOB_NAME_KEY)
        try:
            return console_url(job_name)
        except InvalidNameError:
            return ""

    @staticmethod
    def push(context: Context, job_name: str) -> None:
        """Keep what the link needs."""
        context["ti"].xcom_push(key=JOB_NAME_KEY, value=job_name)
