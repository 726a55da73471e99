"""Raw landing: load jobs that bring requests and predictions into BigQuery as they are, server side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_batch_gemini.batch.names import GcsUri, TableName

REQUESTS_SCHEMA = (("key", "STRING"), ("fingerprint", "STRING"), ("request", "JSON"))
COPIES_SCHEMA = (("key", "STRING"), ("fingerprint", "STRING"))
REJECTED_SCHEMA = (("key", "STRING"), ("rule", "STRING"), ("message", "STRING"))
PREDICTIONS_SCHEMA = (
    ("key", "STRING"),
    ("status", "STRING"),
    ("processed_time", "STRING"),
    ("request", "JSON"),
    ("response", "JSON"),
)
"""Explicit, so that no value of a row decides the type of a column. Columns are read by name, never by place."""


def load_requests(uri: GcsUri, table: TableName) -> dict[str, Any]:
    """Return the configuration of the job that lands the requests of one part."""
    return _load([uri], table, REQUESTS_SCHEMA, max_bad=0)


def load_beside(uri: GcsUri, table: TableName, *, schema: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the configuration of the job that lands what a preparation wrote beside its requests."""
    return _load([uri], table, schema, max_bad=0)


def load_predictions(
    uris: Sequence[GcsUri], table: TableName, *, max_corrupt_lines: int = 0
) -> dict[str, Any]:
    """Return the configuration of the job that lands the predictions of one job.

    :param max_corrupt_lines: lines that may be left out because they are not JSON; BigQuery counts them.
    """
    return _load(uris, table, PREDICTIONS_SCHEMA, max_bad=max_corrupt_lines)


def _load(
    uris: Sequence[GcsUri], table: TableName, schema: Sequence[tuple[str, str]], *, max_bad: int
) -> dict[str, Any]:
    return {
        "load": {
            "sourceUris": sorted(str(uri) for uri in uris),
            "sourceFormat": "NEWLINE_DELIMITED_JSON",
            "destinationTable": table_reference(table),
            "schema": {"fields": [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in schema]},
            "ignoreUnknownValues": True,
            "maxBadRecords": max_bad,
            "createDisposition": "CREATE_IF_NEEDED",
            "writeDisposition": "WRITE_TRUNCATE",
        }
    }


def query(sql: str) -> dict[str, Any]:
    """Return the configuration of a job that runs the statement or script *sql*."""
    return {"query": {"query": sql, "useLegacySql": False}}


def query_into(sql: str, table: TableName) -> dict[str, Any]:
    """Return the configuration of a job that replaces *table* by the answer of *sql*."""
    return {
        "query": {
            "query": sql,
            "useLegacySql": False,
            "destinationTable": table_reference(table),
            "createDisposition": "CREATE_IF_NEEDED",
            "writeDisposition": "WRITE_TRUNCATE",
        }
    }


def table_reference(table: TableName) -> dict[str, str]:
    """Return *table* as the REST API spells it."""
    return {"projectId": table.project, "datasetId": table.dataset, "tableId": table.table}
