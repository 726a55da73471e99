"""Preparation inside BigQuery: requests as a table, checked and cut into parts without a byte passing the worker.

The same compiled template that renders lines in Python renders the expression here. A request table has two columns,
``key STRING`` and ``request JSON``, and expires by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch import landing
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX, Template
from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.rendering import ROWS, request_expression, text_expression

EXPIRES_AFTER_DAYS = 30

_LINE_OVERHEAD = len('{"key":"","request":}\n')
LINE_SIZE = f"BYTE_LENGTH(key) + BYTE_LENGTH(TO_JSON_STRING(request)) + {_LINE_OVERHEAD}"
"""Bytes of the request as a line of a file, so that one limit serves both media."""


def source_query(sql: str, *, key_column: str) -> str:
    """Return the query whose rows a worker streams.

    Ordered by key: a repeated preparation then gives the same bytes, and with them the same fingerprint.
    """
    return f"SELECT * FROM {_subquery(sql)} ORDER BY {ROWS}.{identifier(key_column)}"


def select_columns(table: TableName, columns: Sequence[str]) -> str:
    """Return the query for some *columns* of a table, each once."""
    return f"SELECT {', '.join(map(identifier, dict.fromkeys(columns)))} FROM {table.sql}"


def create_probe(sql: str, *, table: TableName) -> str:
    """Return the statement that leaves an empty table with the columns of *sql*, read from no row."""
    return f"{create_table(table)}\nSELECT * FROM {_subquery(sql)} WHERE FALSE"


def create_requests(
    sql: str,
    *,
    table: TableName,
    template: Template,
    key_column: str,
    columns: Sequence[landing.Column],
) -> str:
    """Return the statement that makes the request table of all rows of *sql*.

    :param columns: the columns of *sql*, with their types.
    """
    by_name = {column.name: column for column in columns}
    key = text_expression(by_name[key_column])
    request = request_expression(template.segments, columns=by_name, null_as=template.null_as)
    return (
        f"{create_table(table)}\n"
        f"SELECT CONCAT({string_literal(WIRE_KEY_PREFIX)}, {key}) AS key,\n  {request} AS request\n"
        f"FROM {_subquery(sql)}"
    )


def create_ready_made(
    sql: str, *, table: TableName, key_column: str, columns: Sequence[landing.Column]
) -> str:
    """Return the statement that makes the request table of rows whose column ``request`` holds requests.

    What is no JSON becomes NULL, which breaks a rule.
    """
    by_name = {column.name: column for column in columns}
    kind, name = by_name["request"].type, f"{ROWS}.{identifier('request')}"
    if kind not in {"JSON", "STRING"} or by_name["request"].mode == "REPEATED":
        raise SourceError(
            f"Column 'request' is of type {kind}; ready-made requests are JSON, or STRING that holds JSON. Nothing was "
            "sent; use TO_JSON()."
        )
    key = text_expression(by_name[key_column])
    request = name if kind == "JSON" else f"SAFE.PARSE_JSON({name})"
    return (
        f"{create_table(table)}\n"
        f"SELECT CONCAT({string_literal(WIRE_KEY_PREFIX)}, {key}) AS key, {request} AS request\n"
        f"FROM {_subquery(sql)}"
    )


def totals(table: TableName) -> str:
    """Return the query that counts and measures the requests."""
    return (
        "SELECT COUNT(*) AS row_count, IFNULL(SUM(size), 0) AS total_size, IFNULL(MAX(size), 0) AS largest\n"
        f"FROM (SELECT {LINE_SIZE} AS size FROM {table.sql})"
    )


def last_part(table: TableName, *, limits: Limits, largest: int) -> str:
    """Return the query for the index of the last part that the requests of *table* need."""
    return f"SELECT MAX(part) AS last_part FROM ({_sliced(table, limits, largest)})"


def create_part(target: TableName, *, source: TableName, part: int, limits: Limits, largest: int) -> str:
    """Return the statement that copies one part of the requests in *source* to *target*, which may be the same.

    :param largest: bytes of the largest request.
    """
    return (
        f"{create_table(target)}\n"
        f"SELECT requests.* FROM {source.sql} AS requests\n"
        f"JOIN ({_sliced(source, limits, largest)}) AS slices ON requests.key = slices.key\n"
        f"WHERE slices.part = {part}"
    )


def checksum(table: TableName) -> str:
    """Return the query for rows, size and a checksum of *table*: equal for equal requests, whatever their order."""
    row = "TO_HEX(SHA256(CONCAT(key, '\\n', TO_JSON_STRING(request))))"
    return (
        f"SELECT COUNT(*) AS row_count, SUM({LINE_SIZE}) AS total_size,\n"
        f"  TO_HEX(SHA256(STRING_AGG({row}, '' ORDER BY key))) AS checksum\n"
        f"FROM {table.sql}"
    )


def _sliced(table: TableName, limits: Limits, largest: int) -> str:
    """Give every key its part, in order of keys.

    Each request weighs what it takes of a part: its share of the rows or of the bytes, whichever is more. A part takes
    what begins within its capacity, so room is left for the one request that ends beyond it. None weighs more than that
    capacity: it would leave a part behind it in which nothing begins.
    """
    room = max(limits.size - largest, 1)
    weight = f"LEAST(GREATEST(({LINE_SIZE}) * {limits.rows}, {room}), {room * limits.rows})"
    before = "SUM(weight) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - weight"
    return (
        f"SELECT key, DIV({before}, {room * limits.rows}) AS part\n"
        f"FROM (SELECT key, {weight} AS weight FROM {table.sql})"
    )


def create_table(table: TableName) -> str:
    """Return the beginning of a statement that replaces a table of a batch, which expires by itself."""
    return f"CREATE OR REPLACE TABLE {table.sql} OPTIONS (expiration_timestamp = {expiration()}) AS"


def expiration() -> str:
    """Return the expression for when a table of requests expires that is made now."""
    return f"TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {EXPIRES_AFTER_DAYS} DAY)"


def _subquery(sql: str) -> str:
    """The line ends keep a comment at the end of *sql* from swallowing what follows."""
    return f"(\n{sql.strip().removesuffix(';')}\n) AS {ROWS}"
