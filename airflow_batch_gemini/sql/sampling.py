"""A sample of the requests of a part, taken by BigQuery: those whose keys have the smallest fingerprints."""

from __future__ import annotations

from airflow_batch_gemini.batch.names import TableName

MAX_PARTS = 16
"""Parts that are looked into; the others are taken to be like them."""
MAX_ROWS = 512
MAX_BYTES = 16 << 20
"""Of all samples of a batch together; a worker has to hold them."""


def chosen_parts(parts: int) -> list[int]:
    """Return which of so many parts to look into, spread evenly."""
    count = min(parts, MAX_PARTS)
    return [parts * index // count for index in range(count)]


def sample(table: TableName, *, share: int) -> str:
    """Return the query for the ``line`` of some requests of *table*, one at least.

    A fingerprint has nothing to do with what a request says, so each request is as likely to be among them, and the
    same are in every attempt.

    :param share: among how many parts the bounds are divided.
    """
    rows, size = max(MAX_ROWS // share, 1), max(MAX_BYTES // share, 1)
    return (
        "SELECT line FROM (SELECT line, place, key,\n"
        "  SUM(BYTE_LENGTH(line)) OVER (ORDER BY place, key ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)\n"
        "    AS size, ROW_NUMBER() OVER (ORDER BY place, key) AS number\n"
        "  FROM (SELECT key, FARM_FINGERPRINT(key) AS place,\n"
        "    CONCAT('{\"key\":', TO_JSON_STRING(key), ',\"request\":', TO_JSON_STRING(request), '}') AS line\n"
        f"    FROM {table.sql} ORDER BY place, key LIMIT {rows}))\n"
        f"WHERE size <= {size} OR number = 1 ORDER BY place, key"
    )
