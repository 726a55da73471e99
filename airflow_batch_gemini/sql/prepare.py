"""Preparation inside BigQuery: requests as a table, checked and cut into parts without a byte passing the worker.

The same compiled template that renders lines in Python renders the expression here. A request table has two columns,
``key STRING`` and ``request JSON``, and expires by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch import landing
from airflow_batch_gemini.batch.lint import MAX_KEY_BYTES, ROLES
from airflow_batch_gemini.batch.media import URI_PATTERN
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX, Template
from airflow_batch_gemini.batch.template import Segment
from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.rendering import ROWS, request_expression, text_expression, value_paths

EXPIRES_AFTER_DAYS = 30

_LINE_OVERHEAD = len('{"key":"","request":}\n')
_SIZE = f"BYTE_LENGTH(key) + BYTE_LENGTH(TO_JSON_STRING(request)) + {_LINE_OVERHEAD}"
"""Bytes of the request as a line of a file, so that one limit serves both media."""
_CONTROL = string_literal(r"[\x00-\x1f\x7f]")


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

    What is no JSON becomes NULL, which :func:`no_requests` finds.
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


def no_requests(table: TableName) -> str:
    """Return the query for a row that is no request, and the rule it breaks: NULL for what is no JSON object."""
    cached = _any_of("request", "cachedContent", "cached_content")
    roles = ", ".join(string_literal(role) for role in sorted(ROLES))
    stores = _any_of("tool", "retrieval.vertexRagStore", "retrieval.vertex_rag_store")
    turns = "JSON_QUERY_ARRAY(request, '$.contents')"
    return (
        "SELECT key, CASE WHEN kind IS NULL OR kind != 'object' THEN NULL WHEN cached THEN 'GB105'\n"
        "  WHEN bare THEN 'GB106' WHEN odd_role THEN 'GB107' ELSE 'GB114' END AS rule_id\n"
        "FROM (SELECT key, JSON_TYPE(request) AS kind,\n"
        f"  IFNULL(ARRAY_LENGTH({turns}), IF(JSON_TYPE(JSON_QUERY(request, '$.contents')) = 'object', 1, 0)) = 0\n"
        "    AS bare,\n"
        f"  {cached} AS cached,\n"
        f"  IFNULL(JSON_VALUE(request, '$.contents.role') NOT IN ({roles}), FALSE)\n"
        f"    OR EXISTS(SELECT 1 FROM UNNEST({turns}) AS turn WHERE JSON_VALUE(turn, '$.role') NOT IN ({roles}))\n"
        "    AS odd_role,\n"
        f"  EXISTS(SELECT 1 FROM UNNEST(JSON_QUERY_ARRAY(request, '$.tools')) AS tool WHERE {stores}) AS rag\n"
        f"  FROM {table.sql})\n"
        "WHERE kind IS NULL OR kind != 'object' OR bare OR cached OR odd_role OR rag ORDER BY key LIMIT 1"
    )


def _any_of(document: str, *paths: str) -> str:
    return " OR ".join(f"JSON_QUERY({document}, '$.{path}') IS NOT NULL" for path in paths)


def totals(table: TableName, *, max_line_bytes: int) -> str:
    """Return the query that counts and measures the requests, and names a key for each rule that one breaks."""
    prefix = len(WIRE_KEY_PREFIX)
    return (
        "SELECT COUNT(*) AS row_count, COUNTIF(key IS NULL) AS null_keys,\n"
        f"  COUNTIF(key = {string_literal(WIRE_KEY_PREFIX)}) AS empty_keys,\n"
        f"  MIN(IF(BYTE_LENGTH(key) > {MAX_KEY_BYTES + prefix}, key, NULL)) AS long_key,\n"
        f"  MIN(IF(REGEXP_CONTAINS(key, {_CONTROL}), key, NULL)) AS control_key,\n"
        f"  MIN(IF(size > {max_line_bytes}, key, NULL)) AS large_key,\n"
        "  IFNULL(SUM(size), 0) AS total_size, IFNULL(MAX(size), 0) AS largest\n"
        f"FROM (SELECT key, {_SIZE} AS size FROM {table.sql})"
    )


def duplicate_key(table: TableName) -> str:
    """Return the query for a key that is used twice, if one is."""
    return (
        f"SELECT key, COUNT(*) AS row_count FROM {table.sql} WHERE key IS NOT NULL\n"
        "GROUP BY key HAVING COUNT(*) > 1 ORDER BY key LIMIT 1"
    )


def bad_media(table: TableName) -> str:
    """Return the query for a request whose media URI is malformed (GB109) or of unknown type (GB110)."""
    uri = "JSON_VALUE(part, '$.fileData.fileUri')"
    well_formed = f"REGEXP_CONTAINS({uri}, {string_literal(f'^(?:{URI_PATTERN})$')})"
    return (
        f"SELECT key, IF({well_formed}, 'GB110', 'GB109') AS rule_id\n"
        f"FROM {table.sql}, UNNEST(JSON_QUERY_ARRAY(request, '$.contents')) AS turn,\n"
        "  UNNEST(JSON_QUERY_ARRAY(turn, '$.parts')) AS part\n"
        f"WHERE {uri} IS NOT NULL AND (NOT {well_formed} OR JSON_VALUE(part, '$.fileData.mimeType') = '')\n"
        "ORDER BY key LIMIT 1"
    )


def bad_values(table: TableName, segments: Sequence[Segment]) -> str | None:
    """Return the query for a request with a value that does not fit its field (GB126), and for the path of that.

    ``None`` when the template has no such fields.
    """
    paths = [string_literal(path) for path in value_paths(segments)]
    if not paths:
        return None
    cases = " ".join(f"WHEN JSON_TYPE(JSON_QUERY(request, {path})) = 'null' THEN {path}" for path in paths)
    return (
        f"SELECT key, path FROM (SELECT key, CASE {cases} END AS path FROM {table.sql})\n"
        "WHERE path IS NOT NULL ORDER BY key LIMIT 1"
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
        f"SELECT COUNT(*) AS row_count, SUM({_SIZE}) AS total_size,\n"
        f"  TO_HEX(SHA256(STRING_AGG({row}, '' ORDER BY key))) AS checksum\n"
        f"FROM {table.sql}"
    )


def _sliced(table: TableName, limits: Limits, largest: int) -> str:
    """Give every key its part, in order of keys.

    Each request weighs what it takes of a part: its share of the rows or of the bytes, whichever is more. A part takes
    what begins within its capacity, so room is left for the one request that ends beyond it.
    """
    room = max(limits.size - largest, 1)
    weight = f"GREATEST(({_SIZE}) * {limits.rows}, {room})"
    before = "SUM(weight) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - weight"
    return (
        f"SELECT key, DIV({before}, {room * limits.rows}) AS part\n"
        f"FROM (SELECT key, {weight} AS weight FROM {table.sql})"
    )


def create_table(table: TableName) -> str:
    """Return the beginning of a statement that replaces a table of a batch, which expires by itself."""
    expires = f"TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {EXPIRES_AFTER_DAYS} DAY)"
    return f"CREATE OR REPLACE TABLE {table.sql} OPTIONS (expiration_timestamp = {expires}) AS"


def _subquery(sql: str) -> str:
    """The line ends keep a comment at the end of *sql* from swallowing what follows."""
    return f"(\n{sql.strip().removesuffix(';')}\n) AS {ROWS}"
