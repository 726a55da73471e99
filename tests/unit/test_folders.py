"""What paths tell of rows, and how long the rest takes."""

from __future__ import annotations

import pytest

from airflow_batch_gemini.batch.folders import is_hidden, partition_of, refuse_tables, with_partition
from airflow_batch_gemini.batch.progress import Progress, counted, duration, size
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import SourceError


@pytest.mark.parametrize(
    ("uri", "columns"),
    [
        ("gs://b/t/day=2026-01-01/country=DE/p.parquet", {"day": "2026-01-01", "country": "DE"}),
        ("gs://b/t/a=1%2F2%20%C3%A9=x/p.parquet", {"a": "1/2 é=x"}),
        ("gs://b/t/a=__HIVE_DEFAULT_PARTITION__/b=/p.parquet", {"a": None, "b": ""}),
        ("gs://b/t/a=1/a=2/b=3.parquet", {"a": "2"}),
        ("gs://b/=x/p=q", {}),
    ],
)
def test_folders_called_name_and_value_are_columns(uri: str, columns: dict[str, str | None]) -> None:
    """Text, decoded; the file's own name is no folder."""
    assert partition_of(uri) == columns


def test_a_folder_that_is_not_percent_encoded_utf8_is_told() -> None:
    """Two values must not become one."""
    with pytest.raises(SourceError, match="percent-encoded"):
        partition_of("gs://b/a=%FF/p.parquet")


def test_rows_gain_the_columns_of_their_partition() -> None:
    """Those that are needed; a column of the file itself stays as it is."""
    batch = RowBatch(source="f", unit="row", first=1, rows=[{"a": 1}, {"a": None}], columns=("a",))
    [found] = with_partition([batch], {"a": "x", "b": "y", "c": "z"}, wanted=["a", "b"])
    assert found.rows == [{"a": 1, "b": "y"}, {"a": None, "b": "y"}]
    assert found.columns == ("a", "b", "c")
    loose = RowBatch(source="f", unit="line", first=1, rows=[{}])
    [found] = with_partition([loose], {"b": "y"}, wanted=None)
    assert (found.rows, found.columns) == ([{"b": "y"}], None)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("p.parquet", False),
        ("day=1/p.parquet", False),
        ("_day=1/p.parquet", False),
        ("_SUCCESS", True),
        ("day=1/.p.parquet.crc", True),
        ("_temporary/0/p.parquet", True),
    ],
)
def test_files_that_are_no_data_are_known(path: str, hidden: bool) -> None:
    """By Hive's and Spark's custom."""
    assert is_hidden(path) is hidden


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gs://b/t/metadata/00001-abc.metadata.json", "Iceberg"),
        ("x/_delta_log/00000000000000000000.json", "Delta Lake"),
        (".hoodie/hoodie.properties", "Hudi"),
    ],
)
def test_a_table_is_not_a_folder_of_files(name: str, kind: str) -> None:
    """Its files may hold rows that it has no more; the message says what to do."""
    with pytest.raises(SourceError, match=rf"gs://b/t is an? .*{kind} table.*sql=.*rows="):
        refuse_tables(["gs://b/t/p.parquet", name], folder="gs://b/t")
    refuse_tables(["gs://b/t/metadata.json", "gs://b/metadata/a.json", "_delta_log"], folder="gs://b/t")


def test_the_time_that_is_left_follows_the_pace_so_far() -> None:
    """Where the size is known, and once there is a pace."""
    assert Progress(total=100, done=25).left(10.0) == 30.0
    assert Progress(total=100, done=120).left(10.0) == 0.0
    assert Progress(total=0, done=25).left(10.0) is None
    assert Progress(total=1e6, done=1).left(10.0) is None
    assert [duration(s) for s in (0.4, 59, 61, 3600, 11_400)] == [
        "0 s", "59 s", "1 min 1 s", "1 h 0 min", "3 h 10 min",
    ]  # fmt: skip


def test_sizes_and_counts_read_as_a_person_says_them() -> None:
    """A small batch is no 0.0 MB, and one part no parts."""
    assert [size(count) for count in (0, 312, 17_300, 6_700_000, 1_048_600_000)] == [
        "0 B", "312 B", "17.3 kB", "6.7 MB", "1,048.6 MB",
    ]  # fmt: skip
    assert [counted(count, "part") for count in (0, 1, 2_000)] == ["0 parts", "1 part", "2,000 parts"]
