"""The copy of a request table that only one job reads."""

from __future__ import annotations

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.literal import string_literal
from airflow_batch_gemini.sql.prepare import expiration


def clone_table(source: TableName, target: TableName, *, description: str) -> str:
    """Return the statement that clones *source*: no bytes are copied, and dropping the clone leaves the source.

    Source: GoogleSQL reference, "CREATE TABLE CLONE statement".
    """
    return f"CREATE TABLE IF NOT EXISTS {target.sql} CLONE {source.sql} {_options(description)}"


def copy_table(source: TableName, target: TableName, *, description: str) -> str:
    """Return the statement that copies *source*: a clone would lack what was streamed into it a moment ago."""
    return f"CREATE TABLE IF NOT EXISTS {target.sql} {_options(description)} AS SELECT * FROM {source.sql}"


def drop_table(table: TableName) -> str:
    """Return the statement that deletes *table*; one that is not there is as good."""
    return f"DROP TABLE IF EXISTS {table.sql}"


def _options(description: str) -> str:
    """A dataset's own default may be shorter than a job waits in the queue, or none, and the prompts would stay."""
    return f"OPTIONS (description = {string_literal(description)}, expiration_timestamp = {expiration()})"
