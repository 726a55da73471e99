"""The results table and the errors table, and the one script that publishes a batch to both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.literal import identifier, string_literal

_SPENT = (
    Column("prompt_tokens", "INT64"),
    Column("cached_tokens", "INT64"),
    Column("output_tokens", "INT64"),
    Column("thoughts_tokens", "INT64"),
    Column("total_tokens", "INT64"),
    Column("cost_usd", "NUMERIC"),
    Column("processed_time", "TIMESTAMP"),
    Column("job_name", "STRING"),
    Column("part", "INT64"),
    Column("epoch", "INT64"),
    Column("copy_of", "STRING"),
    Column("fingerprint", "STRING"),
    Column("dag_id", "STRING"),
    Column("run_id", "STRING"),
    Column("batch_date", "DATE"),
    Column("loaded_at", "TIMESTAMP"),
)

RESULTS = (
    Column("batch_id", "STRING"),
    Column("key", "STRING"),
    Column("text", "STRING"),
    Column("answer", "JSON"),
    Column("verified", "BOOL"),
    Column("finish_reason", "STRING"),
    Column("model", "STRING"),
    Column("model_version", "STRING"),
    *_SPENT,
)
"""One row for every succeeded row of every batch."""

ERRORS = (
    Column("batch_id", "STRING"),
    Column("key", "STRING"),
    Column("outcome", "STRING"),
    Column("reason", "STRING"),
    Column("code", "INT64"),
    Column("status", "STRING"),
    Column("message", "STRING"),
    Column("retryable", "BOOL"),
    Column("text", "STRING"),
    Column("verified", "BOOL"),
    Column("finish_reason", "STRING"),
    Column("model", "STRING"),
    Column("model_version", "STRING"),
    *_SPENT,
)
"""One row for every other row."""

_KEY = ("batch_id", "key")
_LOADED_AT = "loaded_at"
SUPERSEDED = "a newer attempt has published this batch"
"""What BigQuery says of a publish that comes too late."""
_INCOMPARABLE = frozenset({"JSON"})
"""Types that cannot be compared; ``answer`` follows from ``text``, which can."""


def publish(
    *,
    batch_id: str,
    attempt: str,
    outcomes: TableName,
    results: TableName,
    errors: TableName,
    published: TableName,
) -> str:
    """Return the script that makes both tables say of this batch what *outcomes* says, and nothing else.

    It is atomic, and it touches only rows that differ: run again it changes nothing, ``loaded_at`` included. A key
    that was an error and has succeeded since moves over.

    It fails with :data:`SUPERSEDED` once an attempt newer than *attempt* has published: what a stalled one knows is
    older. Every publish changes the one row of *published*, so of two at a time BigQuery lets one through; the tables
    themselves would not do for that, since two publishes need not touch the same one.
    """
    batch = string_literal(batch_id)
    return "\n".join(
        [
            create(results, RESULTS),
            create(errors, ERRORS),
            _first_turn(published),
            "BEGIN TRANSACTION;",
            _take_turn(published, string_literal(attempt)),
            _merge(results, RESULTS, outcomes, "outcome = 'succeeded'", batch),
            _merge(errors, ERRORS, outcomes, "outcome != 'succeeded'", batch),
            "COMMIT TRANSACTION;",
        ]
    )


def create(table: TableName, columns: Iterable[Column]) -> str:
    """Return the statement that creates *table* unless it exists."""
    listed = ",\n".join(f"  {column.name} {column.type}" for column in columns)
    return (
        f"CREATE TABLE IF NOT EXISTS {identifier(str(table))} (\n{listed}\n)\n"
        "PARTITION BY batch_date\nCLUSTER BY key;"
    )


def published_table(results: TableName, errors: TableName, batch_id: str) -> TableName:
    """Return the table that says which attempt published a batch to *results* and *errors* last.

    It lies beside the results whatever else changes, so that all who publish there meet in it.
    """
    pair = hashlib.sha256(f"{results} {errors}".encode()).hexdigest()[:8]
    return results.dataset_name.table(f"gemini_published_{batch_id}_{pair}")


def _first_turn(published: TableName) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {identifier(str(published))} AS\n"
        "SELECT '' AS attempt, CURRENT_TIMESTAMP() AS published_at;"
    )


def _take_turn(published: TableName, attempt: str) -> str:
    """Later attempts have greater ids; the older one always gives way."""
    table = identifier(str(published))
    return f"""UPDATE {table}
SET attempt = {attempt}, published_at = CURRENT_TIMESTAMP()
WHERE attempt <= {attempt};
SELECT IF(COUNT(*) = 1, 'mine', ERROR({string_literal(SUPERSEDED)})) AS turn
FROM {table}
WHERE attempt = {attempt};"""


def clashes(wanted: Iterable[Column], found: Sequence[Column]) -> list[str]:
    """Return what keeps an existing table from taking our rows: columns it lacks, or has as another type."""
    types = {column.name.casefold(): column for column in found}
    wrong = []
    for column in wanted:
        other = types.get(column.name)
        if other is None:
            wrong.append(f"{column.name} {column.type} is missing")
        elif other.type != column.type or other.mode == "REPEATED":
            wrong.append(f"{column.name} is {other.mode} {other.type}, not {column.type}")
    return wrong


def _merge(table: TableName, columns: Sequence[Column], outcomes: TableName, which: str, batch: str) -> str:
    names = [column.name for column in columns]
    given = ", ".join(name for name in names if name != _LOADED_AT)
    changes = ",\n    ".join(f"{name} = source.{name}" for name in names if name not in _KEY)
    differs = "\n    OR ".join(
        f"target.{column.name} IS DISTINCT FROM source.{column.name}"
        for column in columns
        if column.name not in (*_KEY, _LOADED_AT) and column.type not in _INCOMPARABLE
    )
    return f"""MERGE {identifier(str(table))} AS target
USING (
  SELECT {given}, CURRENT_TIMESTAMP() AS {_LOADED_AT}
  FROM {identifier(str(outcomes))}
  WHERE {which}
) AS source
ON target.batch_id = source.batch_id AND target.key = source.key
WHEN MATCHED AND (
    {differs}
  ) THEN UPDATE SET
    {changes}
WHEN NOT MATCHED BY TARGET THEN
  INSERT ({", ".join(names)})
  VALUES ({", ".join(f"source.{name}" for name in names)})
WHEN NOT MATCHED BY SOURCE AND target.batch_id = {batch} THEN DELETE;"""
