"""The results table and the errors table: their columns, and what keeps a table from being one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.growing import grown
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
    Column("batch_fingerprint", "STRING"),
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

TARGET, SOURCE = "gemini_target", "gemini_source"
"""What the publish calls the table that it changes and the rows that come: a column called like the table would be
taken for the whole row."""

TAKEN = frozenset([*(column.name for column in (*RESULTS, *ERRORS)), TARGET, SOURCE])
"""Names that no property of a response schema gets."""


@dataclass(frozen=True, kw_only=True)
class LoadedBatch:
    """Where the rows of all rounds of a batch stand."""

    batch_id: str
    fingerprint: str
    results: TableName
    errors: TableName

    @property
    def rows(self) -> str:
        """The condition for its rows, in either table. Rows of an earlier preparation answer other requests."""
        return f"batch_id = {string_literal(self.batch_id)} AND batch_fingerprint = {string_literal(self.fingerprint)}"


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


_IDENTITY = frozenset({"batch_id", "key"})


def clashes(wanted: Iterable[Column], found: Sequence[Column]) -> list[str]:
    """Return what keeps an existing table from taking our rows: a column of another type, or no column for whose row.

    Any other column that is missing can be added, and any field of a STRUCT.
    """
    types = {column.name.casefold(): column for column in found}
    wrong = []
    for column in wanted:
        other = types.get(column.name.casefold())
        if other is None and column.name in _IDENTITY:
            wrong.append(f"{column.name} {type_of(column)} is missing")
        elif other is not None and grown(column, other) is None:
            wrong.append(
                f"{column.name} is {other.mode} {type_of(replace(other, mode=''))}, not {type_of(column)}"
            )
    return wrong


def lacking(wanted: Iterable[Column], found: Sequence[Column]) -> list[Column]:
    """Return the columns that an existing table does not have yet."""
    names = {column.name.casefold() for column in found}
    return [column for column in wanted if column.name.casefold() not in names]
