"""Where rows come from, through the prepare operator against the local cloud: the same every time, or nothing."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence
from airflow.serialization.serialized_objects import DagSerialization
from job_side import context
from prepare_side import JSONL, ROWS, KilledError, Place, Ti, expected

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch import rows as reading
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    NothingPaidError,
    RowError,
    SourceError,
    TemplateError,
)
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators import _files, _rows
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

DAY = GeminiTemplate(prompt="{text} on {day}")


def native(place: Place) -> dict[str, Any]:
    return {"requests_dataset": place.dataset}


def everything(place: Place, manifest: Manifest) -> list[dict[str, Any]]:
    """All requests, wherever they lie."""
    if manifest.requests == "gcs":
        return [line for part in place.lines(manifest) for line in part]
    return [row for part in manifest.parts for row in place.rows(part.uri)]


def text_of(line: Mapping[str, Any]) -> str:
    return str(line["request"]["contents"][0]["parts"][0]["text"])


# ------------------------------------------------------------------------------------------------------ BigQuery

PARAMETERS: dict[str, Any] = {
    "quote": "it's; -- @n",
    "n": {"value": "{{ params.n }}", "type": "INT64"},
    "numbers": [1, 3],
    "tags": {"value": "{{ params.tags | tojson }}", "type": "ARRAY<STRING>"},
    "day": dt.date(2026, 1, 2),
    "none": {"value": None, "type": "STRING"},
}
PARAMETRISED = (
    "SELECT CONCAT('row-', CAST(i AS STRING)) AS key, @quote AS text,\n"
    "  CONCAT(CAST(@day AS STRING), ' ', ARRAY_TO_STRING(@tags, '+'), IFNULL(@none, '!')) AS day\n"
    "FROM UNNEST(@numbers) AS i WHERE i <= @n"
)


def rendered(place: Place, **arguments: Any) -> GeminiBatchPrepareOperator:
    """The operator as Airflow hands it to the worker."""
    operator = place.operator(**arguments)
    operator.render_template_fields({"params": {"n": 1, "tags": ["a", "b'"]}, "ds": "2026-01-02"})
    return operator


@pytest.mark.parametrize("where", ["worker", "bigquery"])
def test_a_query_takes_parameters_as_values_and_never_as_text(place: Place, where: str) -> None:
    """Typed by what they are or by what is said; rendered from the run's params; in BigQuery alone too."""
    more = native(place) if where == "bigquery" else {}
    operator = rendered(place, sql=PARAMETRISED, parameters=PARAMETERS, template=DAY, **more)
    operator.execute({"ti": Ti()})  # type: ignore[typeddict-item]
    manifest = place.manifest()
    assert manifest is not None
    [line] = everything(place, manifest)
    assert (line["key"], text_of(line)) == ("k_row-1", "it's; -- @n on 2026-01-02 a+b'!")
    operator.execute({"ti": Ti()})  # type: ignore[typeddict-item]
    again = place.manifest()
    assert again is not None
    assert again.fingerprint(0) == manifest.fingerprint(0)


def test_parameters_are_refused_by_name_before_anything_is_asked(place: Place) -> None:
    """When the DAG is parsed where they are plain, when the task runs where they were rendered."""
    with pytest.raises(ConfigurationError, match=r"Query parameter 'x'") as caught:
        place.operator(sql="SELECT @x", parameters={"x": {"value": "secret", "type": "INT64"}})
    assert "secret" not in str(caught.value)
    late = {"x": {"value": "{{ params.tags[1] }}", "type": "INT64"}}
    with pytest.raises(ConfigurationError, match=r"Query parameter 'x'.*INT64"):
        rendered(place, sql="SELECT @x", parameters=late).execute({"ti": Ti()})  # type: ignore[typeddict-item]
    with pytest.raises(ConfigurationError, match="parameters= wants a dict"):
        rendered(place, sql="SELECT 1", parameters="{{ ds }}").execute({"ti": Ti()})  # type: ignore[typeddict-item]
    for arguments in (native(place), {}):
        with pytest.raises(SourceError, match="BigQuery") as missing:
            place.prepare(sql="SELECT 'a' AS key, @gone AS text", parameters={"x": "secret"}, **arguments)
        assert "secret" not in str(missing.value)


def test_a_table_is_a_source_of_which_only_what_is_needed_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same requests as from the query for all of it, in both ways of preparing."""
    table = f"{place.dataset}.rows"
    run = place.warehouse.client("demo").query_and_wait
    run(f"CREATE TABLE `{table}` AS SELECT 'a' AS key, 'x' AS text, '1' AS day, 'unused' AS more")
    whole = place.prepare(sql=f"SELECT * FROM `{table}`", template=DAY)
    statements = []
    query_rows = WarehouseHook.query_rows

    def seen(self: WarehouseHook, sql: str, **more: Any) -> Any:
        statements.append(sql)
        return query_rows(self, sql, **more)

    monkeypatch.setattr(WarehouseHook, "query_rows", seen)
    streamed = place.prepare(source_table=table.removeprefix("demo."), template=DAY)
    assert streamed.parts == whole.parts
    assert len(statements) == 1
    assert "SELECT `key`, `text`, `day` FROM" in statements[0]
    lines = everything(place, streamed)
    made = place.prepare(source_table=table, template=DAY, **native(place))
    assert everything(place, made) == lines != []
    bare = f"{place.dataset}.bare"
    run(f"CREATE TABLE `{bare}` AS SELECT 'a' AS key")
    with pytest.raises(TemplateError, match=rf"'text' is no column of {bare}\. Its columns: key\."):
        place.prepare(source_table=bare, template=DAY)
    with pytest.raises(SourceError, match=r"no table demo\.\w+\.none"):
        place.prepare(source_table=f"{place.dataset}.none")


# ---------------------------------------------------------------------------------------------------------- files


def parquet(*rows: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), data)
    return data.getvalue()


def test_a_partitioned_folder_gives_its_columns_from_the_path(place: Place, tmp_path: Path) -> None:
    """In the order of names; on Cloud Storage and elsewhere; marks and temporary files are passed over."""
    files = {
        "day=2026-01-02/country=D%2FE/part-0.parquet": parquet({"key": "b", "text": "x"}),
        "day=2026-01-01/country=AT/part-1.parquet": parquet({"key": "a", "text": "x"}),
        "day=__HIVE_DEFAULT_PARTITION__/country=AT/part-0.parquet": parquet({"key": "c", "text": "x"}),
        "_SUCCESS": b"",
        "_temporary/0/part-9.parquet": parquet({"key": "d", "text": "x"}),
        "day=2026-01-01/country=AT/.part-1.parquet.crc": b"crc",
    }
    for name, data in files.items():
        place.put(f"rows/{name}", data)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    template = GeminiTemplate(prompt="{text} {day} {country}", null_as="-")
    manifest = place.prepare(source_uri=f"gs://{place.bucket}/rows/", template=template)
    assert [(line["key"], text_of(line)) for line in everything(place, manifest)] == [
        ("k_a", "x 2026-01-01 AT"),
        ("k_b", "x 2026-01-02 D/E"),
        ("k_c", "x - AT"),
    ]
    for uri in (f"gs://{place.bucket}/rows/day=*/**/*.parquet", f"file://{tmp_path}/"):
        assert place.prepare(source_uri=uri, template=template).parts == manifest.parts


def test_a_table_that_keeps_rows_it_no_longer_has_is_not_read_as_files(place: Place) -> None:
    """Deleted rows would be paid for."""
    place.put("t/data/part-0.parquet", parquet({"key": "a", "text": "x"}))
    place.put("t/metadata/00001-x.metadata.json", b"{}")
    for uri in ("t/", "t/data/", "t/**/*.parquet", "t/data/*.parquet"):
        with pytest.raises(SourceError, match=r"Iceberg table.*sql="):
            place.prepare(source_uri=f"gs://{place.bucket}/{uri}", template=GeminiTemplate(prompt="{text}"))
    assert place.files() == []


def test_compressed_files_and_several_uris_are_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a file whose encoding only Cloud Storage knows; each once, in the order of the URIs, in any bites."""
    monkeypatch.setattr(_rows, "_FETCH_BYTES", 64)
    lines = JSONL.splitlines(keepends=True)
    one = place.put("one.jsonl.gz", gzip.compress(b"".join(lines[:2])))
    place.put("more/b.jsonl.bz2", bz2.compress(lines[3]))
    place.put("more/a.jsonl", lines[2])
    encoded = place.storage.client().bucket(place.bucket).blob("encoded.jsonl")
    encoded.content_encoding = "gzip"
    encoded.upload_from_string(gzip.compress(b"".join(lines[4:])))
    uris = [one, f"gs://{place.bucket}/more/*", f"gs://{place.bucket}/encoded.jsonl", one]
    manifest = place.prepare(source_uri=uris)
    assert everything(place, manifest) == [expected(row) for row in ROWS]
    cut = place.put("cut.jsonl.gz", gzip.compress(JSONL * 100)[:-50])
    with pytest.raises(SourceError, match=r"cut\.jsonl\.gz cannot be read as gzip"):
        place.prepare(source_uri=cut)
    assert place.files() == []


def test_what_a_mapped_task_returns_is_several_uris(place: Place) -> None:
    """Airflow hands it over as a sequence of its own, fetched one by one."""

    class Returned(Sequence[str]):
        def __init__(self, *uris: str) -> None:
            self._uris = uris

        def __len__(self) -> int:
            return len(self._uris)

        def __getitem__(self, place: Any) -> Any:
            return self._uris[place]

    assert issubclass(LazyXComSequence, Sequence)
    lines = JSONL.splitlines(keepends=True)
    uris = [place.put(f"{n}.jsonl", line) for n, line in enumerate(lines)]
    manifest = place.prepare(source_uri=Returned(*uris))
    assert everything(place, manifest) == [expected(row) for row in ROWS]


# ------------------------------------------------------------------------------------------------- Python functions


def test_a_function_yields_rows_and_is_called_anew_in_every_attempt(place: Place) -> None:
    """With its arguments and what it names of the context; two attempts give the same bytes."""
    calls = []

    def rows(count: int, *, first: int, ti: Ti) -> Iterator[dict[str, Any]]:
        calls.append(ti.task_id)
        yield from ROWS[first : first + count]

    arguments = {"rows": rows, "op_args": [3], "op_kwargs": {"first": 2}}
    first, second = place.prepare(**arguments), place.prepare(**arguments)
    assert everything(place, second) == [expected(row) for row in ROWS[2:5]]
    assert (first.parts, first.fingerprint(0)) == (second.parts, second.fingerprint(0))
    assert calls == ["prepare", "prepare"]


def broken(error: BaseException) -> Callable[[], Iterator[dict[str, Any]]]:
    def rows() -> Iterator[dict[str, Any]]:
        for i in range(7):
            yield {"key": str(i), "text": "secret", "file": None}
        raise error

    return rows


FAILURES = [
    (KeyError("secret"), NothingPaidError, r"rows= raised KeyError at row 8"),
    (AirflowSkipException("not today"), AirflowSkipException, "not today"),
    (KilledError("killed"), KilledError, "killed"),
]


@pytest.mark.parametrize(("error", "seen", "message"), FAILURES)
def test_a_function_that_fails_on_its_way_leaves_nothing(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    seen: type[BaseException],
    message: str,
) -> None:
    """After parts of its rows were written; what an earlier preparation had left went first."""
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 2)
    place.prepare(source_uri=place.put("a.jsonl", JSONL))
    with pytest.raises(seen, match=message):
        place.prepare(rows=broken(error), max_rows_per_part=2)
    assert place.files() == []


def test_rows_of_a_function_are_held_to_the_rules_of_all_rows(place: Place) -> None:
    """A column that none has, a key used twice, no row, what is no row."""
    cases: list[tuple[list[Any], type[Exception], str]] = [
        ([{"key": "a", "body": "secret"}], TemplateError, "'text' is no column of rows="),
        ([{"key": "a", "text": "x"}] * 2, RowError, "GB122 rows= row 2, key 'a'"),
        ([], SourceError, "rows= has no rows"),
        (["secret"], SourceError, "yielded a str as row 1"),
    ]
    for rows, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            place.prepare(rows=lambda rows=rows: iter(rows), template=GeminiTemplate(prompt="{text}"))
        assert "secret" not in str(caught.value)
        assert place.files() == []


# ---------------------------------------------------------------------------------------------- ready-made requests

HELLO = {"contents": [{"role": "user", "parts": [{"text": "h\u00e9llo"}]}]}
REQUEST = json.dumps(HELLO)


def test_ready_made_requests_are_taken_as_they_are(place: Place) -> None:
    """From files, keyed or not, and from a function; twice the same bytes; another request is another fingerprint."""
    lines = [f'{{"request": {REQUEST}}}', f'{{"key": "a", "request": {REQUEST}}}', REQUEST]
    uri = place.put("ready.jsonl", "\n".join(lines).encode())
    first, second = (place.prepare(template=None, source_uri=uri) for _ in range(2))
    stored = place.storage.read(GcsUri.parse(first.parts[0].uri))
    assert stored is not None
    assert stored.data.decode().splitlines() == [
        f'{{"key":"k_{key}","request":{REQUEST}}}' for key in ("row-0000000001", "a", "row-0000000003")
    ]
    assert (first.parts, first.fingerprint(0)) == (second.parts, second.fingerprint(0))
    assert (first.response_schema, first.template_fingerprint) == (None, "ready-made")
    rows = [{"request": HELLO}, {"key": "a", "request": REQUEST}, HELLO]
    assert everything(place, place.prepare(template=None, rows=lambda: rows)) == everything(place, first)
    other = place.put("other.jsonl", "\n".join(lines).replace("user", "model").encode())
    assert place.prepare(template=None, source_uri=other).fingerprint(0) != first.fingerprint(0)


@pytest.mark.parametrize("kind", ["JSON", "STRING"])
def test_ready_made_requests_of_a_query_are_the_same_in_both_ways(place: Place, kind: str) -> None:
    """A column of type JSON, or of text that holds it; the rows of a query have no order, so they have keys."""
    value = f"JSON '''{REQUEST}'''" if kind == "JSON" else f"'''{REQUEST}'''"
    table = f"{place.dataset}.ready"
    place.warehouse.client("demo").query_and_wait(
        f"CREATE TABLE `{table}` AS SELECT key, {value} AS request, 1 AS more FROM UNNEST(['b', 'a']) AS key"
    )
    for source in ({"sql": f"SELECT * FROM `{table}`"}, {"source_table": table}):
        streamed = everything(place, place.prepare(template=None, **source))
        made = place.prepare(template=None, **source, **native(place))
        assert streamed == [{"key": f"k_{key}", "request": HELLO} for key in "ab"]
        assert everything(place, made) == streamed
        again = place.prepare(template=None, **source, **native(place))
        assert again.fingerprint(0) == made.fingerprint(0)


BAD_READY = [
    ("'secret' AS request", SourceError, "no JSON object"),
    ("JSON '[1]' AS request", SourceError, "no JSON object"),
    ("JSON 'null' AS request", SourceError, "no JSON object"),
    ("CAST(NULL AS STRING) AS request", SourceError, "no JSON object"),
    ("1 AS request", SourceError, "no JSON object|of type INT64"),
    ("JSON '{\"secret\": 1}' AS request", RowError, "GB106"),
    (f'JSON \'{REQUEST[:-1]}, "cachedContent": "secret"}}\' AS request', RowError, "GB105"),
    ('JSON \'{"contents": [{"role": "secret", "parts": [{"text": "x"}]}]}\' AS request', RowError, "GB107"),
    (
        f'JSON \'{REQUEST[:-1]}, "tools": [{{"retrieval": {{"vertexRagStore": {{"a": 1}}}}}}]}}\' AS request',
        RowError,
        "GB114",
    ),
    ("'x' AS body", SourceError, "no column 'request'"),
    (f"'{REQUEST}' AS request, 'secret' AS status", SourceError, "'status' beside"),
]


@pytest.mark.parametrize("where", ["worker", "bigquery"])
@pytest.mark.parametrize(("columns", "error", "message"), BAD_READY)
def test_a_row_that_is_no_request_is_told_in_both_ways(
    place: Place, columns: str, error: type[Exception], message: str, where: str
) -> None:
    """And leaves neither files nor tables."""
    more = native(place) if where == "bigquery" else {}
    with pytest.raises(error, match=message) as caught:
        place.prepare(template=None, sql=f"SELECT 'a' AS key, {columns}".replace("\\", "\\\\"), **more)
    assert "secret" not in str(caught.value)
    assert place.files() == []
    assert place.tables() == []


def test_rows_of_a_query_need_a_key(place: Place) -> None:
    """Without one they could not be called the same again."""
    with pytest.raises(RowError, match="GB121"):
        place.prepare(
            template=None,
            sql=f"SELECT CAST(NULL AS STRING) AS key, '{REQUEST}' AS request".replace("\\", "\\\\"),
        )
    place.warehouse.client("demo").query_and_wait(
        f"CREATE TABLE `{place.dataset}.bare` AS SELECT JSON '{{}}' AS request"
    )
    with pytest.raises(SourceError, match=r"no column 'key'.*key_column="):
        place.prepare(template=None, source_table=f"{place.dataset}.bare")


def test_ready_made_requests_are_answered_and_loaded_as_text(place: Place, cloud: LocalCloud) -> None:
    """From the first row to the results table; what schema an answer follows is the request's own affair."""
    lines = [{"request": HELLO}, {"key": "b", "request": HELLO}]
    uri = place.put("ready.jsonl", "\n".join(map(json.dumps, lines)).encode())
    manifest = place.prepare(template=None, source_uri=uri)
    submit = GeminiBatchSubmitOperator(task_id="submit", batch=manifest.to_xcom()[0])
    submit.execute(context())
    cloud.settle()
    table = f"{place.dataset}.results"
    load = GeminiBatchLoadOperator(
        task_id="load", batch=manifest.to_xcom(), results_table=table, poll_interval=0, timeout=60
    )
    load.execute(context(ds="2026-09-01", outlet_events={}))
    found = {row["key"]: (row["text"] is not None, row["answer"]) for row in place.rows(table)}
    assert found == {"row-0000000001": (True, None), "b": (True, None)}


@pytest.mark.parametrize("source", ["files", "function", "table"])
def test_a_killed_preparation_of_any_source_leaves_nothing_that_looks_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Killed when some parts are written and others are not; the next attempt is as if it had been the first."""
    arguments: dict[str, Any] = {"template": None, "max_rows_per_part": 2}
    lines = [{"key": str(i), "request": HELLO} for i in range(6)]
    if source == "files":
        for i, line in enumerate(lines):
            place.put(f"ready/day={i}/part.jsonl", json.dumps(line).encode())
        arguments["source_uri"] = f"gs://{place.bucket}/ready/"
    elif source == "function":
        arguments["rows"] = lambda: iter(lines)
    else:
        place.warehouse.client("demo").query_and_wait(
            f"CREATE TABLE `{place.dataset}.ready` AS SELECT CAST(i AS STRING) AS key, "
            f"JSON '''{REQUEST}''' AS request FROM UNNEST(GENERATE_ARRAY(0, 5)) AS i"
        )
        arguments["source_table"] = f"{place.dataset}.ready"
    first = place.prepare(**arguments)
    write, written = WorkspaceHook.writer, []

    def killed(self: WorkspaceHook, uri: GcsUri, **more: Any) -> Any:
        written.append(uri)
        if len(written) == 3:
            raise KilledError
        return write(self, uri, **more)

    with monkeypatch.context() as patch:
        patch.setattr(WorkspaceHook, "writer", killed)
        patch.setattr(WorkspaceHook, "delete", lambda *_, **__: True)  # nothing is tidied up after kill -9
        patch.setattr(_files.RequestFiles, "_take_away", lambda _: None)
        place.storage.client().bucket(place.bucket).blob(place.folder.manifest.name).delete()
        for file in place.files():
            place.storage.client().bucket(place.bucket).blob(f"{place.folder.folder.name}/{file}").delete()
        with pytest.raises(KilledError):
            place.prepare(**arguments)
    assert place.manifest() is None
    assert place.files() == ["requests/part-00000.jsonl", "requests/part-00001.jsonl"]
    again = place.prepare(**arguments)
    assert (again.parts, again.fingerprint(0)) == (first.parts, first.fingerprint(0))


def test_progress_tells_the_time_that_is_left_where_the_size_is_known(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files by their bytes, compressed or not, of queries by their rows; a function's end nobody knows."""
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(_files, "PROGRESS_SECONDS", 0.0)
    uris = [place.put("a.jsonl.gz", gzip.compress(JSONL)), place.put("b.csv", b"key,text,file\nx,y,\n")]
    uris.append(place.put("c.parquet", parquet({"key": "z", "text": "y", "file": None})))
    sources: list[tuple[dict[str, Any], bool]] = [
        ({"source_uri": uris}, True),
        (
            {"sql": "SELECT CAST(i AS STRING) AS key, 't' AS text, '' AS file FROM UNNEST([1, 2, 3]) AS i"},
            True,
        ),
        ({"rows": lambda: iter(ROWS)}, False),
    ]
    for source, known in sources:
        place.prepare(**source)
        lines = [line for line in capsys.readouterr().out.splitlines() if "B/s, " in line]
        assert len(lines) >= 3
        assert all((" left." in line) is known for line in lines if "so far" in line), lines
        assert " left." not in lines[-1]


# ------------------------------------------------------------------------------------------------------- arguments

MISFITS: list[tuple[dict[str, Any], str]] = [
    ({}, "give one"),
    ({"sql": "SELECT 1", "rows": list}, "give one"),
    ({"source_uri": "gs://bucket/a.jsonl", "parameters": {"a": 1}}, "parameters= goes with sql="),
    ({"source_table": "d.t", "parameters": {"a": 1}}, "parameters= goes with sql="),
    ({"sql": "SELECT 1", "op_kwargs": {"a": 1}}, "op_kwargs= goes with rows="),
    ({"rows": [{"key": "a"}]}, "function that yields"),
    ({"rows": list, "requests_dataset": "d"}, "needs sql= or source_table="),
    ({"source_uri": ["gs://bucket/a.jsonl", "gs://BUCKET/a"]}, "bucket"),
    ({"source_table": "nonsense"}, "a table"),
    ({"template": "a prompt", "sql": "SELECT 1"}, "GeminiTemplate"),
]


@pytest.mark.parametrize(("arguments", "message"), MISFITS)
def test_arguments_that_do_not_go_together_are_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    """Before a worker takes it up."""
    with pytest.raises((ConfigurationError, ValueError), match=message):
        GeminiBatchPrepareOperator(
            **{
                "task_id": "prepare",
                "template": DAY,
                "model": "gemini-3.5-flash",
                "location": "us-central1",
                "work_uri": "gs://bucket/gemini",
                **arguments,
            }
        )


def test_a_dag_with_any_source_can_be_serialized(place: Place) -> None:
    """As the DAG processor does it: a function stays behind, its arguments do not."""
    with DAG("sources") as dag:
        place.operator(task_id="a", sql=PARAMETRISED, parameters={**PARAMETERS, "blob": b"\x00"})
        place.operator(task_id="b", rows=lambda n: [], op_kwargs={"n": 1}, template=None)
        place.operator(task_id="c", source_uri=["gs://b-1/a.jsonl", "gs://b-1/b/"])
    data = json.dumps(DagSerialization.to_dict(dag))
    assert "it's; -- @n" in data
