"""Where the rows of a batch come from: a query or a table, files on an object store, or a Python function."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_batch_gemini.batch.folders import partition_of, with_partition
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.progress import Progress
from airflow_batch_gemini.batch.ready import REQUEST, check_ready_columns
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.row_files import csv_batches, jsonl_batches
from airflow_batch_gemini.batch.rows import Format, RowBatch, checked_batches, format_of, query_batches
from airflow_batch_gemini.batch.template import check_columns
from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.operators._ahead import ReadAhead
from airflow_batch_gemini.operators._listing import listed
from airflow_batch_gemini.operators._yielded import yielded_batches

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.source import SourceFile
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

_ROWS_PER_PAGE = 1000
_FETCH_BYTES = 1 << 18
"""Fetched at least: what reads in large pieces gets them, and Parquet, which jumps, no more than it asks for."""

_PIECE_BYTES = 4 << 20
"""Fetched at a time of what is read from its beginning to its end."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows of a batch, not yet read. Exactly one of *sql*, *table*, *uris* and *rows* is set.

    :param rows: gives the rows each time it is called.
    """

    template: Template | None
    """``None``: the rows are requests."""
    sql: str | None = None
    parameters: Mapping[str, Any] | None = None
    table: TableName | None = None
    uris: Sequence[str] = ()
    source_format: Format | None = None
    rows: Callable[[], Iterable[object]] | None = None
    key_column: str
    project_id: str
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None
    progress: Progress = field(default_factory=Progress)
    """How far reading has come; changes while it goes on."""
    read: list[TableName] = field(default_factory=list)
    """Tables that the query turns out to read."""

    def __str__(self) -> str:
        """Say what a person called it."""
        if self.uris:
            return self.uris[0] + (f" and {len(self.uris) - 1} more" if self.uris[1:] else "")
        return f"Table {self.table}" if self.table else "The query" if self.sql is not None else "rows="

    def batches(self, workspace: WorkspaceHook) -> Generator[RowBatch]:
        """Yield the rows, a bounded number at a time, once their columns are known to suit the template.

        Closing the generator closes what the rows come from.
        """
        with closing(self._found(workspace)) as found:
            if self.template is not None:
                yield from checked_batches(found, self._check)
            else:
                yield from self._checked_requests(found)

    def _found(self, workspace: WorkspaceHook) -> Generator[RowBatch]:
        if self.sql is not None or self.table is not None:
            return self._query()
        return self._files(workspace) if self.rows is None else yielded_batches(self.rows())

    def _check(self, columns: Sequence[str], source: str) -> None:
        if self.template is None:
            check_ready_columns(columns, source)
        else:
            check_columns(
                self.template.segments, key_column=self.key_column, available=columns, source=source
            )

    def _checked_requests(self, batches: Iterable[RowBatch]) -> Iterator[RowBatch]:
        """Let rows that may leave columns out pass: each is looked at when it is taken."""
        source = None
        for batch in batches:
            if batch.columns is not None and batch.source != source:
                source = batch.source
                self._check(batch.columns, source)
            yield batch

    @property
    def _wanted(self) -> tuple[str, ...] | None:
        return None if self.template is None else (self.key_column, *self.template.columns)

    def _query(self) -> Generator[RowBatch]:
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook
        from airflow_batch_gemini.sql.prepare import source_query

        def known(rows: int) -> None:
            self.progress.total = rows

        hook = WarehouseHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        with closing(hook):
            sql = self._of_table(hook, self.table) if self.table is not None else str(self.sql)
            rows = hook.query_rows(
                source_query(sql, key_column=self.key_column),
                project=self.project_id,
                location="",  # BigQuery finds it by the tables that are read
                params=self.parameters,
                page_size=_ROWS_PER_PAGE,
                on_total=known,
                on_read=self.read.extend if self.table is None else None,
            )
            for batch in query_batches(rows, source="the query" if self.table is None else str(self.table)):
                self.progress.done += len(batch.rows)
                yield batch

    def _of_table(self, hook: WarehouseHook, table: TableName) -> str:
        """Return the query that reads of *table* what is needed, and costs no more."""
        from airflow_batch_gemini.sql.prepare import select_columns

        info = hook.table_info(table)
        if info is None:
            raise SourceError(f"There is no table {table}. Nothing was sent; correct source_table=.")
        names = [column.name for column in info.columns]
        needed = self._wanted or (self.key_column, REQUEST)
        if self.template is None and self.key_column not in names:
            raise SourceError(
                f"{table} has no column {self.key_column!r}: the rows of a table have no order and need a key. Nothing "
                "was sent; say key_column=."
            )
        self._check(names, str(table))
        return select_columns(table, needed)

    def _files(self, workspace: WorkspaceHook) -> Generator[RowBatch]:
        files = listed(self.uris, workspace, self.source_format)
        sizes = [file.size for _, file in files]
        self.progress.total = sum(sizes) if all(sizes) else 0
        before = 0
        for pattern, file in files:
            self.progress.done = before
            partition = partition_of(file.uri) if self.template is not None else {}
            with (
                _stream(pattern, file, workspace) as stream,
                closing(self._decoded(stream, file)) as batches,
            ):
                yield from with_partition(batches, partition, wanted=self._wanted) if partition else batches
            before += file.size

    def _decoded(self, stream: BinaryIO, file: SourceFile) -> Generator[RowBatch]:
        from airflow_batch_gemini.hooks.source import opened_up, parquet_batches

        format_ = format_of(file.uri, self.source_format)
        if format_ == "parquet":
            yield from parquet_batches(
                stream,
                source=file.uri,
                wanted=self._wanted,
                told=lambda share: self._read(share * file.size),
            )
            return
        with (
            opened_up(stream, source=file.uri, told=self._read) as data,
            ReadAhead(data, piece_bytes=_PIECE_BYTES, first_bytes=_FETCH_BYTES) as ahead,
        ):
            if format_ == "jsonl":
                yield from jsonl_batches(ahead, source=file.uri, keep_lines=self.template is None)
            else:
                yield from csv_batches(cast("BinaryIO", ahead), source=file.uri)

    def _read(self, size: float) -> None:
        self.progress.done += size


def _stream(pattern: str, file: SourceFile, workspace: WorkspaceHook) -> Any:
    from airflow_batch_gemini.hooks.source import ObjectStorage

    if file.uri.startswith("gs://"):
        return workspace.reader(GcsUri.parse(file.uri), chunk_bytes=_FETCH_BYTES)
    return ObjectStorage().open(pattern, file.uri)
