"""The link to the job: in the console, or in the local cloud."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time.xcom import XCom
from job_side import context, prepare

from airflow_batch_gemini.links.job import GeminiBatchJobLink, console_url, job_url
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

NAME = "projects/my-project/locations/europe-west4/batchPredictionJobs/123"
URL = "https://console.cloud.google.com/vertex-ai/locations/europe-west4/batch-predictions/123?project=my-project"


@pytest.fixture(autouse=True)
def google(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs go to Google."""
    monkeypatch.delenv("VERTEX_AI_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GEMINI_BATCH_TRUSTED_HOSTS", raising=False)


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


@pytest.mark.parametrize(
    ("host", "pushed", "url"),
    [
        ("http://127.0.0.1:9090/", NAME, f"http://127.0.0.1:9090/v1/{NAME}"),
        ("http://127.0.0.1:9090", "../admin/knobs", ""),
        ("http://elsewhere.example:9090", NAME, ""),
        ("", NAME, URL),
    ],
)
def test_a_job_of_the_local_cloud_is_shown_by_it(
    host: str, pushed: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console has never heard of its project; nobody is led to a host that no job would be sent to."""
    monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", host)
    monkeypatch.setattr(XCom, "get_value", lambda **_: pushed)
    assert GeminiBatchJobLink().get_link(None, ti_key="key") == url  # type: ignore[arg-type]  # only passed on


def test_the_local_cloud_shows_a_job_to_whoever_follows_its_link(
    cloud: LocalCloud, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser brings no token along."""
    monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", cloud.url)
    batch = prepare(bucket)
    submit = GeminiBatchSubmitOperator(task_id="submit", batch=batch.ref.to_dict(), part=0)
    name = submit.execute(context(1))
    batch.close()
    assert json.loads(urllib.request.urlopen(job_url(name)).read())["name"] == name


def test_the_address_is_the_one_the_google_provider_uses() -> None:
    """One pattern for one page."""
    from airflow.providers.google.cloud.links.vertex_ai import VertexAIBatchPredictionJobLink

    parts = {"region": "europe-west4", "batch_prediction_job_id": "123", "project_id": "my-project"}
    assert console_url(NAME) == VertexAIBatchPredictionJobLink()._format_link(**parts)


@pytest.mark.parametrize("operator", [GeminiBatchSubmitOperator, GeminiBatchSensor])
def test_submit_and_sensor_have_the_link(operator: Any) -> None:
    """Under the provider's name for it."""
    assert [link.name for link in operator.operator_extra_links] == ["Vertex AI batch job"]
