"""The prepare operator against the local cloud: whole or not at all, and the same every time."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from prepare_side import JSONL, ROWS, SQL, TEMPLATE, KilledError, Place, Ti, expected

from airflow_batch_gemini import EmbeddingTemplate, GeminiTemplate, Media, Turn
from airflow_batch_gemini.batch import rows as reading
from airflow_batch_gemini.batch.landing import JobOutcome, outcome_of_error
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.parts import Slice
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    EndpointError,
    InvalidNameError,
    OwnershipLostError,
    RowError,
    ServiceError,
    SourceError,
    TemplateError,
)
from airflow_batch_gemini.hooks import _storage, workspace
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators import _rows, _tables
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._tables import RequestTables
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud


def parquet() -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), data, row_group_size=3)
    return data.getvalue()


def csv() -> bytes:
    rows = (f'{row["key"]},"{row["text"].replace(chr(34), chr(34) * 2)}",{row["file"] or ""}' for row in ROWS)
    return "\n".join(["key,text,file", *rows]).encode()


@pytest.mark.parametrize(("name", "data"), [("a.jsonl", JSONL), ("a.csv", csv()), ("a.parquet", parquet())])
def test_files_on_cloud_storage_become_requests(place: Place, name: str, data: bytes) -> None:
    """One line a row, in order, in parts that fit; the manifest says what was written."""
    manifest = place.prepare(source_uri=place.put(f"rows/{name}", data), max_rows_per_part=3)
    lines = place.lines(manifest)
    assert [len(part) for part in lines] == [3, 3, 1] == [part.rows for part in manifest.parts]
    assert [line for part in lines for line in part] == [expected(row) for row in ROWS]
    stats = [place.storage.stat(GcsUri.parse(part.uri)) for part in manifest.parts]
    assert [(one.size, one.crc32c) for one in stats if one] == [(p.size, p.checksum) for p in manifest.parts]
    assert (manifest.requests, manifest.predictions, manifest.location) == ("gcs", "gcs", "us-central1")
    assert (manifest.project_id, manifest.model) == ("demo", "publishers/google/models/gemini-3.5-flash")
    assert (manifest.template_fingerprint, manifest.response_schema) == (
        TEMPLATE.fingerprint,
        TEMPLATE.vertex_schema,
    )
    named = place.prepare(
        source_uri=place.put(f"rows/{name}", data),
        max_rows_per_part=3,
        template=replace(TEMPLATE, version="v2"),
    )
    assert (manifest.template_version, named.template_version) == (None, "v2")
    assert named.fingerprint(0) == manifest.fingerprint(0)


def test_files_may_be_many_and_lie_elsewhere(place: Place, tmp_path: Path) -> None:
    """A wildcard reads them by name, and any object store will do."""
    lines = JSONL.splitlines(keepends=True)
    for i, line in enumerate(lines):
        place.put(f"rows/{i}.jsonl", line)
        (tmp_path / f"{i}.rows").write_bytes(line)
    there = place.lines(place.prepare(source_uri=f"gs://{place.bucket}/rows/*.jsonl"))
    here = place.lines(place.prepare(source_uri=f"file://{tmp_path}/*.rows", source_format="jsonl"))
    assert there == here == [[expected(row) for row in ROWS]]


def test_a_repeated_preparation_gives_the_same_bytes_and_fingerprints(place: Place) -> None:
    """From a query too, whose rows come in any order; only the manifest's time may differ."""
    for source in ({"sql": SQL}, {"source_uri": place.put("a.jsonl", JSONL)}):
        first = place.prepare(**source, max_rows_per_part=4)
        second = place.prepare(**source, max_rows_per_part=4)
        assert first.parts == second.parts
        assert [first.fingerprint(i) for i in (0, 1)] == [second.fingerprint(i) for i in (0, 1)]
    shuffled = f"SELECT * FROM ({SQL}\n) ORDER BY number DESC"
    assert place.prepare(sql=SQL).parts == place.prepare(sql=shuffled).parts


def test_a_smaller_preparation_leaves_nothing_of_a_larger_one(place: Place) -> None:
    """A person who opens the folder sees one batch."""
    place.prepare(sql=SQL, max_rows_per_part=2)
    assert len(place.files()) == 5
    place.prepare(sql=SQL)
    assert place.files() == ["manifest.json", "requests/part-00000.jsonl"]


def test_bigquery_makes_the_same_requests_without_the_worker(place: Place) -> None:
    """Row for row what the worker would have written; names and counts in the manifest."""
    streamed = place.prepare(sql=SQL)
    [lines] = place.lines(streamed)
    native = place.prepare(sql=SQL, requests_dataset=place.dataset, predictions_dataset=place.dataset)
    [part] = native.parts
    assert part.uri.startswith(f"bq://{place.dataset}.gemini_requests_{native.batch_id}_00000_")
    assert place.rows(part.uri) == lines
    assert (part.rows, part.size) == (7, streamed.size)
    assert (native.requests, native.predictions, native.predictions_dataset) == (
        "bigquery",
        "bigquery",
        place.dataset,
    )
    assert place.files() == ["manifest.json"]
    again = place.prepare(sql=SQL, requests_dataset=place.dataset, predictions_dataset=place.dataset)
    assert again.fingerprint(0) == native.fingerprint(0)


VECTOR = EmbeddingTemplate(content="{text}")
RICH = GeminiTemplate(
    turns=[Turn("user", "Hi {text}"), Turn("model", "{{ho}}")],
    prompt="{text}{number}",
    generation_config={"seed": 7, "thinkingConfig": {"includeThoughts": False}},
    config_columns={"temperature": "heat", "seed": "number", "thinkingConfig.thinkingBudget": "budget"},
    media=[Media(column="files", video_metadata={"fps": 0.5})],
)
RICH_SQL = f"""
SELECT *, IF(number > 3, number / 8, NULL) AS heat, IF(number = 5, 'many', CAST(number AS STRING)) AS budget,
  IF(number = 2, [], ['gs://b/1.mp4', IF(number = 6, 'gs://b/none', 'gs://b/2.mov')]) AS files
FROM (
{SQL}
)
"""


def test_turns_settings_and_lists_of_files_are_the_same_from_the_worker_and_from_bigquery(
    place: Place,
) -> None:
    """Over Google's client and as a statement; what does not fit is told by key and path, the same way."""
    good = f"SELECT * FROM (\n{RICH_SQL}\n) WHERE number < 5"
    [lines] = place.lines(place.prepare(sql=good, template=RICH))
    native = place.prepare(sql=good, template=RICH, requests_dataset=place.dataset)
    assert place.rows(native.parts[0].uri) == lines
    assert lines[4]["request"]["generationConfig"] == {
        "seed": 4,
        "temperature": 0.5,
        "thinkingConfig": {"includeThoughts": False, "thinkingBudget": 4},
    }
    assert [len(line["request"]["contents"][2]["parts"]) for line in lines] == [3, 3, 1, 3, 3]
    for arguments in ({}, {"requests_dataset": place.dataset}):
        for number, rule in ((5, r"GB126 .*key 'row-5', request\.generationConfig\.thinkingConfig\.thinkingBudget"),
                             (6, "GB110 .*key 'row-6'")):  # fmt: skip
            with pytest.raises(RowError, match=rule) as caught:
                place.prepare(
                    sql=f"SELECT * FROM (\n{RICH_SQL}\n) WHERE number IN (1, {number})",
                    template=RICH,
                    **arguments,
                )
            assert "many" not in str(caught.value)
    assert place.files() == []


def test_a_model_from_a_template_is_judged_once_it_is_known(place: Place) -> None:
    """Until then nobody knows whether it embeds; nothing is written either way."""
    assert place.prepare(sql=SQL, template=VECTOR, model="gemini-embedding-001").rows == 7
    operator = place.operator(sql=SQL, template=VECTOR, model="{{ params.model }}")
    operator.model = "gemini-3.5-flash"
    before = place.files()
    with pytest.raises(ConfigurationError, match="no embedding model"):
        operator.execute({"ti": Ti()})
    assert place.files() == before


def test_bigquery_cuts_requests_into_parts(place: Place) -> None:
    """By rows and by bytes; together they hold every request once."""
    size = place.prepare(sql=SQL, requests_dataset=place.dataset).size
    for limits in ({"max_rows_per_part": 3}, {"max_bytes_per_part": size // 2}):
        manifest = place.prepare(sql=SQL, requests_dataset=place.dataset, **limits)
        rows = [place.rows(part.uri) for part in manifest.parts]
        assert len(manifest.parts) >= 3 or "max_bytes_per_part" in limits
        assert [part.rows for part in manifest.parts] == [len(part) for part in rows]
        assert sorted(row["key"] for part in rows for row in part) == [f"k_row-{i}" for i in range(7)]
        assert manifest.size == size
        assert all(part.rows <= limits.get("max_rows_per_part", 9) for part in manifest.parts)
        assert all(part.size <= limits.get("max_bytes_per_part", size) for part in manifest.parts)


def test_predictions_may_go_to_bigquery_from_files(place: Place) -> None:
    """Then their dataset must lie where the job runs."""
    manifest = place.prepare(sql=SQL, predictions_dataset=place.dataset)
    assert (manifest.requests, manifest.predictions) == ("gcs", "bigquery")


def line(**row: Any) -> bytes:
    return json.dumps({"text": "secret", "file": None, **row}).encode() + b"\n"


BAD_FILES = [
    (b"", SourceError, "has no rows"),
    (line(key="a") + b"secret\n", SourceError, r"a\.jsonl line 2 is not JSON"),
    (line(key="a") + b"[]\n", SourceError, "line 2 is a JSON list"),
    (line(key="a") + line(key=None), RowError, r"GB121 .*a\.jsonl line 2"),
    (line(key="a") + line(text="b"), RowError, "GB121 .*line 2"),
    (
        line(key="a") + line(key="b") + line(key="a"),
        RowError,
        r"GB122 .*line 3, key 'a': .*first by .*line 1",
    ),
    (line(key="a", file="s3://b/x.png"), RowError, "GB109 .*key 'a', column 'file'"),
    (line(key="a", file="gs://b/x"), RowError, "GB110"),
    (b'{"key":"a","body":"secret"}\n', TemplateError, r"'text' is no column of .*a\.jsonl.*: key, body\."),
    (b'{"id":"a","text":"secret"}\n', TemplateError, "key_column 'key' is no column"),
]


@pytest.mark.parametrize(("data", "error", "message"), BAD_FILES)
def test_a_bad_file_gets_one_clear_error_and_leaves_nothing(
    place: Place, data: bytes, error: type[Exception], message: str
) -> None:
    """Not even what an earlier preparation had left; no word of a row is told."""
    place.prepare(sql=SQL)
    uri = place.put("a.jsonl", data)
    with pytest.raises(error, match=message) as caught:
        place.prepare(source_uri=uri, max_rows_per_part=1)
    assert "secret" not in str(caught.value)
    assert place.files() == []


def sql(*rows: str) -> str:
    return " UNION ALL ".join(f"SELECT {row}" for row in rows)


GOOD = "'a' AS key, 'x' AS text, CAST(NULL AS STRING) AS file"
BAD_QUERIES = [
    (f"SELECT * FROM ({sql(GOOD)}) WHERE FALSE", SourceError, "has no rows"),
    (sql(GOOD, "NULL, 'y', NULL"), RowError, "GB121"),
    (sql(GOOD, "'', 'y', NULL"), RowError, "GB121"),
    (sql(GOOD, "'b', 'x', NULL", "'a', 'y', NULL"), RowError, "GB122 .*key 'a'"),
    (sql(GOOD, f"'{'x' * 1025}', 'y', NULL"), RowError, "GB123"),
    (sql(GOOD, "'a\\tb', 'y', NULL"), RowError, r"GB124 .*'a\\tb'"),
    (sql(GOOD, "'b', REPEAT('y', 2000), NULL"), RowError, "GB108 .*key 'b'"),
    (sql(GOOD, "'b', 'y', 'http://h/x.png'"), RowError, "GB109 .*key 'b'"),
    (sql(GOOD, "'b', 'y', 'gs://h/x'"), RowError, "GB110 .*key 'b'"),
    (sql("'a' AS key, 'x' AS body"), TemplateError, r"'text' is no column of the query.*: key, body\."),
    ("SELECT nope", SourceError, "BigQuery"),
]


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(("query", "error", "message"), BAD_QUERIES)
def test_a_bad_query_gets_one_clear_error_and_leaves_nothing(
    place: Place, query: str, error: type[Exception], message: str, native: bool
) -> None:
    """Neither files nor tables; in BigQuery the same rules hold as in the worker."""
    arguments = {"requests_dataset": place.dataset} if native else {}
    with pytest.raises(error, match=message):
        place.prepare(sql=query, max_bytes_per_part=1500, **arguments)
    assert place.files() == []
    assert place.tables() == []


def test_a_source_that_is_not_there_is_told(place: Place) -> None:
    """A file, a wildcard, an unknown format."""
    for uri in (f"gs://{place.bucket}/none.jsonl", f"gs://{place.bucket}/none/*", "file:///none/*.csv"):
        with pytest.raises(SourceError, match="There is no file"):
            place.prepare(source_uri=uri)
    with pytest.raises(SourceError, match="source_format="):
        place.prepare(source_uri=place.put("rows.txt", JSONL))
    assert place.files() == []


def test_a_template_that_the_importer_would_refuse_is_refused_for_files_only(place: Place) -> None:
    """A table's request column is opaque to it."""
    template = GeminiTemplate(prompt="{text}", tools=[{"googleSearch": {}}])
    with pytest.raises(TemplateError, match=r"GB102 request\.tools\[0\]\.googleSearch: .*Nothing was sent"):
        place.prepare(sql=SQL, template=template)
    assert place.prepare(sql=SQL, template=template, requests_dataset=place.dataset).rows == 7


def test_a_dataset_must_lie_where_the_job_runs(cloud: LocalCloud, place: Place) -> None:
    """Told before anything is made; multi-regions take no tables at all."""
    cloud.parts.warehouse.create_dataset("demo", f"far_{place.dataset[5:]}", location="europe-west4")
    far = f"demo.far_{place.dataset[5:]}"
    for arguments in ({"requests_dataset": far}, {"predictions_dataset": far}):
        with pytest.raises(
            ConfigurationError, match=r"far_\w+ lies in europe-west4, the job is to run in us-central1"
        ):
            place.prepare(sql=SQL, **arguments)
    for location in ("global", "us", "eu"):
        with pytest.raises(ConfigurationError, match="takes one region"):
            place.prepare(sql=SQL, location=location, predictions_dataset=place.dataset)
    with pytest.raises(SourceError, match=r"demo\.none"):
        place.prepare(sql=SQL, requests_dataset="demo.none")
    assert place.files() == []


@pytest.mark.parametrize("tables", [False, True])
def test_a_bucket_that_is_not_there_is_told_and_no_retry_is_spent_on_it(place: Place, tables: bool) -> None:
    """A name mistyped is corrected, not tried again."""
    arguments = {"requests_dataset": place.dataset} if tables else {}
    with pytest.raises(ConfigurationError, match=r"has no bucket no-such-bucket\. Nothing was sent; make it"):
        place.prepare(sql=SQL, work_uri="gs://no-such-bucket/gemini", **arguments)
    assert place.tables() == []


def test_a_killed_preparation_leaves_nothing_that_looks_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old manifest goes before the first new byte is written."""
    place.prepare(sql=SQL)
    seen = []

    def killed(self: WorkspaceHook, uri: GcsUri, **_: Any) -> Any:
        seen.append(self.stat(place.folder.manifest))
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(WorkspaceHook, "writer", killed)
        with pytest.raises(KilledError):
            place.prepare(sql=SQL)
    assert seen == [None]
    assert place.files() == []


LONG = [{**ROWS[i % 7], "key": f"row-{i}", "text": str(i) * 200_000} for i in range(28)]


def in_small_pieces(patch: pytest.MonkeyPatch) -> None:
    """A hundred of them of what is read, twenty of what is uploaded."""
    patch.setattr(_rows, "_PIECE_BYTES", 1 << 16)
    for module in (_storage, workspace):
        patch.setattr(module, "CHUNK_BYTES", 1 << 18)


def threads() -> list[str]:
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith(("read-ahead", "upload"))]


def cut_off_upload(place: Place, cloud: LocalCloud) -> None:
    """As Cloud Storage does after a week, or when somebody else cancels it."""
    address = f"{cloud.url}/upload/storage/v1/b/{place.bucket}/o"
    notes = cloud.parts.storage.uploads_folder.glob("*.json")
    uploads = [
        note.stem for note in notes if place.bucket in note.read_text() and note.with_suffix("").exists()
    ]
    assert uploads
    for upload in uploads:
        assert requests.delete(address, params={"upload_id": upload}, timeout=10).status_code == 499


def kill(*_: object) -> None:
    raise KilledError


BREAKS: dict[str, tuple[Callable[[Place, LocalCloud], object], type[BaseException], str]] = {
    "reading": (
        lambda place, _: place.storage.delete(GcsUri.parse(f"gs://{place.bucket}/long.jsonl")),
        ServiceError,
        r"failed while reading gs://\S+/long.jsonl: 404",
    ),
    "uploading": (cut_off_upload, ServiceError, r"failed while writing gs://\S+/part-00001.jsonl: 499"),
    "in between": (kill, KilledError, "^$"),
}


@pytest.mark.parametrize("where", BREAKS)
def test_whatever_breaks_while_others_read_and_upload_leaves_no_file_and_no_thread(
    cloud: LocalCloud, place: Place, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It is told as it is; the next attempt writes what an undisturbed one wrote in other pieces."""
    breaks, error, message = BREAKS[where]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in LONG)
    arguments = {"source_uri": place.put("long.jsonl", data), "max_rows_per_part": len(LONG) // 2}
    first = place.prepare(**arguments)
    add, added = RequestFiles._add, list[int]()

    def broken(self: RequestFiles, piece: Slice) -> None:
        add(self, piece)
        added.append(len(piece.lines))
        if sum(added) == len(LONG) // 2 + 4:
            assert {name.partition("_")[0] for name in threads()} == {"read-ahead", "upload"}
            breaks(place, cloud)

    in_small_pieces(monkeypatch)
    for name in ("ROWS_PER_BATCH", "ROWS_FOR_COLUMNS"):
        monkeypatch.setattr(reading, name, 1)
    monkeypatch.setattr(reading, "BYTES_PER_READ", 1 << 16)
    with monkeypatch.context() as patch:
        patch.setattr(RequestFiles, "_add", broken)
        with pytest.raises(error, match=message):
            place.prepare(**arguments)
    assert sum(added) < len(LONG)
    assert (place.files(), threads()) == ([], [])
    place.put("long.jsonl", data)
    again = place.prepare(**arguments)
    assert (again.parts, again.fingerprint(0)) == (first.parts, first.fingerprint(0))
    assert [len(part) for part in place.lines(again)] == [len(LONG) // 2] * 2
    assert threads() == []


def test_an_upload_that_breaks_leaves_no_thread_of_the_files_beside_it(
    cloud: LocalCloud, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies and rejected rows have uploads of their own; a thread that waits for more keeps its process alive."""
    rows = [{**LONG[0], "key": ""}, LONG[0], {**LONG[0], "key": "copy"}, *LONG[1:]]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    add, added = RequestFiles._add, list[int]()

    def broken(self: RequestFiles, piece: Slice) -> None:
        add(self, piece)
        added.append(len(piece.lines))
        if sum(added) == 14:
            assert len(threads()) == 4
            cut_off_upload(place, cloud)

    in_small_pieces(monkeypatch)
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 1)
    monkeypatch.setattr(reading, "ROWS_FOR_COLUMNS", 1)
    monkeypatch.setattr(reading, "BYTES_PER_READ", 1 << 16)
    monkeypatch.setattr(RequestFiles, "_add", broken)
    with pytest.raises(ServiceError, match=r"failed while writing gs://\S+/part-00000.jsonl: 499"):
        place.prepare(source_uri=place.put("long.jsonl", data), on_lint="drop", dedupe=True)
    assert (place.files(), threads()) == ([], [])


def test_a_preparation_that_another_attempt_overtakes_stops_and_leaves_the_other_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two attempts of one task can run at once; files of two must not become one batch."""
    uri, verify = place.folder.requests(0), RequestFiles.verify

    def overtaken(self: RequestFiles) -> None:
        place.storage.write(uri, b"of another attempt")
        verify(self)

    monkeypatch.setattr(RequestFiles, "verify", overtaken)
    with pytest.raises(OwnershipLostError, match="another attempt"):
        place.prepare(sql=SQL)
    stored = place.storage.read(uri)
    assert stored is not None
    assert stored.data == b"of another attempt"
    assert place.manifest() is None


def test_a_preparation_in_bigquery_touches_no_table_of_another_attempt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that was believed dead goes on, and fails, when its successor has long finished."""
    native = {"sql": SQL, "requests_dataset": place.dataset}
    make, successor = RequestTables._make, []

    def outlived(self: RequestTables, table: TableName, statement: str, *more: Any) -> None:
        make(self, table, statement, *more)
        monkeypatch.setattr(RequestTables, "_make", make)
        successor.append(place.prepare(**native))
        raise ServiceError("too late")

    monkeypatch.setattr(RequestTables, "_make", outlived)
    with pytest.raises(ServiceError, match="too late"):
        place.prepare(**native)
    [manifest] = successor
    assert len(place.rows(manifest.parts[0].uri)) == 7
    assert place.manifest() == manifest
    assert [f"bq://{place.dataset}.{table}" for table in place.tables()] == [manifest.parts[0].uri]


CALLS = {
    "gcs": ["read", "delete", "list", "writer", "stat", "write"],
    "bigquery": ["read", "delete", "list", "write"],
}


@pytest.mark.parametrize(
    ("medium", "call"), [(medium, call) for medium, calls in CALLS.items() for call in calls]
)
def test_an_attempt_that_stands_still_leaves_its_successors_batch_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, medium: str, call: str
) -> None:
    """Before each kind of call in turn; it had read other rows, and awake again it stops."""
    more = {"requests_dataset": place.dataset} if medium == "bigquery" else {}
    place.prepare(sql=SQL, **more)
    real, successor = getattr(WorkspaceHook, call), []

    def stalled(self: WorkspaceHook, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(WorkspaceHook, call, real)
        newer = place.operator(sql=SQL, **more)
        successor.append(BatchRef.from_xcom(newer.execute({"ti": Ti(id="attempt-2")})))
        return real(self, *arguments, **options)

    older = place.operator(sql=SQL.replace("(0, 6)", "(0, 2)"), **more)
    monkeypatch.setattr(WorkspaceHook, call, stalled)
    with pytest.raises((OwnershipLostError, ServiceError)):
        older.execute({"ti": Ti(id="attempt-1")})
    manifest = place.manifest()
    assert manifest is not None
    assert (manifest.attempt, [manifest.ref]) == ("attempt-2", successor)
    if medium == "gcs":
        assert len(place.lines(manifest)[0]) == manifest.rows
        stat = place.storage.stat(GcsUri.parse(manifest.parts[0].uri))
        assert stat is not None
        assert stat.crc32c == manifest.parts[0].checksum
    else:
        assert len(place.rows(manifest.parts[0].uri)) == manifest.rows


def test_a_manifest_that_cannot_be_read_is_replaced(place: Place) -> None:
    """Of another version, or cut: it keeps nobody from preparing anew."""
    place.storage.write(place.folder.manifest, b"{broken")
    assert place.prepare(sql=SQL).attempt == "attempt-1"


def test_a_manifest_whose_answer_is_lost_does_not_outlive_its_requests(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written and nobody knows: it goes with the files it lists."""
    write = WorkspaceHook.write

    def lost(self: WorkspaceHook, uri: GcsUri, data: bytes, **more: Any) -> Any:
        write(self, uri, data, **more)
        raise ServiceError("no answer")

    for arguments in ({}, {"requests_dataset": place.dataset}):
        with monkeypatch.context() as patch:
            patch.setattr(WorkspaceHook, "write", lost)
            with pytest.raises(ServiceError, match="no answer"):
                place.operator(sql=SQL, **arguments).execute({"ti": Ti()})
        assert place.files() == []
        assert place.tables() == []


def test_what_cannot_be_taken_away_is_told_beside_the_first_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task fails for its own reason; without a manifest nothing takes the rest for whole."""
    uri = place.put("a.jsonl", line(key="a") + line(key="a"))
    refuse, run = RequestFiles._refuse_duplicates, RequestTables._run

    def away(*_: Any, **__: Any) -> Any:
        raise ServiceError("the service is away")

    def then_away(self: RequestFiles, suspects: frozenset[int]) -> None:
        try:
            refuse(self, suspects)
        finally:
            patch.setattr(WorkspaceHook, "delete", away)

    def cannot_drop(self: RequestTables, statement: str, *more: Any) -> Any:
        return (away if statement.startswith("DROP") else run)(self, statement, *more)

    with monkeypatch.context() as patch:
        patch.setattr(RequestFiles, "_refuse_duplicates", then_away)
        with pytest.raises(RowError, match="GB122"):
            place.prepare(source_uri=uri)
    assert place.files() == ["requests/part-00000.jsonl"]
    with monkeypatch.context() as patch:
        patch.setattr(RequestTables, "_run", cannot_drop)
        with pytest.raises(RowError, match="GB122"):
            place.prepare(sql=sql(GOOD, GOOD), requests_dataset=place.dataset)
    assert len(place.tables()) == 1


def test_keys_of_one_hash_are_told_apart_by_what_was_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspicion alone refuses nothing."""
    every = frozenset(hash(row["key"]) for row in ROWS)
    monkeypatch.setattr("airflow_batch_gemini.batch.keys.KeyMemory.suspects", lambda _: every)
    assert place.prepare(source_uri=place.put("a.jsonl", JSONL), max_rows_per_part=2).rows == 7


def test_a_long_preparation_says_how_far_it_is(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rows, megabytes and speed, at most every ten seconds; here at every batch."""
    monkeypatch.setattr("airflow_batch_gemini.operators._files.PROGRESS_SECONDS", 0.0)
    place.prepare(sql=SQL, max_rows_per_part=4)
    said = capsys.readouterr().out + caplog.text
    assert "4 requests" in said
    assert "7 requests" in said
    assert "What is" not in said


def test_a_mapped_task_prepares_in_a_folder_of_its_own(place: Place) -> None:
    """And Airflow may leave the index out."""
    for index in (3, None):
        operator = place.operator(sql=SQL, project_id="demo")
        ref = BatchRef.from_xcom(operator.execute({"ti": Ti(map_index=index)}))
        assert ref.workspace.endswith("/prepare/3" if index else "/prepare")


def test_a_table_that_vanishes_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry makes it anew."""
    monkeypatch.setattr(WarehouseHook, "table_info", lambda *_: None)
    with pytest.raises(ServiceError, match="is gone"):
        place.prepare(sql=SQL, requests_dataset=place.dataset)


def test_a_bigquery_that_stumbles_asks_for_a_retry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend error is not the query's fault."""
    monkeypatch.setattr(WarehouseHook, "until_done", lambda *_, **__: outcome_of_error("backendError", "x"))
    with pytest.raises(ServiceError, match="backendError"):
        place.prepare(sql=SQL, requests_dataset=place.dataset)


@pytest.mark.parametrize(("failures", "good"), [(2, True), (9, False)])
def test_a_statement_that_came_too_soon_is_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, failures: int, good: bool
) -> None:
    """BigQuery lets one table be replaced five times in ten seconds; a table of few rows is made faster than that."""
    until_done, pauses = WarehouseHook.until_done, list[float]()
    limited = outcome_of_error("rateLimitExceeded", "too many table update operations")

    def too_soon(self: WarehouseHook, *args: Any, **kwargs: Any) -> JobOutcome:
        return limited if len(pauses) < failures else until_done(self, *args, **kwargs)

    monkeypatch.setattr(_tables, "time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr(WarehouseHook, "until_done", too_soon)
    if good:
        assert place.prepare(sql=SQL, requests_dataset=place.dataset).rows
        assert pauses == [5.0, 10.0]
    else:
        with pytest.raises(ServiceError, match="too many table update operations"):
            place.prepare(sql=SQL, requests_dataset=place.dataset)
        assert pauses[:3] == [5.0, 10.0, 20.0]


def test_an_endpoint_that_is_not_local_gets_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential, no call."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.example.com")
    with pytest.raises(EndpointError, match="nothing was sent"):
        place.operator(sql=SQL).execute({"ti": Ti()})


ARGUMENTS = {
    "task_id": "prepare",
    "template": TEMPLATE,
    "model": "gemini-3.5-flash",
    "location": "us-central1",
    "work_uri": "gs://bucket/gemini",
    "sql": "SELECT 1",
}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"template": "x"}, ConfigurationError, "GeminiTemplate"),
        ({"template": VECTOR}, ConfigurationError, "no embedding model"),
        ({"model": "gemini-embedding-001"}, ConfigurationError, "use an EmbeddingTemplate"),
        (
            {"template": VECTOR, "model": "gemini-embedding-001", "requests_dataset": "p.d"},
            ConfigurationError,
            "Cloud Storage only",
        ),
        (
            {"template": VECTOR, "model": "gemini-embedding-001", "predictions_dataset": "p.d"},
            ConfigurationError,
            "Cloud Storage only",
        ),
        (
            {"template": VECTOR, "model": "gemini-embedding-001", "max_rows_per_part": 1_000_001},
            ConfigurationError,
            "1 to 1,000,000",
        ),
        ({"source_uri": "gs://bucket/x.csv"}, ConfigurationError, "give one"),
        ({"sql": None}, ConfigurationError, "give one"),
        (
            {"sql": None, "source_uri": "gs://b/x", "requests_dataset": "p.d"},
            ConfigurationError,
            "needs sql=",
        ),
        ({"source_format": "xml"}, ConfigurationError, "jsonl, csv, parquet"),
        ({"max_rows_per_part": 200_001}, ConfigurationError, "max_rows_per_part"),
        ({"max_bytes_per_part": 0}, ConfigurationError, "max_bytes_per_part"),
        ({"model": "gemini 3"}, InvalidNameError, "gemini 3"),
        ({"location": "US"}, InvalidNameError, "US"),
        ({"work_uri": "bucket/x"}, InvalidNameError, "bucket/x"),
        ({"project_id": "My Project"}, InvalidNameError, "My Project"),
        ({"location": "global", "predictions_dataset": "p.d"}, ConfigurationError, "takes one region"),
    ],
)
def test_what_is_wrong_in_the_dag_file_does_not_even_parse(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """As far as it can be seen before rendering."""
    with pytest.raises(error, match=message):
        GeminiBatchPrepareOperator(**{**ARGUMENTS, **arguments})


def test_what_airflow_renders_is_judged_when_it_is_rendered(place: Place) -> None:
    """Jinja passes the constructor; what comes of it does not pass execution."""
    templated = {
        "model": "{{ x }}",
        "location": "{% x %}",
        "work_uri": "{{ x }}",
        "requests_dataset": "{{ x }}",
    }
    operator = GeminiBatchPrepareOperator(**{**ARGUMENTS, **templated})
    with pytest.raises(InvalidNameError):
        operator.execute({"ti": Ti()})
    empty = GeminiBatchPrepareOperator(**{**ARGUMENTS, "sql": "{{ '' }}"})
    empty.sql = ""
    with pytest.raises(ConfigurationError, match="is empty"):
        empty.execute({"ti": Ti()})


def test_no_prompt_reaches_the_serialized_dag() -> None:
    """Not as an argument, and not as one of a mapped task."""
    template = GeminiTemplate(prompt="the secret prompt {text}", system_instruction="the secret instruction")
    arguments = {**ARGUMENTS, "template": template}
    with DAG("dag", schedule=None) as dag:
        GeminiBatchPrepareOperator(**arguments)
        del arguments["sql"]
        GeminiBatchPrepareOperator.partial(**{**arguments, "task_id": "mapped"}).expand(sql=["SELECT 1"])
    serialized = json.dumps(DagSerialization.to_dict(dag))
    assert "GeminiBatchPrepareOperator" in serialized
    assert "secret" not in serialized
