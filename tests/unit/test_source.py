"""Files on object stores other than Cloud Storage, and Parquet from any stream."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_batch_gemini.exceptions import ConfigurationError, SourceError
from airflow_batch_gemini.hooks.source import ObjectStorage, SourceFile, parquet_batches


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
