"""The results table and the errors table, and the one script that publishes a batch to both."""

from __future__ import annotations

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
    Column("finish_reason", "STRING"),
    Column("model", "STRING"),
    Column("model_version", "STRING"),
    *_SPENT,
)
"""One row for every other row."""

_KEY = ("batch_id", "key")
_LOADED_AT = "loaded_at"
_INCOMPARABLE = frozenset({"JSON"})
"""Types that cannot be compared; ``answer`` follows from ``text``, which can."""


def publish(*, batch_id: str, outcomes: TableName, results: TableName, errors: TableName) -> str:
    """Return the script that makes both tables say of this batch what *outcomes* says, and nothing else.

    It is atomic, and it touches only rows that differ: run again it changes nothing, ``loaded_at`` included. A key
    that was an error and has succeeded since moves over.
    """
    batch = string_literal(batch_id)
    return "\n".join(
        [
            create(results, RESULTS),
            create(errors, ERRORS),
            "BEGIN TRANSACTION;",
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
