"""A batch to load, a place to prepare one in, and a run to repair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from load_side import World
from prepare_side import Place
from repair_side import WAYS, Story

from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.local.server import LocalCloud


@pytest.fixture
def world(cloud: LocalCloud, bucket: str, dataset: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two parts, of rows a, b, c and of row d; Vertex AI shows the jobs that the test made up."""
    found = World(cloud, bucket, dataset, [["a", "b", "c"], ["d"]])

    def get(self: GeminiBatchHook, job_name: str) -> Job:
        return found.jobs[job_name]

    monkeypatch.setattr(GeminiBatchHook, "get", get)
    return found


@pytest.fixture
def place(cloud: LocalCloud, bucket: str, dataset: str) -> Iterator[Place]:
    """A bucket and a dataset of this test's own."""
    place = Place(bucket, dataset, WorkspaceHook(), WarehouseHook())
    yield place
    place.storage.close()
    place.warehouse.close()


@pytest.fixture
def in_files(cloud: LocalCloud, bucket: str, dataset: str) -> Iterator[Story]:
    """A run whose requests and answers lie on Cloud Storage."""
    storage, warehouse = WorkspaceHook(), WarehouseHook()
    yield Story(cloud, bucket, dataset, "storage", storage, warehouse)
    storage.close()
    warehouse.close()


@pytest.fixture(params=WAYS)
def story(request: pytest.FixtureRequest, in_files: Story) -> Story:
    """A run on Cloud Storage, and one in BigQuery."""
    in_files.way = request.param
    return in_files
