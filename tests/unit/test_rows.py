"""Rows out of files: flat memory, and an error that says where."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch import rows
from airflow_batch_gemini.batch.row_files import csv_batches, jsonl_batches
from airflow_batch_gemini.batch.rows import Places, RowBatch, checked_batches, format_of, query_batches
from airflow_batch_gemini.exceptions import SourceError

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
COLUMNS = st.dictionaries(TEXT, TEXT | st.none() | st.integers(0, 9), max_size=3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three rows, read in bites of seven bytes."""
    monkeypatch.setattr(rows, "ROWS_PER_BATCH", 3)
    monkeypatch.setattr(rows, "ROWS_FOR_COLUMNS", 3)
    monkeypatch.setattr(rows, "BYTES_PER_READ", 7)


def stream(data: bytes) -> BinaryIO:
    return io.BytesIO(data)


def placed(batches: Sequence[RowBatch]) -> list[tuple[str, Any]]:
    return [(batch.place(i), row) for batch in batches for i, row in enumerate(batch.rows)]


@pytest.mark.usefixtures("small")
def test_a_jsonl_file_is_its_lines_and_only_newlines_end_them() -> None:
    """U+2028 and carriage returns are not line ends; a byte order mark and empty lines at the end do no harm."""
    lines = [json.dumps({"i": i, "t": "a\u2028b"}, ensure_ascii=False).encode() for i in range(7)]
    data = b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\n\n \r\n"
    found = placed(list(jsonl_batches(stream(data), source="f")))
    assert found == [(f"f line {i + 1}", {"i": i, "t": "a\u2028b"}) for i in range(7)]


@given(st.lists(COLUMNS, max_size=12), st.integers(1, 40), st.integers(1, 5), st.booleans())
def test_a_jsonl_file_is_read_the_same_in_any_bites(
    documents: list[dict[str, Any]], bite: int, batch: int, newline: bool
) -> None:
    """Wherever a bite ends, inside a line or a character."""
    data = b"\n".join(json.dumps(one, ensure_ascii=False).encode() for one in documents)
    data += b"\n" if newline else b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BYTES_PER_READ", bite)
        patch.setattr(rows, "ROWS_PER_BATCH", batch)
        found = placed(list(jsonl_batches(stream(data), source="f")))
    assert found == [(f"f line {i + 1}", one) for i, one in enumerate(documents)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":1}\n{"secret":', r"f line 2 is not JSON \(at character \d+\)"),
        (b'{"a":1}\n[1]\n', "f line 2 is a JSON list"),
        (b'"secret"', "f line 1 is a JSON str"),
        (b'{"a":1}\n\n{"a":2}', "f line 2 is empty"),
        (b'{"a":"\xff"}', "f line 1 is not JSON"),
        (b'{"a":"\\ud800"}', "f line 1 is not JSON"),
        (b'{"a":NaN}', "f line 1 is not JSON"),
        (b'{"a":1}{"a":2}', "f line 1 is not JSON"),
    ],
)
def test_a_line_that_is_no_object_is_told_by_file_and_number(data: bytes, message: str) -> None:
    """Without a word of it."""
    with pytest.raises(SourceError, match=message) as caught:
        list(jsonl_batches(stream(data), source="f"))
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("small")
def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After what no row can be."""
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 100)
    endless = io.BytesIO(b"x" * 1000)
    with pytest.raises(SourceError, match="it is no JSONL"):
        list(jsonl_batches(endless, source="f"))
    assert endless.tell() < 150


def test_large_rows_make_small_batches() -> None:
    """So that a batch never holds more than a few megabytes."""
    line = json.dumps({"t": "x" * 1_000_000}).encode()
    sizes = [len(batch.rows) for batch in jsonl_batches(stream(b"\n".join([line] * 12)), source="f")]
    assert sum(sizes) == 12
    assert max(sizes) <= 5
    text = "k,t\n" + f"1,{'x' * 1_000_000}\n" * 12
    assert [len(batch.rows) for batch in csv_batches(stream(text.encode()), source="f")] == [5, 5, 2]


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8), st.integers(1, 4))
def test_a_csv_file_is_read_as_it_was_written(records: list[tuple[str, str]], batch: int) -> None:
    """Quoted line ends, quotes and commas included; every value is text."""
    records = [(one.replace("\x00", ""), other.replace("\x00", "")) for one, other in records]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *records])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "ROWS_PER_BATCH", batch)
        batches = list(csv_batches(stream(text.getvalue().encode()), source="f"))
    assert placed(batches) == [
        (f"f row {i + 1}", {"a": one, "b": other}) for i, (one, other) in enumerate(records)
    ]
    assert all(batch.columns == ("a", "b") for batch in batches)


def test_a_csv_file_may_have_a_mark_empty_lines_and_long_fields() -> None:
    """As spreadsheets write it."""
    data = b"\xef\xbb\xbfa,b\r\n\r\n1," + b"x" * 200_000 + b"\r\n\r\n"
    [batch] = csv_batches(stream(data), source="f")
    assert batch.rows[0]["a"] == "1"
    assert len(batch.rows[0]["b"]) == 200_000
    assert list(csv_batches(stream(b""), source="f")) == []
    assert list(csv_batches(stream(b"a,b\n"), source="f")) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1\n", "f row 1 has 1 fields, its header 2"),
        (b"a,b\n1,2\n1,2,3\n", "f row 2 has 3 fields"),
        (b"a,a\n1,2\n", "a column name twice"),
        (b"a\n\xff\n", "f is not UTF-8 near row 1"),
        (b'a\n1\n"b"c"\n', "f is not well-formed CSV near row 2"),
    ],
)
def test_a_csv_file_that_is_none_is_told_by_row(data: bytes, message: str) -> None:
    """Counted from 1 after the header."""
    with pytest.raises(SourceError, match=message):
        list(csv_batches(stream(data), source="f"))


@pytest.mark.usefixtures("small")
def test_the_rows_of_a_query_are_numbered_as_they_come() -> None:
    """And all have the columns of the first."""
    batches = list(query_batches(iter([{"k": i} for i in range(7)]), source="the query"))
    assert [len(batch.rows) for batch in batches] == [3, 3, 1]
    assert placed(batches)[6] == ("the query row 7", {"k": 6})
    assert batches[0].columns == ("k",)


@pytest.mark.parametrize(
    ("uri", "format_"),
    [("gs://b/a.jsonl", "jsonl"), ("a.NDJSON", "jsonl"), ("x/a.csv", "csv"), ("a.pq", "parquet")],
)
def test_the_extension_tells_the_format(uri: str, format_: str) -> None:
    """Unless the user says it."""
    assert format_of(uri) == format_
    assert format_of("gs://b/rows", "csv") == "csv"
    with pytest.raises(SourceError, match="source_format="):
        format_of("gs://b.csv/rows")


class Checks:
    """Records which columns were checked for which source."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, ...], str]] = []

    def __call__(self, columns: Sequence[str], source: str) -> None:
        self.seen.append((tuple(columns), source))


def batch_of(
    source: str, documents: Sequence[dict[str, Any]], columns: tuple[str, ...] | None = None
) -> RowBatch:
    return RowBatch(source=source, unit="row", first=1, rows=documents, columns=columns)


def test_every_file_with_a_header_is_checked_once() -> None:
    """Before its first row is used."""
    check = Checks()
    batches = [batch_of("f", [{}], ("a",)), batch_of("f", [{}], ("a",)), batch_of("g", [{}], ("b",))]
    passed = []
    for batch in checked_batches(batches, check):
        passed.append((batch.source, len(check.seen)))
    assert passed == [("f", 1), ("f", 1), ("g", 2)]
    assert check.seen == [(("a",), "f"), (("b",), "g")]


@pytest.mark.usefixtures("small")
def test_rows_that_leave_columns_out_are_checked_by_the_first_of_them_together() -> None:
    """A column none of them has is a mistake; one that some have is optional."""
    check = Checks()
    batches = [
        batch_of("f", [{"a": 1}]),
        batch_of("g", [{"b": 1}, {"a": 1, "c": 1}]),
        batch_of("g", [{"d": 1}]),
    ]
    assert list(checked_batches(batches, check)) == batches
    assert check.seen == [(("a", "b", "c"), "f")]
    check = Checks()
    assert list(checked_batches(batches[:1], check)) == batches[:1]
    assert check.seen == [(("a",), "f")]
    assert list(checked_batches([], check)) == []
    assert len(check.seen) == 1


def test_a_row_is_found_again_by_its_number() -> None:
    """Over all files, without keeping any row."""
    places = Places()
    places.add(batch_of("f", [{}, {}]))
    places.add(RowBatch(source="g", unit="line", first=5, rows=[{}, {}]))
    places.add(RowBatch(source="g", unit="line", first=7, rows=[{}]))
    places.add(RowBatch(source="g", unit="line", first=9, rows=[{}]))
    assert places.rows == 6
    assert [places.of(i) for i in range(6)] == [
        "f row 1", "f row 2", "g line 5", "g line 6", "g line 7", "g line 9",
    ]  # fmt: skip
