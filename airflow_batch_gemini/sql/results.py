"""The results table and the errors table, and the one script that publishes a batch to both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.typed import definition, type_of

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
    Column("round", "INT64"),
    Column("template_fingerprint", "STRING"),
    Column("template_version", "STRING"),
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
    Column("path", "STRING"),
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
_INCOMPARABLE = frozenset({"JSON", "STRUCT"})
"""Types that cannot be compared, and no list can; their texts can."""
TAKEN = frozenset(column.name for column in (*RESULTS, *ERRORS))
"""Names that no property of a response schema gets."""


def publish(
    *,
    batch_id: str,
    attempt: str,
    outcomes: TableName,
    results: TableName,
    errors: TableName,
    published: TableName,
    columns: Sequence[Column] = (),
) -> str:
    """Return the script that makes both tables say of this batch what *outcomes* says, and nothing else.

    It is atomic, and it touches only rows that differ: run again it changes nothing, ``loaded_at`` included. A key
    that was an error and has succeeded since moves over.

    It fails with :data:`SUPERSEDED` once an attempt newer than *attempt* has published: what a stalled one knows is
    older. Every publish changes the one row of *published*, so of two at a time BigQuery lets one through; the tables
    themselves would not do for that, since two publishes need not touch the same one.

    :param columns: of the results table, beside those that every result has.
    """
    every = (*RESULTS, *columns)
    batch = string_literal(batch_id)
    return "\n".join(
        [
            create(results, every),
            create(errors, ERRORS),
            _first_turn(published),
            "BEGIN TRANSACTION;",
            _take_turn(published, string_literal(attempt)),
            _merge(results, every, outcomes, "outcome = 'succeeded'", batch),
            _merge(errors, ERRORS, outcomes, "outcome != 'succeeded'", batch),
            "COMMIT TRANSACTION;",
        ]
    )


def create(table: TableName, columns: Iterable[Column]) -> str:
    """Return the statement that creates *table* unless it exists."""
    listed = ",\n".join(f"  {definition(column)}" for column in columns)
    return (
        f"CREATE TABLE IF NOT EXISTS {identifier(str(table))} (\n{listed}\n)\n"
        "PARTITION BY batch_date\nCLUSTER BY key;"
    )


def extend(table: TableName, columns: Iterable[Column]) -> str:
    """Return the statement that adds *columns* to *table* where they are missing; nothing that is there is changed."""
    added = ",\n".join(f"  ADD COLUMN IF NOT EXISTS {definition(column)}" for column in columns)
    return f"ALTER TABLE {identifier(str(table))}\n{added};"


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


_IDENTITY = frozenset({"batch_id", "key"})


def clashes(wanted: Iterable[Column], found: Sequence[Column]) -> list[str]:
    """Return what keeps an existing table from taking our rows: a column of another type, or no column for whose row.

    Any other column that is missing can be added.
    """
    types = {column.name.casefold(): column for column in found}
    wrong = []
    for column in wanted:
        other = types.get(column.name.casefold())
        if other is None and column.name in _IDENTITY:
            wrong.append(f"{column.name} {type_of(column)} is missing")
        elif other is not None and not _alike(column, other):
            wrong.append(
                f"{column.name} is {other.mode} {type_of(replace(other, mode=''))}, not {type_of(column)}"
            )
    return wrong


def lacking(wanted: Iterable[Column], found: Sequence[Column]) -> list[Column]:
    """Return the columns that an existing table does not have yet."""
    names = {column.name.casefold() for column in found}
    return [column for column in wanted if column.name.casefold() not in names]


def _alike(one: Column, other: Column) -> bool:
    """Whether both hold the same values; which values must be there is another matter."""
    return (
        one.type == other.type
        and (one.mode == "REPEATED") == (other.mode == "REPEATED")
        and [field.name.casefold() for field in one.fields]
        == [field.name.casefold() for field in other.fields]
        and all(map(_alike, one.fields, other.fields))
    )


def _merge(table: TableName, columns: Sequence[Column], outcomes: TableName, which: str, batch: str) -> str:
    names = [identifier(column.name) for column in columns]
    given = ", ".join(identifier(column.name) for column in columns if column.name != _LOADED_AT)
    changes = ",\n    ".join(
        f"{name} = source.{name}"
        for name, column in zip(names, columns, strict=True)
        if column.name not in _KEY
    )
    differs = "\n    OR ".join(
        f"{_comparable(column, 'target')} IS DISTINCT FROM {_comparable(column, 'source')}"
        for column in columns
        if column.name not in (*_KEY, _LOADED_AT)
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


def _comparable(column: Column, side: str) -> str:
    name = f"{side}.{identifier(column.name)}"
    whole = column.type in _INCOMPARABLE or column.mode == "REPEATED"
    return f"TO_JSON_STRING({name})" if whole else name
