"""Names are judged by their grammar before anything is sent with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, JobName, TableName
from airflow_batch_gemini.exceptions import InvalidNameError

JOB = "projects/123/locations/us-central1/batchPredictionJobs/456"


@pytest.mark.parametrize("value", ["my-project", "a", "example.com:my-project", "abc-123"])
def test_a_project_id_is_taken_as_it_is(value: str) -> None:
    """With or without a domain."""
    assert names.project_id(value) == value


@pytest.mark.parametrize("value", ["us-central1", "global", "us", "eu", "europe-west4"])
def test_a_location_is_taken_as_it_is(value: str) -> None:
    """Regions, multi-regions and global."""
    assert names.location(value) == value


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (names.project_id, "My-Project"),
        (names.project_id, "p/../q"),
        (names.project_id, "p-"),
        (names.project_id, "p\n"),
        (names.project_id, None),
        (names.location, "US"),
        (names.location, "us-central1.evil.com/"),
        (names.location, ""),
        (GcsUri.parse, "gs://"),
        (GcsUri.parse, "gs:///name"),
        (GcsUri.parse, "s3://bucket/name"),
        (GcsUri.parse, "gs://Bucket/name"),
        (GcsUri.parse, "gs://bucket/a//b"),
        (GcsUri.parse, "gs://bucket/../b"),
        (GcsUri.parse, "gs://bucket/a/./b"),
        (GcsUri.parse, "gs://bucket/a\nb"),
        (GcsUri.parse, "gs://bucket/\ud800"),
        (GcsUri.parse, f"gs://bucket/{'x' * 1025}"),
        (GcsUri.parse, 7),
        (DatasetName.parse, "dataset"),
        (DatasetName.parse, "project.data-set"),
        (DatasetName.parse, "project.`dataset`"),
        (DatasetName.parse, None),
        (TableName.parse, "table"),
        (TableName.parse, "dataset.table"),
        (TableName.parse, "project.dataset.table$20260101"),
        (TableName.parse, "project.dataset.ta`ble"),
        (TableName.parse, "project.dataset.table; DROP TABLE x"),
        (TableName.parse, 7),
        (JobName.parse, "456"),
        (JobName.parse, JOB + "/x"),
        (JobName.parse, JOB.replace("456", "abc")),
        (JobName.parse, None),
        (names.model_path, "gemini 3"),
        (names.model_path, "publishers/google/models/../x"),
        (names.model_path, ""),
        (names.model_path, 3),
    ],
)
def test_what_is_not_well_formed_is_refused(parse: Callable[[Any], Any], value: Any) -> None:
    """The message quotes it and says that nothing was sent."""
    with pytest.raises(InvalidNameError, match="Nothing was sent"):
        parse(value)


def test_a_cloud_storage_uri_is_bucket_and_name() -> None:
    """A slash at the end is dropped; a child is one segment or several deeper."""
    uri = GcsUri.parse("gs://bucket/folder/")
    assert (uri.bucket, uri.name) == ("bucket", "folder")
    assert str(uri / "a/b.json") == "gs://bucket/folder/a/b.json"
    assert str(GcsUri.parse("gs://bucket")) == "gs://bucket"
    assert str(GcsUri.parse("gs://bucket") / "a") == "gs://bucket/a"
    with pytest.raises(InvalidNameError):
        uri / "../other"


def test_a_table_name_is_spelled_for_sql_for_vertex_and_for_people() -> None:
    """One table, three spellings; Vertex's is read back too."""
    table = TableName.parse("my-project.my_data.my-table")
    assert table.sql == "`my-project.my_data.my-table`"
    assert table.uri == "bq://my-project.my_data.my-table"
    assert TableName.parse(table.uri) == table
    assert table.dataset_name == DatasetName("my-project", "my_data")
    assert str(table.dataset_name) == "my-project.my_data"
    assert TableName.parse("d.t", default_project="p") == TableName("p", "d", "t")
    assert DatasetName.parse("example.com:p.d").project == "example.com:p"


def test_a_job_name_knows_its_parent() -> None:
    """By project number or id."""
    job = JobName.parse(JOB)
    assert (job.parent, str(job)) == ("projects/123/locations/us-central1", JOB)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("gemini-3.5-flash", "publishers/google/models/gemini-3.5-flash"),
        ("publishers/google/models/gemini-3.5-flash", "publishers/google/models/gemini-3.5-flash"),
        ("projects/p/locations/us/models/123@2", "projects/p/locations/us/models/123@2"),
    ],
)
def test_a_model_is_an_id_or_a_path(value: str, path: str) -> None:
    """A bare id is Google's."""
    assert names.model_path(value) == path
    assert names.model_id(path) == path.rpartition("/")[2]


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_two_ids_get_two_legal_folders(one: str, other: str) -> None:
    """Whatever a DAG author or a run calls itself, it is one segment of an object's name, and its own."""
    folder = GcsUri.parse("gs://bucket")
    segments = [names.folder_segment(one.encode(errors="replace").decode()) for one in (one, other)]
    assert all((folder / segment).name == segment for segment in segments)
    if one.encode(errors="replace") != other.encode(errors="replace"):
        assert segments[0] != segments[1]


def test_an_ordinary_id_stays_readable() -> None:
    """Airflow's own run ids are legal names."""
    run_id = "scheduled__2026-11-01T00:00:00+00:00"
    assert names.folder_segment(run_id) == run_id
    assert names.folder_segment("..") != ".."
