"""Files on object stores other than Cloud Storage, and Parquet from any stream."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_batch_gemini.batch.row_files import csv_batches, jsonl_batches
from airflow_batch_gemini.exceptions import ConfigurationError, ServiceError, SourceError
from airflow_batch_gemini.hooks.source import ObjectStorage, SourceFile, opened_up, parquet_batches


def test_local_files_are_found_by_wildcard_and_opened(tmp_path: Path) -> None:
    """By name; folders are no files; a missing one is none."""
    for name in ["b.jsonl", "a.jsonl", "c.csv"]:
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "d.jsonl").mkdir()
    storage = ObjectStorage()
    pattern = f"file://{tmp_path}/*.jsonl"
    found = storage.glob(pattern)
    assert found == [SourceFile(uri=f"file://{tmp_path}/{name}.jsonl", size=7) for name in "ab"]
    with storage.open(pattern, found[0].uri) as stream:
        assert stream.read() == b"a.jsonl"
    assert [one.uri for one in storage.glob(f"file://{tmp_path}/c.csv")] == [f"file://{tmp_path}/c.csv"]
    assert storage.glob(f"file://{tmp_path}/none") == []


def test_what_a_file_system_raises_is_told_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the URI and the kind of error; our own errors pass as they are."""
    storage = ObjectStorage()
    uri = f"file://{tmp_path}/a"
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"cannot be read \(OSError\)"), storage.open(uri, uri):
        raise OSError("secret")
    with pytest.raises(SourceError, match="mine"), storage.open(uri, uri):
        raise SourceError("mine")
    with pytest.raises(SourceError, match="FileNotFoundError"), storage.open(uri, uri + "b"):
        pass
    with pytest.raises(ServiceError, match=r"ConnectionResetError.*a retry"), storage.open(uri, uri):
        raise ConnectionResetError("secret")
    with pytest.raises(SourceError, match="ValueError"):
        storage.glob("nonsense://bucket/x")

    def missing(_: str) -> Any:
        raise ImportError(name="s3fs")

    monkeypatch.setattr("airflow_batch_gemini.hooks.source._path", missing)
    with pytest.raises(ConfigurationError, match=r"not installed \(s3fs\)"):
        storage.glob("s3://bucket/x")


def parquet(**columns: Any) -> io.BytesIO:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data, row_group_size=2)
    data.seek(0)
    return data


def test_a_parquet_file_gives_the_columns_that_are_wanted() -> None:
    """And names all it has, so that a wrong placeholder can be told."""
    data = parquet(key=[1, 2, 3], text=["a", None, "c"], more=[[1], [], None])
    batches = list(parquet_batches(data, source="f", wanted=["key", "text", "nope"]))
    assert [row for batch in batches for row in batch.rows] == [
        {"key": 1, "text": "a"},
        {"key": 2, "text": None},
        {"key": 3, "text": "c"},
    ]
    assert batches[0].columns == ("key", "text", "more")
    assert [(batch.place(0), len(batch.rows)) for batch in batches] == [("f row 1", 3)]
    data.seek(0)
    assert next(parquet_batches(data, source="f")).rows[0] == {"key": 1, "text": "a", "more": [1]}


def test_large_parquet_rows_make_small_batches() -> None:
    """By the size the file itself states."""
    data = parquet(text=[str(i) + "x" * 500_000 for i in range(20)])
    sizes = [len(batch.rows) for batch in parquet_batches(data, source="f")]
    assert sum(sizes) == 20
    assert max(sizes) <= 9


def test_what_is_no_parquet_is_told() -> None:
    """By the file's name."""
    with pytest.raises(SourceError, match="f cannot be read as Parquet"):
        list(parquet_batches(io.BytesIO(b"text"), source="f"))


def test_a_parquet_column_that_is_there_twice_is_refused_where_it_is_needed() -> None:
    """Nobody can say which of the two is meant; a row would get either."""
    data = io.BytesIO()
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["key", "v", "v"])
    pq.write_table(twice, data)
    with pytest.raises(SourceError, match="f has a column name twice"):
        list(parquet_batches(data, source="f", wanted=["key", "v"]))
    assert [batch.rows for batch in parquet_batches(data, source="f", wanted=["key"])] == [[{"key": "a"}]]


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "2026-11-30"])
def test_times_that_spark_wrote_are_read_in_every_year(day: str) -> None:
    """Its INT96 reaches beyond nanoseconds, and ``9999-12-31`` is a common word for never."""
    data, moment = io.BytesIO(), dt.datetime.fromisoformat(day)
    table = pa.table({"until": pa.array([moment], pa.timestamp("us"))})
    pq.write_table(table, data, use_deprecated_int96_timestamps=True)
    assert [batch.rows for batch in parquet_batches(data, source="f")] == [[{"until": moment}]]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_cut_off(zone: str | None) -> None:
    """Plain values of Python, whether pandas is installed or not."""
    [batch] = parquet_batches(parquet(at=pa.array([1_000_001_999], pa.timestamp("ns", zone))), source="f")
    [row] = batch.rows
    assert type(row["at"]) is dt.datetime
    assert (row["at"].second, row["at"].microsecond) == (1, 1)


def test_a_time_that_python_cannot_hold_is_told() -> None:
    """A retry would not help."""
    with pytest.raises(SourceError, match=r"f cannot be read as Parquet \(OverflowError\)"):
        list(parquet_batches(parquet(at=pa.array([10**15], pa.timestamp("ms"))), source="f"))


def test_a_store_that_fails_while_parquet_is_read_is_not_taken_for_a_bad_file() -> None:
    """A retry helps with the one and not with the other."""

    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        list(parquet_batches(Broken(parquet(a=[1]).getvalue()), source="f"))


def test_the_share_of_a_parquet_file_that_was_read_is_told() -> None:
    """For the time that is left."""
    shares: list[float] = []
    list(parquet_batches(parquet(a=list(range(750))), source="f", told=shares.append))
    assert shares == [0.4, 0.4, 0.2]


ROWS = b"key,text\n" + b"".join(b"row-%d,word word word\n" % i for i in range(30_000))
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip in members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "Zstandard": lambda data: pa.compress(data, "zstd", asbytes=True),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_stream_is_opened_up_whatever_its_name(kind: str) -> None:
    """In any bites, and every byte of the stream itself is counted."""
    data, sizes = COMPRESSED[kind](ROWS), list[int]()
    with opened_up(io.BytesIO(data), source="f", told=sizes.append) as stream:
        found = b"".join(iter(lambda: stream.read(100_000), b""))
    assert found == ROWS
    assert sum(sizes) == len(data)
    with opened_up(io.BytesIO(data), source="f", told=sizes.append) as stream:
        rows = [row for batch in csv_batches(stream, source="f") for row in batch.rows]
    assert (len(rows), rows[-1]) == (30_000, {"key": "row-29999", "text": "word word word"})


@pytest.mark.parametrize("data", [b"", b"{}", b"\n\n", b'{"a":"a rather long line, longer than a mark"}'])
def test_a_short_stream_is_read_as_it_is(data: bytes) -> None:
    """What was read to see its kind is not lost."""
    with opened_up(io.BytesIO(data), source="f", told=lambda _: None) as stream:
        rows = [row for batch in jsonl_batches(stream, source="f") for row in batch.rows]
    assert len(rows) == data.count(b"{")
    with opened_up(io.BytesIO(data), source="f", told=lambda _: None) as stream:
        assert b"".join(iter(lambda: stream.read(1), b"")) == data


@pytest.mark.parametrize("kind", [kind for kind in COMPRESSED if kind != "plain"])
def test_a_compressed_stream_that_is_damaged_is_told(kind: str) -> None:
    """Cut off, or with a byte changed where the format has a checksum: never taken for a shorter one."""
    data = COMPRESSED[kind](ROWS)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    for damaged in (data[: len(data) // 2], *([bytes(flipped)] if kind != "Zstandard" else [])):
        with (
            pytest.raises(SourceError, match=f"f cannot be read as {kind.partition(' ')[0]}"),
            opened_up(io.BytesIO(damaged), source="f", told=lambda _: None) as stream,
        ):
            while stream.read(1 << 20):
                pass


def test_a_store_that_fails_while_a_stream_is_opened_up_is_told_as_such() -> None:
    """Not as damage."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100:
                raise ConnectionResetError
            return super().read(size)

    broken = Broken(gzip.compress(ROWS))
    with (
        pytest.raises(ConnectionResetError),
        opened_up(broken, source="f", told=lambda _: None) as stream,
    ):
        while stream.read(1000):
            pass
