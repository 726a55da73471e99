"""Whatever a grammar accepts stays where it was put: one segment of one path on one host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import Table
from google.cloud.storage import Client
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.endpoints import vertex_host
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, JobName, TableName
from airflow_batch_gemini.exceptions import InvalidNameError

WILD = st.text(alphabet="ab0-_.:/%?#@[]*`'\"\\\n\r\t\x00 ~é｡．／\u202e\ud800", max_size=12)


def accepted(parse: Any, *grammars: re.Pattern[str]) -> st.SearchStrategy[Any]:
    """What *parse* makes of whatever it accepts: all that fits its grammar, and the wild things that slip through."""
    fitting = st.tuples(*(st.from_regex(grammar, fullmatch=True) for grammar in grammars))
    mixed = st.tuples(*(st.one_of(st.from_regex(grammar, fullmatch=True), WILD) for grammar in grammars))

    def parsed(parts: tuple[str, ...]) -> Any:
        try:
            return parse(*parts)
        except InvalidNameError:
            assume(False)

    return st.one_of(fitting, mixed).map(parsed)


def sent(url: str) -> tuple[str | None, list[str]]:
    """Host and path segments of the URL as the HTTP library sends it; no query, fragment, user or port."""
    parts = urlsplit(requests.Request("GET", url).prepare().url)
    assert (parts.scheme, parts.query, parts.fragment, parts.username, parts.port) == (
        "https",
        "",
        "",
        None,
        None,
    )
    return parts.hostname, [unquote(segment) for segment in parts.path.split("/")[1:]]


PROJECTS = accepted(names.project_id, names._PROJECT)
LOCATIONS = accepted(names.location, names._LOCATION)
TABLES = accepted(TableName, names._PROJECT, names._DATASET, names._TABLE)
OBJECTS = st.builds(
    GcsUri,
    st.from_regex(r"[a-z0-9][a-z0-9_-]{1,9}(?:\.[a-z0-9_-]{1,5}){0,2}[a-z0-9]", fullmatch=True),
    st.lists(
        st.text(alphabet="ab.:%?#@+&=;*'\"\\~ é｡／2fF", min_size=1).filter(lambda one: one.strip(".")),
        min_size=1,
    ).map("/".join),
)


@given(PROJECTS, LOCATIONS)
def test_a_project_and_a_location_make_one_parent_on_a_host_of_google(project: str, location: str) -> None:
    """No location changes the host, no project the path."""
    host, path = sent(f"https://{vertex_host(location)}/v1/projects/{project}/locations/{location}/jobs")
    assert host is not None
    assert re.fullmatch(r"([a-z0-9-]+-)?aiplatform(\.(us|eu)\.rep)?\.googleapis\.com", host)
    assert path == ["v1", "projects", project, "locations", location, "jobs"]


@given(accepted(JobName, names._PROJECT_OR_NUMBER, names._LOCATION, re.compile(r"[0-9]{1,30}")))
def test_a_job_name_is_one_job_of_one_parent(job: JobName) -> None:
    """And is read back as what it was."""
    assert sent(f"https://{vertex_host(job.location)}/v1/{job}")[1] == [
        *("v1", "projects", job.project, "locations", job.location, "batchPredictionJobs", job.job_id)
    ]
    assert JobName.parse(str(job)) == job


@given(accepted(names.model_path, names._MODEL), accepted(names.model_path, names._MODEL_PATH))
def test_a_model_is_a_path_of_names(bare: str, path: str) -> None:
    """None of its segments leads up."""
    for model in (bare, path):
        assert (
            sent(f"https://aiplatform.googleapis.com/v1/{model}:predict")[1][-1]
            == f"{names.model_id(model)}:predict"
        )
        assert not {"", ".", ".."} & set(model.split("/"))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Google's client, which is asked for paths only."""
    client = Client(project="p", credentials=AnonymousCredentials())
    yield client
    client.close()


@given(uri=st.one_of(OBJECTS, accepted(lambda name: GcsUri("bucket", name), re.compile(r"[a-z]"))))
def test_an_object_is_one_segment_after_one_bucket(client: Client, uri: GcsUri) -> None:
    """As Google's client spells it: a slash or ``%2f`` in a name is data."""
    assume(uri.name)
    path = client.bucket(uri.bucket).blob(uri.name).path
    host, segments = sent(f"https://storage.googleapis.com/storage/v1{path}")
    assert (host, segments) == ("storage.googleapis.com", ["storage", "v1", "b", uri.bucket, "o", uri.name])
    assert GcsUri.parse(str(uri)) == uri


@given(TABLES)
def test_a_table_is_the_same_table_to_googles_client(table: TableName) -> None:
    """However many dots and colons its project has."""
    reference = Table(str(table)).reference
    assert (reference.project, reference.dataset_id, reference.table_id) == (
        table.project,
        table.dataset,
        table.table,
    )
    assert sent(f"https://bigquery.googleapis.com/bigquery/v2{reference.path}")[1][2:] == [
        *("projects", table.project, "datasets", table.dataset, "tables", table.table)
    ]
    assert TableName.parse(table.uri) == table
    assert DatasetName.parse(str(table.dataset_name)) == table.dataset_name


@given(accepted(names.principal, names._PRINCIPAL))
def test_a_service_account_is_one_segment(account: str) -> None:
    """Of the URL that a token is asked for at."""
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    assert sent(url)[1][-2:] == ["serviceAccounts", f"{account}:generateAccessToken"]


@pytest.mark.parametrize(
    "uri",
    [
        "gs://abc/x",
        "gs://" + "b" * 63 + "/x",
        "gs://" + ".".join(["b" * 63, "b" * 63, "b" * 63, "b" * 30]) + "/x",
        "gs://data.example.com/x",
        "gs://gcp-public-data_1/x",
        "gs://1.2.3/x",
        "gs://bucket/" + "é" * 512,
        "gs://bucket/ a name, with … and 50% #1?",
    ],
)
def test_what_cloud_storage_takes_is_taken(uri: str) -> None:
    """At its limits, too."""
    assert str(GcsUri.parse(uri)) == uri


@pytest.mark.parametrize(
    "project", ["a1", "my-project", "example.com:my-project", "a.b-c.example:p", "p" * 30]
)
def test_what_a_project_may_be_called_is_taken(project: str) -> None:
    """With its domain where it has one."""
    assert TableName.parse(f"{project}.{'d' * 1024}.{'t' * 1024}").project == project
