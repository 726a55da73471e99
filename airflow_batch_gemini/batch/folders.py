"""What the path of a file tells: columns in the names of its folders, files that are no data, tables that are more.

Hive and Spark write ``…/day=2026-01-01/country=DE/part-0.parquet``: the columns of a partition stand in the path, their
values percent-encoded, and not in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import unquote

from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import SourceError

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

_TABLES = (
    ("an Apache Iceberg", re.compile(r"(?:^|/)metadata/[^/]+\.metadata\.json$")),
    ("a Delta Lake", re.compile(r"(?:^|/)_delta_log/[^/]+\.(?:json|checkpoint\.parquet)$")),
    ("an Apache Hudi", re.compile(r"(?:^|/)\.hoodie/hoodie\.properties$")),
)


def partition_of(uri: str) -> dict[str, str | None]:
    """Return the columns that the folders of *uri* are named after, ``name=value``; the innermost wins.

    :raises SourceError: for a value that is not percent-encoded UTF-8.
    """
    columns: dict[str, str | None] = {}
    for folder in uri.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if not (name and equals):
            continue
        try:
            name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise SourceError(
                f"{uri} has a folder whose name is not percent-encoded UTF-8. Nothing was sent; rename it."
            ) from None
        columns[name] = None if value == NULL_PARTITION else value
    return columns


def with_partition(
    batches: Iterable[RowBatch], partition: dict[str, str | None], *, wanted: Iterable[str] | None
) -> Iterator[RowBatch]:
    """Yield *batches* with the columns of their *partition*; one that the file itself has stays as it is there.

    :param wanted: columns that are needed; ``None`` for all.
    """
    needed = {name: value for name, value in partition.items() if wanted is None or name in wanted}
    for batch in batches:
        columns = None if batch.columns is None else tuple(dict.fromkeys((*batch.columns, *partition)))
        rows = [{**needed, **row} for row in batch.rows] if needed else batch.rows
        yield replace(batch, rows=rows, columns=columns)


def is_hidden(relative: str) -> bool:
    """Return whether a file is none of the data of the folder it lies in: ``_SUCCESS``, ``.part-0.crc``, ``_tmp/…``."""
    return any(name.startswith(("_", ".")) and "=" not in name for name in relative.split("/"))


def refuse_tables(names: Iterable[str], *, folder: str) -> None:
    """Refuse *folder* when *names*, the files below it, show a table whose files alone do not say what is in it.

    Such tables keep files of deleted and replaced rows until they are cleaned up; only their metadata tells which of
    them count.
    """
    for name in names:
        for kind, mark in _TABLES:
            if mark.search(name):
                raise SourceError(
                    f"{folder} is {kind} table: some of its files may hold rows that were deleted or replaced. Nothing "
                    "was sent; read it as a table, with sql= through BigQuery (BigLake) or with rows= through its own "
                    "library, or name the files that you mean one by one."
                )
