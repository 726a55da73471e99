"""The link to the job's page in the console."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.execution_time.xcom import XCom

from airflow_batch_gemini.links.job import GeminiBatchJobLink, console_url
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

NAME = "projects/my-project/locations/europe-west4/batchPredictionJobs/123"
URL = "https://console.cloud.google.com/vertex-ai/locations/europe-west4/batch-predictions/123?project=my-project"


@pytest.mark.parametrize(("pushed", "url"), [(NAME, URL), (None, ""), ("no job name", ""), (7, "")])
def test_the_link_opens_the_jobs_page_and_is_empty_without_a_job(
    pushed: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs is the job's name in XCom."""
    asked: list[dict[str, Any]] = []

    def get_value(**what: Any) -> Any:
        asked.append(what)
        return pushed

    monkeypatch.setattr(XCom, "get_value", get_value)
    assert GeminiBatchJobLink().get_link(None, ti_key="key") == url  # type: ignore[arg-type]  # only passed on
    assert asked == [{"ti_key": "key", "key": "job_name"}]


def test_the_address_is_the_one_the_google_provider_uses() -> None:
    """One pattern for one page."""
    from airflow.providers.google.cloud.links.vertex_ai import VertexAIBatchPredictionJobLink

    parts = {"region": "europe-west4", "batch_prediction_job_id": "123", "project_id": "my-project"}
    assert console_url(NAME) == VertexAIBatchPredictionJobLink()._format_link(**parts)


@pytest.mark.parametrize("operator", [GeminiBatchSubmitOperator, GeminiBatchSensor])
def test_submit_and_sensor_have_the_link(operator: Any) -> None:
    """Under the provider's name for it."""
    assert [link.name for link in operator.operator_extra_links] == ["Vertex AI batch job"]
