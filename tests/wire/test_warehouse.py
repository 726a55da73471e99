"""The warehouse hook through Google's own client against the local BigQuery."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.bigquery import Dataset

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    LandingError,
    ServiceError,
    SourceError,
)
from airflow_batch_gemini.hooks._endpoint import LocalCredentials
from airflow_batch_gemini.hooks.warehouse import WarehouseHook, WarehouseJob
from airflow_batch_gemini.sql.landing import load_predictions, load_requests, query, query_into
from airflow_batch_gemini.triggers.warehouse import GeminiBatchWarehouseTrigger

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

PLACE = {"project": "demo", "location": "us-central1"}


@pytest.fixture
def hook(cloud: LocalCloud) -> Iterator[WarehouseHook]:
    found = WarehouseHook()
    yield found
    found.close()


@pytest.fixture
def table(dataset: str) -> TableName:
    return DatasetName.parse(dataset).table("t")


def put(cloud: LocalCloud, uri: GcsUri, *lines: Any) -> None:
    with cloud.parts.storage.writer(uri.bucket, uri.name) as file:
        file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def rows(hook: WarehouseHook, sql: str, **kwargs: Any) -> list[dict[str, Any]]:
    return list(hook.query_rows(sql, **PLACE, **kwargs))


def test_predictions_land_by_name_and_unknown_fields_are_left_out(
    hook: WarehouseHook, cloud: LocalCloud, bucket: str, table: TableName
) -> None:
    """Two generations of lines have their fields in other orders."""
    folder = GcsUri.parse(f"gs://{bucket}/out:1")
    put(
        cloud,
        folder / "predictions.jsonl-0",
        {"status": "", "processed_time": "t", "response": {"a": 1}, "key": "k_a"},
    )
    put(cloud, folder / "predictions.jsonl-1", {"key": "k_b", "new": [1], "response": None, "request": {}})
    configuration = load_predictions([folder / "predictions.jsonl-0", folder / "predictions.jsonl-1"], table)
    job = hook.ensure_job(configuration=configuration, purpose="predictions", expect_table=table, **PLACE)
    assert hook.wait(job, timeout=30, poll_interval=0.01).rows == 2
    found = rows(hook, f"SELECT key, status, processed_time, request, response FROM `{table}` ORDER BY key")
    assert found == [
        {"key": "k_a", "status": "", "processed_time": "t", "request": None, "response": {"a": 1}},
        {"key": "k_b", "status": None, "processed_time": None, "request": {}, "response": None},
    ]


def test_a_table_is_told_with_its_columns_rows_and_place(
    hook: WarehouseHook, cloud: LocalCloud, bucket: str, table: TableName
) -> None:
    """In GoogleSQL's words."""
    uri = GcsUri.parse(f"gs://{bucket}/requests.jsonl")
    put(cloud, uri, {"key": "k_a", "request": {}})
    job = hook.ensure_job(configuration=load_requests(uri, table), purpose="requests", **PLACE)
    hook.wait(job, timeout=30, poll_interval=0.01)
    info = hook.table_info(table)
    assert info is not None
    assert [(column.name, column.type, column.mode) for column in info.columns] == [
        ("key", "STRING", "NULLABLE"),
        ("fingerprint", "STRING", "NULLABLE"),
        ("request", "JSON", "NULLABLE"),
    ]
    assert (info.rows, info.location, info.table) == (1, "us-central1", table)
    assert info.column("KEY") == info.columns[0]
    assert info.column("nope") is None
    assert hook.table_info(DatasetName("demo", table.dataset).table("nope")) is None


def test_old_type_names_are_told_in_googlesqls_words(hook: WarehouseHook, table: TableName) -> None:
    """The REST API says INTEGER where a statement says INT64."""
    sql = "SELECT 1 AS i, 1.5 AS f, TRUE AS b, NUMERIC '1' AS n, DATE '2026-01-01' AS d, [1] AS a"
    job = hook.ensure_job(configuration=query_into(sql, table), purpose="test", **PLACE)
    hook.wait(job, timeout=30, poll_interval=0.01)
    info = hook.table_info(table)
    assert info is not None
    assert {c.name: c.type for c in info.columns} == {
        "i": "INT64",
        "f": "FLOAT64",
        "b": "BOOL",
        "n": "NUMERIC",
        "d": "DATE",
        "a": "INT64",
    }
    assert info.columns[-1].mode == "REPEATED"


def test_rows_come_page_by_page(hook: WarehouseHook) -> None:
    """However many there are; a page at a time is in memory."""
    sql = "SELECT n, CONCAT('k', CAST(n AS STRING)) AS k FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n ORDER BY n"
    found = hook.query_rows(sql, page_size=100, **PLACE)
    assert next(found) == {"n": 1, "k": "k1"}
    assert sum(1 for _ in found) == 2499


def test_the_rows_of_a_finished_job_can_be_read(hook: WarehouseHook) -> None:
    """By its name, from another process if need be."""
    job = hook.ensure_job(
        configuration=query("SELECT 1 AS n UNION ALL SELECT 2 ORDER BY n"), purpose="a", **PLACE
    )
    hook.wait(job, timeout=30, poll_interval=0.01)
    assert list(hook.job_rows(job, page_size=1)) == [{"n": 1}, {"n": 2}]


def test_parameters_are_typed_by_their_values(hook: WarehouseHook) -> None:
    """Values never become part of a statement."""
    params = {
        "s": "'); DROP TABLE t; --",
        "i": 7,
        "f": 1.5,
        "b": True,
        "n": Decimal("1.25"),
        "d": dt.date(2026, 9, 1),
        "t": dt.datetime(2026, 9, 1, 12, tzinfo=dt.UTC),
    }
    [found] = rows(
        hook, "SELECT @s AS s, @i AS i, @f AS f, @b AS b, @n AS n, @d AS d, @t AS t", params=params
    )
    assert found == params
    found = rows(hook, "SELECT x FROM UNNEST(@a) AS x ORDER BY x", params={"a": ["b", "a"]})
    assert found == [{"x": "a"}, {"x": "b"}]


@pytest.mark.parametrize("value", [None, [], {"a": 1}, object()])
def test_a_parameter_of_no_known_type_is_refused_before_anything_is_sent(
    hook: WarehouseHook, value: Any
) -> None:
    """NULL has no type of its own."""
    with pytest.raises(ConfigurationError, match="'x'"):
        rows(hook, "SELECT @x", params={"x": value})


def test_a_query_that_is_wrong_is_a_source_error_without_its_literals(hook: WarehouseHook) -> None:
    """A source query is the user's; its text stays with the user."""
    with pytest.raises(SourceError) as caught:
        rows(hook, "SELECT 'a secret prompt' FROM nope.nope")
    assert "secret" not in str(caught.value)


def test_a_load_of_a_missing_file_fails_and_names_the_reason(
    hook: WarehouseHook, bucket: str, table: TableName
) -> None:
    """Whether at once or after a while."""
    configuration = load_requests(GcsUri.parse(f"gs://{bucket}/nope.jsonl"), table)
    with pytest.raises(LandingError, match="notFound"):
        hook.wait(
            hook.ensure_job(configuration=configuration, purpose="a", **PLACE), timeout=30, poll_interval=0.01
        )


def test_the_local_credential_asks_nobody_but_the_local_cloud(hook: WarehouseHook, dataset: str) -> None:
    """A service account's own credentials would look up at Google where they may be used."""
    hook.dataset_location(DatasetName.parse(dataset))
    credentials = hook.client("demo")._credentials
    assert isinstance(credentials, LocalCredentials)
    assert credentials.token == "local"
    assert not hasattr(credentials, "_maybe_start_regional_access_boundary_refresh")


def test_a_dataset_has_a_place(hook: WarehouseHook, dataset: str) -> None:
    """And one that is not there is a source error."""
    assert hook.dataset_location(DatasetName.parse(dataset)) == "us-central1"
    with pytest.raises(SourceError, match="nope_nope"):
        hook.dataset_location(DatasetName("demo", "nope_nope"))


def test_a_dataset_that_takes_two_keys_for_one_is_refused(
    hook: WarehouseHook, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables inherit a collation from it; joined by key, ``a`` would get the answer to ``A``."""
    client = hook.client("demo")
    known = client.get_dataset(dataset).to_api_repr()
    insensitive = Dataset.from_api_repr({**known, "defaultCollation": "und:ci"})
    monkeypatch.setattr(client, "get_dataset", lambda *_, **__: insensitive)
    with pytest.raises(ConfigurationError, match=r"collation und:ci.*Nothing was changed"):
        hook.dataset_location(DatasetName.parse(dataset))


def test_a_table_can_be_told_to_go_by_itself(hook: WarehouseHook, table: TableName) -> None:
    """BigQuery deletes it then."""
    job = hook.ensure_job(configuration=query_into("SELECT 1 AS n", table), purpose="a", **PLACE)
    hook.wait(job, timeout=30, poll_interval=0.01)
    hook.expire_table(table, seconds=3600)
    found = hook.client("demo").get_table(str(table))
    assert 3500 < found.expires.timestamp() - time.time() < 3700


def test_the_warehouse_trigger_fires_when_every_job_is_done(hook: WarehouseHook) -> None:
    """With their names and nothing else."""
    jobs = [
        hook.ensure_job(configuration=query(f"SELECT {n}"), purpose="a", **PLACE).to_list() for n in range(3)
    ]
    trigger = GeminiBatchWarehouseTrigger(jobs=jobs, deadline=time.time() + 60, poll_interval=0.01)
    assert fire(trigger) == {"jobs": jobs}


def test_the_warehouse_trigger_fires_at_the_deadline(hook: WarehouseHook) -> None:
    """Whoever resumes decides what that means."""
    trigger = GeminiBatchWarehouseTrigger(jobs=[["demo", "us-central1", "x"]], deadline=0, poll_interval=0.01)
    assert fire(trigger) == {"jobs": [["demo", "us-central1", "x"]]}


def test_a_look_that_missed_is_repeated_and_a_job_that_is_gone_ends_the_wait(
    hook: WarehouseHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage says nothing of the job."""
    answers: list[Exception] = [ServiceError("503"), ServiceError("503"), LandingError("gone")]

    def look(self: WarehouseHook, job: WarehouseJob) -> Any:
        raise answers.pop(0)

    monkeypatch.setattr(WarehouseHook, "look", look)
    jobs = [["demo", "us-central1", "x"]]
    assert fire(GeminiBatchWarehouseTrigger(jobs=jobs, deadline=time.time() + 60, poll_interval=0)) == {
        "jobs": jobs
    }
    assert answers == []


def fire(trigger: GeminiBatchWarehouseTrigger) -> dict[str, Any]:
    async def run() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    [payload] = asyncio.run(run())
    return payload


def test_a_struct_is_given_fields_and_all_else_of_the_table_stays(
    hook: WarehouseHook, table: TableName
) -> None:
    """Asked again it changes nothing, and fields of others are kept."""
    rows(
        hook,
        f"CREATE TABLE `{table}` (k STRING NOT NULL OPTIONS (description = 'key'), o STRUCT<a STRING, mine INT64>)",
    )
    before = hook.table_info(table)
    assert before is not None
    become = Column(
        "O", "STRUCT", fields=(Column("a", "STRING"), Column("mine", "INT64"), Column("b", "JSON"))
    )
    hook.grow_table(table, [become])
    found = hook.table_info(table)
    assert found is not None
    assert [field.name for field in found.columns[1].fields] == ["a", "mine", "b"]
    assert (found.columns[0], found.columns[0].description, found.columns[1].name) == (
        before.columns[0],
        "key",
        "o",
    )
    calls = hook.client("demo").get_table(str(table)).etag
    hook.grow_table(table, [become])
    assert hook.client("demo").get_table(str(table)).etag == calls


def test_a_struct_that_grows_twice_at_once_is_looked_at_again(
    hook: WarehouseHook, table: TableName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same wish is found fulfilled; another one is a reason to begin anew, for fields have places."""
    from google.cloud.bigquery import Client

    rows(hook, f"CREATE TABLE `{table}` (o STRUCT<a STRING>)")
    a, b, c = (Column(name, "STRING") for name in "abc")
    update, others = Client.update_table, [Column("o", "STRUCT", fields=(a, b))]

    def late(self: Client, *args: Any, **kwargs: Any) -> Any:
        """Somebody else is faster."""
        with monkeypatch.context() as patch:
            patch.setattr(Client, "update_table", update)
            hook.grow_table(table, others)
        return update(self, *args, **kwargs)

    monkeypatch.setattr(Client, "update_table", late)
    hook.grow_table(table, others)
    with pytest.raises(ServiceError, match="Nothing was published"):
        others = [Column("o", "STRUCT", fields=(a, b, c))]
        hook.grow_table(table, [Column("o", "STRUCT", fields=(a, c))])
    found = hook.table_info(table)
    assert found is not None
    assert [field.name for field in found.columns[0].fields] == ["a", "b"]
