"""The local BigQuery through Google's own client: datasets, tables, rows and jobs."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from bigquery_server import BigQueryServer
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField as Field

UTC = dt.UTC
RAW = [
    Field("key", "STRING"),
    Field("status", "STRING"),
    Field("processed_time", "STRING"),
    Field("request", "JSON"),
    Field("response", "JSON"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQueryServer]:
    with BigQueryServer(tmp_path_factory.mktemp("bigquery")) as made:
        yield made


@pytest.fixture(scope="module")
def client(server: BigQueryServer) -> Iterator[bigquery.Client]:
    made = server.client()
    yield made
    made.close()


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    """A dataset of the test's own."""
    name = f"d{uuid.uuid4().hex[:12]}"
    client.create_dataset(bigquery.Dataset(f"demo.{name}"))
    return name


@pytest.fixture
def run(client: bigquery.Client, dataset: str) -> Any:
    """Run SQL with the test's dataset as the default; returns the rows as tuples."""

    def go(sql: str, **options: Any) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(default_dataset=f"demo.{dataset}", **options)
        return [tuple(row) for row in client.query(sql, job_config=config).result()]

    return go


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def load_config(**options: Any) -> bigquery.LoadJobConfig:
    return bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", **options)


# Datasets and tables


def test_a_dataset_keeps_its_location_and_its_labels(client: bigquery.Client, dataset: str) -> None:
    """What was given comes back; patching one field leaves the others."""
    wanted = bigquery.Dataset(f"demo.{dataset}_eu")
    wanted.location, wanted.labels, wanted.description = "EU", {"team": "a"}, "first"
    client.create_dataset(wanted)
    found = client.get_dataset(f"demo.{dataset}_eu")
    found.description = "second"
    client.update_dataset(found, ["description"])
    found = client.get_dataset(f"demo.{dataset}_eu")
    assert (found.location, found.labels, found.description) == ("EU", {"team": "a"}, "second")
    assert f"{dataset}_eu" in [item.dataset_id for item in client.list_datasets()]


def test_a_dataset_that_exists_is_a_conflict_and_one_with_tables_is_not_deleted(
    client: bigquery.Client, dataset: str
) -> None:
    """409 for a second one, 400 for one in use, 404 for one that is gone."""
    with pytest.raises(exceptions.Conflict, match=f"Already Exists: Dataset demo:{dataset}"):
        client.create_dataset(bigquery.Dataset(f"demo.{dataset}"))
    client.create_table(bigquery.Table(f"demo.{dataset}.t", [Field("a", "INT64")]))
    with pytest.raises(exceptions.BadRequest, match="still in use"):
        client.delete_dataset(dataset)
    client.delete_dataset(dataset, delete_contents=True)
    with pytest.raises(exceptions.NotFound, match=f"Not found: Dataset demo:{dataset}"):
        client.get_dataset(dataset)


def test_a_table_keeps_schema_partitioning_clustering_labels_and_expiration(
    client: bigquery.Client, dataset: str
) -> None:
    """Everything a CREATE sets comes back from a GET."""
    table = bigquery.Table(
        f"demo.{dataset}.t",
        [
            Field("d", "DATE", mode="REQUIRED", description="the day"),
            Field("r", "RECORD", mode="REPEATED", fields=[Field("j", "JSON"), Field("n", "NUMERIC")]),
        ],
    )
    table.time_partitioning = bigquery.TimePartitioning(field="d")
    table.clustering_fields, table.labels, table.description = ["d"], {"k": "v"}, "about"
    table.expires = dt.datetime(2099, 1, 1, tzinfo=UTC)
    made = client.create_table(table)
    found = client.get_table(made.reference)
    assert [f.to_api_repr() for f in found.schema] == [f.to_api_repr() for f in table.schema]
    assert found.time_partitioning.field == "d"
    assert (found.clustering_fields, found.labels, found.description) == (["d"], {"k": "v"}, "about")
    assert found.expires == table.expires
    assert (found.num_rows, found.table_type, found.location) == (0, "TABLE", "us-central1")
    assert found.created is not None
    assert found.etag


def test_a_schema_may_grow_but_not_shrink_and_a_stale_etag_is_refused(
    client: bigquery.Client, dataset: str
) -> None:
    """The rules of tables.patch: new nullable columns only; If-Match holds."""
    first = client.create_table(bigquery.Table(f"demo.{dataset}.t", [Field("a", "INT64", mode="REQUIRED")]))
    stale = client.get_table(first.reference)
    first.schema = [Field("a", "INT64"), Field("b", "STRING")]
    assert [f.name for f in client.update_table(first, ["schema"]).schema] == ["a", "b"]
    stale.description = "late"
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(stale, ["description"])
    fresh = client.get_table(first.reference)
    fresh.schema = [Field("b", "STRING")]
    with pytest.raises(exceptions.BadRequest, match="Provided Schema does not match"):
        client.update_table(fresh, ["schema"])


def test_structs_grow_at_their_end_in_lists_too_and_rows_read_null_there(
    client: bigquery.Client, dataset: str, run: Any
) -> None:
    """tables.patch adds nested fields; it drops, retypes, moves and requires none."""
    run(
        "CREATE TABLE s (id INT64, o STRUCT<a INT64>, l ARRAY<STRUCT<a INT64>>);"
        "INSERT INTO s (id, o, l) VALUES (1, STRUCT(1), [STRUCT(1), STRUCT(2)]), (2, NULL, [])"
    )

    def record(name: str, *fields: Field, mode: str = "NULLABLE") -> Field:
        return Field(name, "RECORD", mode=mode, fields=fields)

    def patched(o: Field, lines: Field) -> bigquery.Table:
        table = client.get_table(f"demo.{dataset}.s")
        table.schema = [table.schema[0], o, lines]
        return client.update_table(table, ["schema"])

    a, b, c = (
        Field("a", "INTEGER"),
        Field("b", "STRING", description="new"),
        Field("c", "STRING", mode="REPEATED"),
    )
    kept, lines = record("o", a), record("l", a, mode="REPEATED")
    found = patched(record("o", a, b, c), record("l", a, record("r", b), c, mode="REPEATED"))
    assert [[f.name for f in one.fields] for one in found.schema[1:]] == [["a", "b", "c"], ["a", "r", "c"]]
    assert found.schema[1].fields[1].description == "new"
    assert run("SELECT o, l FROM s ORDER BY id") == [
        (
            {"a": 1, "b": None, "c": []},
            [{"a": 1, "r": None, "c": []}, {"a": 2, "r": None, "c": []}],
        ),
        (None, []),
    ]
    run("INSERT INTO s (id, o) VALUES (3, STRUCT(1, 'x', ['y']))")
    for wrong in (kept, record("o", Field("a", "STRING"), b, c), record("o", b, a, c)):
        with pytest.raises((exceptions.BadRequest, exceptions.MethodNotImplemented)):
            patched(wrong, found.schema[2])
    with pytest.raises(exceptions.BadRequest, match="required"):
        patched(record("o", a, b, c, Field("d", "STRING", mode="REQUIRED")), found.schema[2])
    with pytest.raises(exceptions.BadRequest, match="l is missing or has changed"):
        patched(found.schema[1], record("l", *lines.fields))


def test_names_that_differ_only_by_case_are_different_tables(run: Any) -> None:
    """BigQuery's table names are case sensitive, DuckDB's are not."""
    run("CREATE TABLE t AS SELECT 1 AS a; CREATE TABLE T AS SELECT 2 AS a")
    assert run("SELECT a FROM t") + run("SELECT a FROM T") == [(1,), (2,)]


def test_an_expired_table_is_not_there(client: bigquery.Client, run: Any, dataset: str) -> None:
    """Its name is free again."""
    run("CREATE TABLE t OPTIONS (expiration_timestamp = TIMESTAMP '2020-01-01 00:00:00+00') AS SELECT 1 AS a")
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"demo.{dataset}.t")
    run("CREATE TABLE t AS SELECT 2 AS a")
    assert run("SELECT * FROM t") == [(2,)]


# Rows


def test_every_type_comes_back_as_the_client_knows_it(run: Any) -> None:
    """The f/v encoding, nested and repeated, with NULLs."""
    (row,) = run(
        """SELECT 'ä', b'\\x00\\xff', 9007199254740993, 1.5, CAST('nan' AS FLOAT64), NUMERIC '1.25', true,
        DATE '2026-01-02', TIME '01:02:03.5', DATETIME '2026-01-02 03:04:05', TIMESTAMP '2026-01-02 03:04:05.678901+00',
        JSON '{"a": [1.0, null]}', [1, 2], [STRUCT('x' AS k, [DATE '2026-01-01'] AS d)], STRUCT(NULL AS n, 1 AS i),
        CAST(NULL AS TIMESTAMP), CAST([] AS ARRAY<STRING>), CAST(NULL AS JSON), JSON 'null'"""
    )
    assert str(row[4]) == "nan"
    assert row[:4] + row[5:] == (
        "ä",
        b"\x00\xff",
        9007199254740993,
        1.5,
        Decimal("1.25"),
        True,
        dt.date(2026, 1, 2),
        dt.time(1, 2, 3, 500000),
        dt.datetime.fromisoformat("2026-01-02T03:04:05"),
        dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        {"a": [1.0, None]},
        [1, 2],
        [{"k": "x", "d": [dt.date(2026, 1, 1)]}],
        {"n": None, "i": 1},
        None,
        [],
        None,
        None,
    )


def test_rows_come_in_pages_in_the_order_in_which_they_were_written(
    client: bigquery.Client, run: Any, dataset: str
) -> None:
    """maxResults, page tokens, a start index and selected fields."""
    run("CREATE TABLE t AS SELECT x, CAST(x AS STRING) AS s FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS x")
    pages = list(client.list_rows(f"demo.{dataset}.t", page_size=1000).pages)
    assert [page.num_items for page in pages] == [1000, 1000, 500]
    table = client.get_table(f"demo.{dataset}.t")
    found = client.list_rows(table, selected_fields=[Field("s", "STRING")], start_index=10, max_results=2)
    assert [tuple(row) for row in found] == [("11",), ("12",)]
    assert table.num_rows == 2500
    assert len(list(client.query(f"SELECT * FROM {dataset}.t").result(page_size=700))) == 2500


def test_a_page_ends_at_about_ten_megabytes(server: BigQueryServer, run: Any, dataset: str) -> None:
    """As in BigQuery, a page may hold fewer rows than were asked for."""
    run("CREATE TABLE t AS SELECT REPEAT('x', 1000000) AS s FROM UNNEST(GENERATE_ARRAY(1, 25))")
    url = f"{server.url}/bigquery/v2/projects/demo/datasets/{dataset}/tables/t/data?maxResults=25"
    first = requests.get(url, timeout=30).json()
    assert len(first["rows"]) == 11
    rest = requests.get(f"{url}&pageToken={first['pageToken']}", timeout=30).json()
    assert len(rest["rows"]) == 11


def test_timestamps_are_seconds_unless_microseconds_are_asked_for(
    server: BigQueryServer, run: Any, dataset: str
) -> None:
    """formatOptions.useInt64Timestamp decides."""
    run("CREATE TABLE t AS SELECT TIMESTAMP '2026-01-01 00:00:00.5+00' AS ts")
    url = f"{server.url}/bigquery/v2/projects/demo/datasets/{dataset}/tables/t/data"
    assert requests.get(url, timeout=30).json()["rows"] == [{"f": [{"v": "1767225600.5"}]}]
    exact = requests.get(f"{url}?formatOptions.useInt64Timestamp=true", timeout=30).json()
    assert exact["rows"] == [{"f": [{"v": "1767225600500000"}]}]


def test_streamed_rows_are_all_kept_or_the_bad_ones_are_named(client: bigquery.Client, dataset: str) -> None:
    """insertAll: one bad row keeps the others out, unless invalid rows may be skipped."""
    table = client.create_table(
        bigquery.Table(f"demo.{dataset}.t", [Field("a", "INT64"), Field("j", "JSON")])
    )
    rows = [{"a": 1, "j": '{"b": 1}'}, {"a": "x"}]
    errors = client.insert_rows_json(table, rows)
    assert [(error["index"], error["errors"][0]["reason"]) for error in errors] == [
        (1, "invalid"),
        (0, "stopped"),
    ]
    assert list(client.list_rows(table)) == []
    assert len(client.insert_rows_json(table, rows, skip_invalid_rows=True)) == 1
    assert [tuple(row) for row in client.list_rows(table)] == [(1, {"b": 1})]


# Jobs


def test_a_job_id_is_taken_once_whoever_races_for_it(client: bigquery.Client, run: Any, dataset: str) -> None:
    """Sixteen threads, one insert; the rows are there once."""
    run("CREATE TABLE t (a INT64)")

    def submit(_: int) -> str:
        try:
            client.query(
                f"INSERT {dataset}.t VALUES (1)", job_id=f"{dataset}-race", retry=None, job_retry=None
            )
        except exceptions.Conflict as error:
            return str(error.errors[0]["reason"])
        return "taken"

    with ThreadPoolExecutor(16) as pool:
        answers = sorted(pool.map(submit, range(16)))
    assert answers == ["duplicate"] * 15 + ["taken"]
    client.get_job(f"{dataset}-race").result()
    assert run("SELECT COUNT(*) FROM t") == [(1,)]


def test_the_id_of_a_failed_job_is_taken_too(client: bigquery.Client, dataset: str) -> None:
    """409 ALREADY_EXISTS; the job itself tells why it failed."""
    job = client.query("SELECT nope", job_id=f"{dataset}-failed", job_retry=None)
    with pytest.raises(exceptions.BadRequest, match=r"Unrecognized name: nope at \[1:8\]"):
        job.result()
    with pytest.raises(exceptions.Conflict, match=f"Already Exists: Job demo:us-central1.{dataset}-failed"):
        client.query("SELECT 1", job_id=f"{dataset}-failed", retry=None, job_retry=None)
    found = client.get_job(f"{dataset}-failed")
    assert (found.state, found.error_result["reason"]) == ("DONE", "invalidQuery")
    with pytest.raises(exceptions.NotFound, match="Not found: Job"):
        client.get_job(f"{dataset}-failed", location="EU")


def test_a_client_that_polls_is_told_running_as_often_as_asked_for(
    server: BigQueryServer, client: bigquery.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The knob for tests of waiting: three looks, then done."""
    monkeypatch.setattr(server.warehouse, "job_delay_looks", 3)
    job = client.query("SELECT 1")
    server.warehouse.jobs.wait("demo", job.job_id, seconds=30)
    assert [job.done(reload=True) for _ in range(4)] == [False, False, False, True]


def test_jobs_are_listed_newest_first_by_state_and_by_parent(client: bigquery.Client, dataset: str) -> None:
    """A script's statements are children, in their order, with their own counts."""
    job = client.query(
        f"CREATE TABLE {dataset}.t (a INT64); INSERT {dataset}.t VALUES (1), (2); SELECT SUM(a) FROM {dataset}.t"
    )
    assert [tuple(row) for row in job.result()] == [(3,)]
    children = list(client.list_jobs(parent_job=job))
    assert [child.statement_type for child in reversed(children)] == ["CREATE_TABLE", "INSERT", "SELECT"]
    assert children[1].num_dml_affected_rows == 2
    assert (job.statement_type, job.num_child_jobs) == ("SCRIPT", 3)
    assert next(iter(client.list_jobs(max_results=1))).job_id == job.job_id
    assert list(client.list_jobs(state_filter="running")) == []


def test_a_job_of_another_location_does_not_see_the_dataset(
    client: bigquery.Client, run: Any, dataset: str
) -> None:
    """The location of a job is the location of its data, or the data is not found."""
    run("CREATE TABLE t AS SELECT 1 AS a")
    job = client.query(f"SELECT * FROM {dataset}.t", location="EU")
    with pytest.raises(
        exceptions.NotFound, match=f"Not found: Dataset demo:{dataset} was not found in location EU"
    ):
        job.result()
    assert client.query(f"SELECT * FROM {dataset}.t").location == "us-central1"


def test_a_running_query_can_be_cancelled(client: bigquery.Client) -> None:
    """It ends as stopped, long before it would have ended by itself."""
    job = client.query(
        "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) a, UNNEST(GENERATE_ARRAY(1, 1000000)) b "
        "WHERE a * b = -1"
    )
    assert job.state == "RUNNING"
    assert job.cancel()
    with pytest.raises(exceptions.GoogleAPICallError, match="cancelled"):
        job.result(timeout=30)
    assert job.error_result["reason"] == "stopped"


def test_a_dry_run_tells_schema_and_kind_and_runs_nothing(
    client: bigquery.Client, run: Any, dataset: str
) -> None:
    """No job is kept, no row is written."""
    run("CREATE TABLE t (a INT64)")
    config = bigquery.QueryJobConfig(dry_run=True)
    job = client.query(f"SELECT a, 'x' AS s FROM {dataset}.t", job_config=config)
    assert ([(f.name, f.field_type) for f in job.schema], job.statement_type) == (
        [("a", "INTEGER"), ("s", "STRING")],
        "SELECT",
    )
    client.query(f"INSERT {dataset}.t VALUES (1)", job_config=config)
    assert run("SELECT COUNT(*) FROM t") == [(0,)]


def test_parameters_named_and_positional_are_values_and_never_text(client: bigquery.Client) -> None:
    """Types, arrays, structs and NULLs; a quote in a value stays a quote."""
    named = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter("s", "STRING", "it's; -- @n"),
            bigquery.ScalarQueryParameter("n", "INT64", None),
            bigquery.ScalarQueryParameter("t", "TIMESTAMP", dt.datetime(2026, 1, 1, tzinfo=UTC)),
            bigquery.ArrayQueryParameter("l", "INT64", [1, 2]),
            bigquery.StructQueryParameter(
                "r", bigquery.ScalarQueryParameter("x", "DATE", dt.date(2026, 1, 2))
            ),
        ]
    )
    rows = client.query_and_wait(
        "SELECT @s, @n, @t, ARRAY_LENGTH(@l), @r.x, 2 IN UNNEST(@l)", job_config=named
    )
    assert [tuple(row) for row in rows] == [
        ("it's; -- @n", None, dt.datetime(2026, 1, 1, tzinfo=UTC), 2, dt.date(2026, 1, 2), True)
    ]
    positional = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter(None, "INT64", 1),
            bigquery.ScalarQueryParameter(None, "STRING", "b"),
        ]
    )
    found = client.query_and_wait("SELECT x, '?' FROM (SELECT ? AS x) WHERE ? = 'b'", job_config=positional)
    assert [tuple(row) for row in found] == [(1, "?")]


def test_a_query_sent_again_with_its_request_id_runs_once(
    server: BigQueryServer, run: Any, dataset: str
) -> None:
    """jobs.query is idempotent by requestId."""
    run("CREATE TABLE t (a INT64)")
    body = {"query": f"INSERT {dataset}.t VALUES (1)", "useLegacySql": False, "requestId": f"r-{dataset}"}
    url = f"{server.url}/bigquery/v2/projects/demo/queries"
    first, second = (requests.post(url, json=body, timeout=30).json() for _ in range(2))
    assert first["numDmlAffectedRows"] == "1"
    assert first["jobReference"] == second["jobReference"]
    assert run("SELECT COUNT(*) FROM t") == [(1,)]


def test_errors_have_the_shape_that_clients_read(server: BigQueryServer) -> None:
    """code, message, errors[] with reason and domain, status."""
    answer = requests.get(f"{server.url}/bigquery/v2/projects/demo/datasets/none", timeout=30)
    message = "Not found: Dataset demo:none"
    assert (answer.status_code, answer.json()) == (
        404,
        {
            "error": {
                "code": 404,
                "message": message,
                "errors": [{"domain": "global", "reason": "notFound", "message": message}],
                "status": "NOT_FOUND",
            }
        },
    )
    legacy = requests.post(
        f"{server.url}/bigquery/v2/projects/demo/queries", json={"query": "SELECT 1"}, timeout=30
    )
    assert legacy.status_code == 400
    assert "does not support legacy SQL" in legacy.json()["error"]["message"]


# Loads


def test_predictions_are_loaded_as_they_are(
    server: BigQueryServer, client: bigquery.Client, dataset: str
) -> None:
    """The landing of our own package: JSON columns take any value, unknown fields are ignored, twice is once."""
    server.put(
        f"{dataset}/a.jsonl",
        lines(
            {"key": "1", "status": "", "response": {"b": 1.0, "a": [1, None, "x"]}, "extra": {"x": 1}},
            {"key": "2", "status": "Bad Request: {}", "response": {}, "request": "text"},
        ),
    )
    server.put(f"{dataset}/b.jsonl", lines({"key": "3", "response": [1]}, {"key": "4", "response": None}))
    config = load_config(schema=RAW, ignore_unknown_values=True, write_disposition="WRITE_TRUNCATE")
    for _ in range(2):
        job = client.load_table_from_uri(
            f"gs://lake/{dataset}/*.jsonl", f"demo.{dataset}.raw", job_config=config
        )
        job.result()
    assert (job.output_rows, job.input_files, job.input_file_bytes > 0) == (4, 2, True)
    found = {
        row["key"]: (row["status"], row["request"], row["response"])
        for row in client.list_rows(f"demo.{dataset}.raw")
    }
    assert found == {
        "1": ("", None, {"a": [1, None, "x"], "b": 1.0}),
        "2": ("Bad Request: {}", "text", {}),
        "3": (None, None, [1]),
        "4": (None, None, None),
    }


def test_a_line_separator_inside_a_string_is_no_end_of_line(
    server: BigQueryServer, client: bigquery.Client, dataset: str
) -> None:
    """U+2028, U+0085 and escaped line feeds stay inside; a long line is one line."""
    text = "a\u2028b\u0085c\nd" + "x" * 3_000_000
    uri = server.put(f"{dataset}/x.jsonl", json.dumps({"s": text}, ensure_ascii=False).encode())
    client.load_table_from_uri(
        uri, f"demo.{dataset}.t", job_config=load_config(schema=[Field("s", "STRING")])
    ).result()
    assert [row["s"] for row in client.list_rows(f"demo.{dataset}.t")] == [text]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"a": 1,}', "JSON parsing error"),
        (b'{"a": NaN}', "JSON parsing error"),
        (b"[1]", "it is no object"),
        (b'{"a": "x"}', "Could not convert value to INT64. Field: a"),
        (b'{"a": 1, "b": 2}', "No such field: b"),
        (b'{"l": [1, null]}', "only optional fields can be set to NULL"),
    ],
)
def test_a_bad_line_fails_the_load_with_its_place_and_leaves_the_table_alone(
    server: BigQueryServer, client: bigquery.Client, dataset: str, line: bytes, complaint: str
) -> None:
    """File, line and position are named; nothing of the file is kept."""
    client.query(f"CREATE TABLE {dataset}.t AS SELECT 7 AS a, [1] AS l").result()
    uri = server.put(f"{dataset}/x.jsonl", b'{"a": 1}\n' + line + b"\n")
    job = client.load_table_from_uri(
        uri, f"demo.{dataset}.t", job_config=load_config(write_disposition="WRITE_TRUNCATE")
    )
    with pytest.raises(exceptions.BadRequest, match=complaint):
        job.result()
    assert f"Line: 2; row starts at position: 9. File: {uri}" in job.error_result["message"]
    assert job.errors[0]["location"] == uri
    assert [row["a"] for row in client.list_rows(f"demo.{dataset}.t")] == [7]


def test_some_bad_lines_may_be_allowed(server: BigQueryServer, client: bigquery.Client, dataset: str) -> None:
    """maxBadRecords: they are counted and told, the others are loaded."""
    uri = server.put(f"{dataset}/x.jsonl", b'{"a": 1}\n{\n\n{"a": 2}\n')
    config = load_config(schema=[Field("a", "INT64")], max_bad_records=1)
    job = client.load_table_from_uri(uri, f"demo.{dataset}.t", job_config=config)
    job.result()
    assert (job.output_rows, len(job.errors)) == (2, 1)
    assert job._properties["statistics"]["load"]["badRecords"] == "1"


def test_a_load_of_nothing_is_not_found(
    server: BigQueryServer, client: bigquery.Client, dataset: str
) -> None:
    """No object matches, no bucket is there, or it lies in another region."""
    server.put("there.jsonl", b"{}\n")
    server.storage.create_bucket("far-away", location="EU", exist_ok=True)
    target, config = f"demo.{dataset}.t", load_config(schema=[Field("a", "INT64")])
    with pytest.raises(exceptions.NotFound, match=r"Not found: URI gs://lake/none\*"):
        client.load_table_from_uri("gs://lake/none*", target, job_config=config).result()
    with pytest.raises(exceptions.NotFound, match="Not found: Bucket nobody"):
        client.load_table_from_uri("gs://nobody/x", target, job_config=config).result()
    with pytest.raises(exceptions.BadRequest, match="Cannot read and write in different locations"):
        client.load_table_from_uri("gs://far-away/x", target, job_config=config).result()


def test_dispositions_decide_what_becomes_of_the_rows_that_are_there(
    client: bigquery.Client, dataset: str
) -> None:
    """EMPTY refuses, APPEND adds (columns too, if allowed), TRUNCATE replaces, CREATE_NEVER wants a table."""
    target = f"demo.{dataset}.t"

    def load(rows: list[dict[str, Any]], **options: Any) -> None:
        client.load_table_from_json(rows, target, job_config=bigquery.LoadJobConfig(**options)).result()

    with pytest.raises(exceptions.NotFound):
        load([{"a": 1}], create_disposition="CREATE_NEVER", autodetect=True)
    load([{"a": 1}], write_disposition="WRITE_EMPTY", autodetect=True)
    with pytest.raises(exceptions.Conflict, match="Already Exists: Table"):
        load([{"a": 2}], write_disposition="WRITE_EMPTY")
    load([{"a": 2}], write_disposition="WRITE_APPEND")
    grown = [Field("a", "INT64"), Field("b", "STRING")]
    with pytest.raises(exceptions.BadRequest, match="Cannot add fields"):
        load([{"a": 3, "b": "x"}], write_disposition="WRITE_APPEND", schema=grown)
    load([{"a": 3, "b": "x"}], schema=grown, schema_update_options=["ALLOW_FIELD_ADDITION"])
    assert sorted(tuple(row) for row in client.list_rows(target)) == [(1, None), (2, None), (3, "x")]
    load([{"c": True}], write_disposition="WRITE_TRUNCATE", autodetect=True)
    assert [dict(row) for row in client.list_rows(target)] == [{"c": True}]


def test_a_schema_is_guessed_from_json(client: bigquery.Client, dataset: str) -> None:
    """Nested and repeated fields, dates and numbers."""
    row = {
        "i": 1,
        "f": 1.5,
        "s": "x",
        "t": "2026-01-01T00:00:00Z",
        "d": "2026-01-01",
        "r": {"b": [True]},
        "n": None,
    }
    client.load_table_from_json([row, {"i": 2.5}], f"demo.{dataset}.t").result()
    schema = {f.name: (f.field_type, f.mode) for f in client.get_table(f"demo.{dataset}.t").schema}
    assert schema == {
        "i": ("FLOAT", "NULLABLE"),
        "f": ("FLOAT", "NULLABLE"),
        "s": ("STRING", "NULLABLE"),
        "t": ("TIMESTAMP", "NULLABLE"),
        "d": ("DATE", "NULLABLE"),
        "r": ("RECORD", "NULLABLE"),
        "n": ("STRING", "NULLABLE"),
    }


def test_csv_is_read_with_heads_quotes_markers_and_line_ends(client: bigquery.Client, dataset: str) -> None:
    """A quoted empty cell is an empty string, an unquoted one is NULL; a quoted line end stays."""
    text = b'id;name;when\n1;"a ""q"" \n;b";2026-01-01\n2;"";\n3;NULL;2026-01-03\n4;;\n'
    config = bigquery.LoadJobConfig(
        source_format="CSV",
        schema=[Field("id", "INT64"), Field("name", "STRING"), Field("when", "DATE")],
        skip_leading_rows=1,
        field_delimiter=";",
        allow_quoted_newlines=True,
    )
    client.load_table_from_file(io.BytesIO(text), f"demo.{dataset}.t", job_config=config).result()
    assert [tuple(row) for row in client.list_rows(f"demo.{dataset}.t")] == [
        (1, 'a "q" \n;b', dt.date(2026, 1, 1)),
        (2, "", None),
        (3, "NULL", dt.date(2026, 1, 3)),
        (4, None, None),
    ]
    config.null_marker, config.write_disposition = "NULL", "WRITE_TRUNCATE"
    with pytest.raises(exceptions.BadRequest, match="Could not parse '' as DATE for field when"):
        client.load_table_from_file(io.BytesIO(text), f"demo.{dataset}.t", job_config=config).result()


def test_csv_with_too_many_values_is_refused_and_its_schema_can_be_guessed(
    client: bigquery.Client, dataset: str
) -> None:
    """Names from the head, types from the body."""
    guess = bigquery.LoadJobConfig(source_format="CSV", autodetect=True)
    client.load_table_from_file(
        io.BytesIO(b"n,word\n1,x\n2,y\n"), f"demo.{dataset}.t", job_config=guess
    ).result()
    table = client.get_table(f"demo.{dataset}.t")
    assert [(f.name, f.field_type) for f in table.schema] == [("n", "INTEGER"), ("word", "STRING")]
    wrong = bigquery.LoadJobConfig(source_format="CSV")
    with pytest.raises(exceptions.BadRequest, match="Too many values in line"):
        client.load_table_from_file(io.BytesIO(b"1,x,z\n"), f"demo.{dataset}.t", job_config=wrong).result()


@pytest.mark.filterwarnings("ignore:Loading DataFrames:PendingDeprecationWarning")
def test_a_data_frame_is_loaded_by_parquet_and_a_file_by_a_resumable_upload(
    client: bigquery.Client, dataset: str
) -> None:
    """The types of a data frame, and the bytes of a file."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "i": [1, 2],
            "s": ["a", None],
            "t": pandas.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
            "l": [[1], []],
        }
    )
    client.load_table_from_dataframe(frame, f"demo.{dataset}.f").result()
    rows = [
        tuple(row) for row in client.list_rows(f"demo.{dataset}.f", selected_fields=[Field("i", "INT64")])
    ]
    assert rows == [(1,), (2,)]
    schema = {f.name: f.field_type for f in client.get_table(f"demo.{dataset}.f").schema}
    assert (schema["i"], schema["s"], schema["t"]) == ("INTEGER", "STRING", "TIMESTAMP")
    body = b"".join(b'{"a": %d}\n' % number for number in range(60_000))
    config = load_config(schema=[Field("a", "INT64")])
    target = bigquery.TableReference.from_string(f"demo.{dataset}.u")
    job = bigquery.LoadJob(f"{dataset}-up", None, target, client, config).to_api_repr()
    assert client._do_resumable_upload(io.BytesIO(body), job, 3, 30).status_code == 200
    client.get_job(f"{dataset}-up").result()
    assert client.get_table(f"demo.{dataset}.u").num_rows == 60_000


def test_a_partition_decorator_is_refused(client: bigquery.Client, dataset: str) -> None:
    """A load into one partition would otherwise replace a whole table, or make one with an odd name."""
    config = bigquery.LoadJobConfig(autodetect=True, write_disposition="WRITE_TRUNCATE")
    with pytest.raises(exceptions.BadRequest, match="does not support the partition decorator"):
        client.load_table_from_json([{"a": 1}], f"demo.{dataset}.t$20260101", job_config=config).result()


# Statements


def test_dml_counts_what_it_changed(client: bigquery.Client, run: Any, dataset: str) -> None:
    """numDmlAffectedRows and dmlStats of every kind of change."""
    run("CREATE TABLE t (k STRING, v INT64)")
    default = bigquery.QueryJobConfig(default_dataset=f"demo.{dataset}")

    def counts(sql: str) -> tuple[Any, ...]:
        job = client.query(sql, job_config=default)
        job.result()
        stats = job.dml_stats
        return (
            job.num_dml_affected_rows,
            stats.inserted_row_count,
            stats.updated_row_count,
            stats.deleted_row_count,
        )

    assert counts("INSERT INTO t (k, v) VALUES ('a', 1), ('b', 2), ('c', DEFAULT)") == (3, 3, 0, 0)
    assert counts("INSERT t SELECT 'd', 4") == (1, 1, 0, 0)
    assert counts("UPDATE t SET v = v + 1 WHERE k IN ('a', 'b')") == (2, 0, 2, 0)
    assert counts("UPDATE t SET v = s.n FROM (SELECT 'd' AS k, 9 AS n) AS s WHERE t.k = s.k") == (1, 0, 1, 0)
    assert counts(
        """MERGE t USING UNNEST([STRUCT('a' AS k, 10 AS v), ('z', 26)]) AS s ON t.k = s.k
        WHEN MATCHED AND s.v > 5 THEN UPDATE SET v = s.v
        WHEN NOT MATCHED THEN INSERT ROW
        WHEN NOT MATCHED BY SOURCE AND t.k = 'c' THEN DELETE"""
    ) == (3, 1, 1, 1)
    assert run("SELECT * FROM t ORDER BY k") == [("a", 10), ("b", 3), ("d", 9), ("z", 26)]
    assert counts("DELETE FROM t WHERE v > 9") == (2, 0, 0, 2)
    assert counts("TRUNCATE TABLE t") == (2, 0, 0, 2)


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        (
            "UPDATE t SET v = s.v FROM (SELECT * FROM UNNEST([1, 2]) AS v) AS s WHERE true",
            "must match at most one source row",
        ),
        (
            "MERGE t USING (SELECT 'a' AS k UNION ALL SELECT 'a') AS s ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = 2",
            "must match at most one source row",
        ),
        ("DELETE FROM t", "DELETE must have a WHERE clause"),
        ("UPDATE t SET v = 1", "UPDATE must have a WHERE clause"),
        ("INSERT t (k, v) VALUES ('x', 'y')", "cannot be assigned to column v"),
        ("INSERT t (k, nope) VALUES ('x', 1)", "Column nope is not present"),
        ("INSERT t (k) SELECT 'x', 1", "wrong column count"),
        ("INSERT nothere VALUES (1)", "Not found: Table"),
        ("SELECT * FROM t WHERE v = 'a'", "No matching signature for operator ="),
        ("SELECT ERROR('stop here')", "stop here"),
        ("SELECT IF(v = 1, ERROR(CONCAT('row ', k)), v) FROM t", "row a"),
        ("ASSERT (SELECT COUNT(*) FROM t) = 0 AS 'the table is not empty'", "the table is not empty"),
        ("RAISE USING MESSAGE = 'on purpose'", "on purpose"),
        ("SELECT [1, NULL] AS l", "Array cannot have a null element"),
        ("SELECT 1 AS a, 2 AS A", "Duplicate column names"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()", "does not support VERSION"),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (1 PERCENT)", "does not support SAMPLE"),
        ("SELECT SOUNDEX('a')", "does not support the function SOUNDEX"),
        ("SELECT k FROM t GROUP BY ROLLUP (k)", "does not support"),
        ("IF true THEN SELECT 1; END IF", "does not support the scripting statement IF"),
        ("CREATE FUNCTION f() AS (1)", "does not support CREATE FUNCTION"),
        ("CREATE TABLE u (g GEOGRAPHY)", "does not support the type GEOGRAPHY"),
        ("CREATE TABLE u (a STRING(10))", "does not support the parameterised type"),
        (
            "CREATE TABLE u (d DATE) PARTITION BY _PARTITIONDATE",
            "does not support tables partitioned by ingestion time",
        ),
        (
            "CREATE TABLE u (d DATE) PARTITION BY d OPTIONS (require_partition_filter = true)",
            "does not support the option require_partition_filter",
        ),
        ("CREATE TABLE `t$20260101` (a INT64)", "does not support the partition decorator"),
        ("SELECT FROM t", "Syntax error"),
        ("SELECT 'abc", "Unclosed string literal"),
        ("SELECT * FROM `events_*`", "does not support the wildcard table"),
    ],
)
def test_a_statement_is_refused_with_a_reason(run: Any, sql: str, complaint: str) -> None:
    """What BigQuery refuses is refused in its words; what is missing here says so."""
    run("CREATE TABLE t AS SELECT 'a' AS k, 1 AS v")
    with pytest.raises(exceptions.GoogleAPICallError, match=complaint):
        run(sql)
    assert run("SELECT * FROM t") == [("a", 1)]


def test_a_script_in_a_transaction_does_all_or_nothing(run: Any) -> None:
    """An error after two changes takes both back; the reader sees neither meanwhile."""
    run("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(exceptions.BadRequest, match=r"Query error: enough at \[3:1\]"):
        run(
            "BEGIN TRANSACTION; INSERT t VALUES (2);\nDELETE FROM t WHERE a = 1;\n"
            "SELECT ERROR('enough');\nCOMMIT TRANSACTION;"
        )
    assert run("SELECT a FROM t") == [(1,)]
    run("BEGIN; INSERT t VALUES (2); ROLLBACK; BEGIN TRANSACTION; INSERT t VALUES (3); COMMIT")
    assert run("SELECT a FROM t ORDER BY a") == [(1,), (3,)]
    run("BEGIN TRANSACTION; INSERT t VALUES (4)")
    assert run("SELECT COUNT(*) FROM t") == [(2,)]


def test_variables_of_a_script_have_values_of_any_type(run: Any) -> None:
    """DECLARE and SET, also from a query."""
    run("CREATE TABLE t AS SELECT * FROM UNNEST([1, 2, 3]) AS a")
    assert run(
        "DECLARE most, least INT64; DECLARE names ARRAY<STRING> DEFAULT ['x']; "
        "SET most = (SELECT MAX(a) FROM t); SELECT a, names[OFFSET(0)], least FROM t WHERE a = most"
    ) == [(3, "x", None)]


def test_tables_are_created_replaced_cloned_altered_and_dropped(
    client: bigquery.Client, run: Any, dataset: str
) -> None:
    """DDL, and what the catalogue says afterwards."""
    run(
        """CREATE TABLE t (ts TIMESTAMP NOT NULL OPTIONS (description = 'when'), l ARRAY<STRUCT<a INT64, j JSON>>)
        PARTITION BY DATE(ts) CLUSTER BY ts OPTIONS (description = 'all', labels = [('a', 'b')])"""
    )
    table = client.get_table(f"demo.{dataset}.t")
    assert (table.time_partitioning.field, table.clustering_fields) == ("ts", ["ts"])
    assert (table.description, table.labels) == ("all", {"a": "b"})
    assert (table.schema[0].mode, table.schema[0].description, table.schema[1].mode) == (
        "REQUIRED",
        "when",
        "REPEATED",
    )
    run("ALTER TABLE t ADD COLUMN IF NOT EXISTS n NUMERIC, ADD COLUMN IF NOT EXISTS l STRING")
    run("INSERT t (ts) VALUES (TIMESTAMP '2026-01-01 00:00:00+00')")
    run("CREATE TABLE c CLONE t; DROP TABLE t; DROP TABLE IF EXISTS t")
    assert run("SELECT l, n FROM c") == [([], None)]
    run("CREATE TABLE IF NOT EXISTS c AS SELECT 1 AS other")
    run("CREATE OR REPLACE TABLE c AS SELECT COUNT(*) AS n FROM c")
    assert run("SELECT n FROM c") == [(1,)]
    with pytest.raises(exceptions.Conflict, match="Already Exists: Table"):
        run("CREATE TABLE c AS SELECT 1 AS a")
    run("CREATE VIEW v AS SELECT n + 1 AS m FROM c; CREATE TEMP TABLE x AS SELECT m FROM v; SELECT * FROM x")
    assert run("SELECT m FROM v") == [(2,)]
    assert client.get_table(f"demo.{dataset}.v").table_type == "VIEW"
    assert run("SELECT table_name, table_type FROM INFORMATION_SCHEMA.TABLES ORDER BY 1") == [
        ("c", "BASE TABLE"),
        ("v", "VIEW"),
    ]
    assert run(
        f"SELECT column_name, data_type FROM `demo.{dataset}.INFORMATION_SCHEMA.COLUMNS` WHERE table_name = 'c'"
    ) == [("n", "INT64")]


def test_a_query_may_replace_the_table_it_reads(client: bigquery.Client, run: Any, dataset: str) -> None:
    """A destination with WRITE_TRUNCATE, then an append."""
    run("CREATE TABLE t AS SELECT 1 AS a")
    for disposition, sql in (
        ("WRITE_TRUNCATE", "SELECT a + 1 AS a FROM t"),
        ("WRITE_APPEND", "SELECT a * 10 AS a FROM t"),
    ):
        run(sql, destination=f"demo.{dataset}.t", write_disposition=disposition)
    assert run("SELECT a FROM t ORDER BY a") == [(2,), (20,)]
    with pytest.raises(exceptions.Conflict):
        run("SELECT 1 AS a", destination=f"demo.{dataset}.t")


def test_names_with_dashes_and_backticks_are_read_in_every_spelling(client: bigquery.Client) -> None:
    """`p-x.d.t`, `p-x`.`d`.`t`, p-x.d.t and d.t."""
    name = f"d{uuid.uuid4().hex[:8]}"
    client.create_dataset(bigquery.Dataset(f"my-project.{name}"))
    client.query(f"CREATE TABLE `my-project.{name}.t` AS SELECT 1 AS a").result()
    for spelling in (
        f"`my-project.{name}.t`",
        f"`my-project`.`{name}`.`t`",
        f"my-project.{name}.t",
        f"`my-project.{name}`.t",
    ):
        assert [tuple(row) for row in client.query(f"SELECT t.a FROM {spelling}").result()] == [(1,)]


def test_an_upload_in_pieces_is_one_file(
    server: BigQueryServer, client: bigquery.Client, dataset: str
) -> None:
    """308 with the range so far after each piece, the job after the last; a wrong offset is refused."""
    job = {
        "jobReference": {"projectId": "demo", "jobId": f"{dataset}-pieces"},
        "configuration": {
            "load": {
                "sourceFormat": "CSV",
                "destinationTable": {"projectId": "demo", "datasetId": dataset, "tableId": "t"},
                "schema": {"fields": [{"name": "a", "type": "INTEGER"}]},
            }
        },
    }
    start = f"{server.url}/upload/bigquery/v2/projects/demo/jobs?uploadType=resumable"
    url = requests.post(start, json=job, timeout=30).headers["Location"]

    def send(data: bytes, span: str) -> requests.Response:
        return requests.put(url, data=data, headers={"Content-Range": f"bytes {span}"}, timeout=30)

    first = send(b"1\n2", "0-2/*")
    assert (first.status_code, first.headers["Range"]) == (308, "bytes=0-2")
    assert send(b"", "*/*").headers["Range"] == "bytes=0-2"
    assert send(b"x", "9-9/*").status_code == 400
    assert send(b"3\n4\n", "3-6/7").json()["jobReference"]["jobId"] == f"{dataset}-pieces"
    client.get_job(f"{dataset}-pieces").result()
    assert [row["a"] for row in client.list_rows(f"demo.{dataset}.t")] == [1, 23, 4]
    assert send(b"", "*/*").status_code == 404


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "format = 'JSON'",
            b'{"i":"1","j":{"a":1.0},"l":["x"],"t":"2026-01-01 00:00:00 UTC"}\n{"i":"2","l":[]}\n',
        ),
        ("format = 'CSV', header = false", b'1,"{""a"":1.0}"\n2,\n'),
    ],
)
def test_export_data_writes_objects(
    server: BigQueryServer, run: Any, dataset: str, options: str, expected: bytes
) -> None:
    """INT64 as text, NULL left out, JSON as JSON; one file, numbered."""
    server.put("x", b"")
    columns = "i, j, l, t" if "JSON" in options else "i, j"
    rows = """UNNEST([STRUCT(1 AS i, JSON '{"a": 1.0}' AS j, ['x'] AS l, TIMESTAMP '2026-01-01 00:00:00+00' AS t),
        (2, NULL, [], NULL)])"""
    uri = f"gs://lake/{dataset}/out-*.txt"
    sql = f"EXPORT DATA OPTIONS (uri = '{uri}', {options}) AS SELECT {columns} FROM {rows} ORDER BY i"
    run(sql)
    assert server.read(f"{dataset}/out-000000000000.txt") == expected
    with pytest.raises(exceptions.BadRequest, match="already files at"):
        run(sql)
    run(sql.replace("OPTIONS (", "OPTIONS (overwrite = true, "))


def test_parquet_goes_out_and_comes_in_again_and_tables_are_copied_and_extracted(
    server: BigQueryServer, client: bigquery.Client, run: Any, dataset: str
) -> None:
    """EXPORT DATA, a load, a copy job and an extract job."""
    server.put("x", b"")
    run("CREATE TABLE t AS SELECT 1 AS i, 'x' AS s, JSON '{\"a\": 1}' AS j, [DATE '2026-01-01'] AS d")
    run(
        f"EXPORT DATA OPTIONS (uri = 'gs://lake/{dataset}/p-*.parquet', format = 'PARQUET') AS SELECT * FROM t"
    )
    config = bigquery.LoadJobConfig(
        source_format="PARQUET", schema=client.get_table(f"demo.{dataset}.t").schema
    )
    client.load_table_from_uri(f"gs://lake/{dataset}/p-*", f"demo.{dataset}.u", job_config=config).result()
    assert run("SELECT * FROM u") == run("SELECT * FROM t")
    client.copy_table(f"demo.{dataset}.u", f"demo.{dataset}.w").result()
    client.extract_table(
        f"demo.{dataset}.w",
        f"gs://lake/{dataset}/e-*.json",
        job_config=bigquery.ExtractJobConfig(destination_format="NEWLINE_DELIMITED_JSON"),
    ).result()
    assert json.loads(server.read(f"{dataset}/e-000000000000.json")) == {
        "i": "1",
        "s": "x",
        "j": {"a": 1},
        "d": ["2026-01-01"],
    }


def test_readers_and_writers_at_once_lose_nothing(client: bigquery.Client, run: Any, dataset: str) -> None:
    """Eight threads insert, merge and count."""
    run("CREATE TABLE t (k INT64, n INT64)")

    def work(worker: int) -> None:
        for turn in range(3):
            client.query(f"INSERT {dataset}.t VALUES ({worker}, {turn})").result()
            client.query(
                f"MERGE {dataset}.t USING (SELECT {worker} AS k) AS s ON t.k = s.k AND t.n = {turn} "
                "WHEN MATCHED THEN UPDATE SET n = t.n + 100"
            ).result()
            next(iter(client.query(f"SELECT COUNT(*) FROM {dataset}.t").result()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert run("SELECT COUNT(*), SUM(n) FROM t") == [(24, 8 * (100 + 101 + 102))]


def test_the_discovery_document_drives_googles_generic_client(server: BigQueryServer, dataset: str) -> None:
    """What bq reads: its methods work, a load with a file included."""
    from google.auth.credentials import AnonymousCredentials
    from googleapiclient.discovery import build_from_document
    from googleapiclient.http import MediaInMemoryUpload

    document = requests.get(f"{server.url}/$discovery/rest?version=v2", timeout=30).json()
    service = build_from_document(document, credentials=AnonymousCredentials())
    try:
        body = {
            "configuration": {
                "load": {
                    "sourceFormat": "CSV",
                    "destinationTable": {"projectId": "demo", "datasetId": dataset, "tableId": "t"},
                    "schema": {"fields": [{"name": "a", "type": "INTEGER"}]},
                }
            }
        }
        for resumable in (False, True):
            media = MediaInMemoryUpload(b"1\n2\n", mimetype="application/octet-stream", resumable=resumable)
            job = service.jobs().insert(projectId="demo", body=body, media_body=media).execute()
            server.warehouse.jobs.wait("demo", job["jobReference"]["jobId"], seconds=30)
        answer = (
            service.jobs()
            .query(
                projectId="demo", body={"query": f"SELECT COUNT(*) FROM {dataset}.t", "useLegacySql": False}
            )
            .execute()
        )
        assert answer["rows"] == [{"f": [{"v": "4"}]}]
        assert service.tables().list(projectId="demo", datasetId=dataset).execute()["totalItems"] == 1
    finally:
        service.close()


# Restarts

_DOOMED = """
import sys, pathlib
from airflow_batch_gemini.local.bigquery import Warehouse
from airflow_batch_gemini.local.storage.store import Storage

root = pathlib.Path(sys.argv[1])
warehouse = Warehouse(root / "w.duckdb", Storage(root / "s"))
warehouse.create_dataset("demo", "d")

def query(job_id, sql):
    body = {"jobReference": {"jobId": job_id}, "configuration": {"query": {"query": sql, "useLegacySql": False}}}
    warehouse.jobs.insert("demo", body)

query("first", "CREATE TABLE d.t AS SELECT 1 AS a")
warehouse.jobs.wait("demo", "first", seconds=60)
query("failed", "SELECT nope")
warehouse.jobs.wait("demo", "failed", seconds=60)
query("endless", '''BEGIN TRANSACTION; INSERT d.t VALUES (2);
    INSERT d.t SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) a, UNNEST(GENERATE_ARRAY(1, 1000000)) b
    WHERE a * b = -1; COMMIT TRANSACTION''')
print("ready", flush=True)
sys.stdin.read()
"""


def test_after_a_kill_the_tables_stand_the_running_job_has_failed_and_every_id_is_taken(
    tmp_path: Path,
) -> None:
    """kill -9 in the middle of a transaction."""
    from airflow_batch_gemini.local.bigquery import BigQueryError, Warehouse
    from airflow_batch_gemini.local.storage.store import Storage

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", _DOOMED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    with Storage(tmp_path / "s") as storage, Warehouse(tmp_path / "w.duckdb", storage) as warehouse:
        assert list(warehouse.read_rows("demo", "d", "t")) == [[{"a": 1}]]
        job = warehouse.jobs.get("demo", "endless")
        assert job.state == "DONE"
        assert job.error is not None
        assert "was stopped while the job was running" in job.error["message"]
        for taken in ("first", "failed", "endless"):
            body = {"jobReference": {"jobId": taken}, "configuration": {"query": {"query": "SELECT 1"}}}
            with pytest.raises(BigQueryError, match="Already Exists: Job"):
                warehouse.jobs.insert("demo", body)


def test_a_job_that_committed_before_the_crash_is_found_done(tmp_path: Path) -> None:
    """The note in the same transaction as the work decides, not the registry."""
    from airflow_batch_gemini.local.bigquery import Warehouse
    from airflow_batch_gemini.local.bigquery.registry import Job
    from airflow_batch_gemini.local.storage.store import Storage

    with Storage(tmp_path / "s") as storage:
        with Warehouse(tmp_path / "w.duckdb", storage) as warehouse:
            warehouse.create_dataset("demo", "d")
            sql = "CREATE TABLE d.t AS SELECT 1 AS a"
            body = {
                "jobReference": {"jobId": "told"},
                "configuration": {"query": {"query": sql, "useLegacySql": False}},
            }
            warehouse.jobs.insert("demo", body)
            warehouse.jobs.wait("demo", "told", seconds=60)
            done = warehouse.jobs.get("demo", "told")
            running = Job(done.project, done.id, done.location, done.created, "RUNNING", done.doc)
            lost = Job(done.project, "lost", done.location, done.created, "RUNNING", done.doc)
            registry = warehouse.jobs._registry
            registry.save(running)
            registry.add(lost)
        with Warehouse(tmp_path / "w.duckdb", storage) as warehouse:
            assert (warehouse.jobs.get("demo", "told").state, warehouse.jobs.get("demo", "told").error) == (
                "DONE",
                None,
            )
            assert warehouse.jobs.get("demo", "lost").error is not None
