"""Requests that need not be sent, found by BigQuery; the rule is that of :mod:`airflow_batch_gemini.batch.reuse`."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch.names import TableName, model_id
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.batch.reuse import FINGERPRINT_BYTES, ROW_BYTES
from airflow_batch_gemini.sql.literal import string_literal
from airflow_batch_gemini.sql.prepare import create_table

_PLAIN_KEY = f"SUBSTR(requests.key, {len(WIRE_KEY_PREFIX) + 1})"


def answered_rows(results: TableName, *, batch_id: str) -> str:
    """Return the query for what :func:`batch.reuse.row_number` makes of every row that has an answer, in hex.

    :param batch_id: the batch that asks. Its own answers do not count: a load replaces them by those it finds.
    """
    digest = f"SUBSTR(TO_HEX(SHA256(CONCAT(key, '\\n', fingerprint))), 1, {2 * ROW_BYTES})"
    return f"SELECT DISTINCT {digest} AS number FROM {results.sql} WHERE {_of_others(batch_id)}"


def mark(table: TableName, *, model: str) -> str:
    """Return the statement that gives every request in *table* its fingerprint.

    It differs from the one that a worker reckons, whose requests are other bytes: a batch that is prepared the other
    way for the first time sends everything once more.
    """
    salt = string_literal(f"{model_id(model)}\n")
    digest = f"SUBSTR(TO_HEX(SHA256(CONCAT({salt}, TO_JSON_STRING(request)))), 1, {2 * FINGERPRINT_BYTES})"
    return f"{create_table(table)}\nSELECT key, {digest} AS fingerprint, request FROM {table.sql}"


def leave_out_answered(table: TableName, *, results: TableName, batch_id: str) -> str:
    """Return the statement that takes the requests out of *table* whose answers another batch left in *results*."""
    return (
        f"{create_table(table)}\nSELECT requests.* FROM {table.sql} AS requests\n"
        f"LEFT JOIN (SELECT DISTINCT key, fingerprint FROM {results.sql} WHERE {_of_others(batch_id)}) AS known\n"
        f"  ON known.key = {_PLAIN_KEY} AND known.fingerprint = requests.fingerprint\n"
        "WHERE known.key IS NULL"
    )


def create_copies(copies: TableName, *, table: TableName) -> str:
    """Return the statement that lists the rows of *table* whose request a row of a smaller key has too."""
    return f"{create_table(copies)}\nSELECT key, fingerprint FROM ({_numbered(table)})\nWHERE place > 1"


def leave_out_copies(table: TableName) -> str:
    """Return the statement that keeps the first of equal requests in *table*."""
    return (
        f"{create_table(table)}\nSELECT key, fingerprint, request FROM ({_numbered(table)})\nWHERE place = 1"
    )


def count(table: TableName) -> str:
    """Return the query for the number of rows in *table*."""
    return f"SELECT COUNT(*) AS row_count FROM {table.sql}"


def checksum(table: TableName, columns: Sequence[str]) -> str:
    """Return the query for a checksum over *columns* of *table*: equal for equal rows, whatever their order.

    In two steps, since all digests of millions of rows are more than one value may hold.
    """
    texts = ", '\\n', ".join(columns)
    row = f"TO_HEX(SHA256(CONCAT({texts})))"
    return (
        "SELECT TO_HEX(SHA256(STRING_AGG(digest, '' ORDER BY digest))) AS checksum FROM (\n"
        "  SELECT TO_HEX(SHA256(STRING_AGG(line, '' ORDER BY line))) AS digest\n"
        f"  FROM (SELECT {row} AS line FROM {table.sql}) GROUP BY SUBSTR(line, 1, 4)\n)"
    )


def _of_others(batch_id: str) -> str:
    return f"fingerprint IS NOT NULL AND batch_id != {string_literal(batch_id)}"


def _numbered(table: TableName) -> str:
    place = "ROW_NUMBER() OVER (PARTITION BY fingerprint ORDER BY key)"
    return f"SELECT *, {place} AS place FROM {table.sql}"
