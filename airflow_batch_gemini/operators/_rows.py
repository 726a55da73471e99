"""Where the rows of a batch come from: a query, or files on an object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.rows import (
    Format,
    RowBatch,
    checked_batches,
    csv_batches,
    format_of,
    jsonl_batches,
    query_batches,
)
from airflow_batch_gemini.batch.template import check_columns
from airflow_batch_gemini.exceptions import SourceError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

T = TypeVar("T")

_ROWS_PER_PAGE = 1000
_FETCH_BYTES = 1 << 18
"""Fetched at least: what reads in large pieces gets them, and Parquet, which jumps, no more than it asks for."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows of a batch, not yet read. Exactly one of *sql* and *source_uri* is set."""

    sql: str | None
    source_uri: str | None
    source_format: Format | None
    key_column: str
    project_id: str
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None

    def batches(self, template: Template, workspace: WorkspaceHook) -> Iterator[RowBatch]:
        """Yield the rows, a bounded number at a time, once their columns are known to suit *template*."""

        def check(columns: Sequence[str], source: str) -> None:
            check_columns(template.segments, key_column=self.key_column, available=columns, source=source)

        if self.sql is not None:
            batches = self._query(self.sql)
        elif str(self.source_uri).startswith("gs://"):
            batches = self._cloud_storage(GcsUri.parse(self.source_uri), template, workspace)
        else:
            batches = self._object_storage(str(self.source_uri), template)
        return checked_batches(batches, check)

    def _query(self, sql: str) -> Iterator[RowBatch]:
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook
        from airflow_batch_gemini.sql.prepare import source_query

        hook = WarehouseHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        with closing(hook):
            rows = hook.query_rows(
                source_query(sql, key_column=self.key_column),
                project=self.project_id,
                location="",  # BigQuery finds it by the tables that are read
                page_size=_ROWS_PER_PAGE,
            )
            yield from query_batches(rows, source="the query")

    def _cloud_storage(
        self, pattern: GcsUri, template: Template, workspace: WorkspaceHook
    ) -> Iterator[RowBatch]:
        for info in _some(workspace.glob(pattern), str(pattern)):
            with workspace.reader(GcsUri.parse(info.uri), chunk_bytes=_FETCH_BYTES) as stream:
                yield from self._decoded(stream, info.uri, template)

    def _object_storage(self, pattern: str, template: Template) -> Iterator[RowBatch]:
        from airflow_batch_gemini.hooks.source import ObjectStorage

        storage = ObjectStorage()
        for uri in _some(storage.glob(pattern), pattern):
            with storage.open(pattern, uri) as stream:
                yield from self._decoded(stream, uri, template)

    def _decoded(self, stream: BinaryIO, uri: str, template: Template) -> Iterator[RowBatch]:
        from airflow_batch_gemini.hooks.source import parquet_batches

        match format_of(uri, self.source_format):
            case "jsonl":
                return jsonl_batches(stream, source=uri)
            case "csv":
                return csv_batches(stream, source=uri)
            case "parquet":
                return parquet_batches(stream, source=uri, wanted=(self.key_column, *template.columns))


def _some(found: list[T], pattern: str) -> list[T]:
    if found:
        return found
    raise SourceError(f"There is no file {pattern}. Nothing was sent; correct the URI.")
