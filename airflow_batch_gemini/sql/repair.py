"""Which rows of a batch deserve another try, asked of the tables it was loaded into, and their requests as a table."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch.allowance import Allowance
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.repair import RepairPolicy, Treatment
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.sql.literal import string_literal
from airflow_batch_gemini.sql.prepare import create_table
from airflow_batch_gemini.sql.results import LoadedBatch
from airflow_batch_gemini.sql.treatment import chosen, treated


def standings(batch: LoadedBatch) -> str:
    """Return the query for how many rows stand how, and what they cost in tokens. Copies cost nothing."""
    columns = "prompt_tokens, output_tokens, thoughts_tokens, copy_of"
    paid = "copy_of IS NULL AND prompt_tokens IS NOT NULL"
    output = "IFNULL(output_tokens, 0) + IFNULL(thoughts_tokens, 0)"
    return (
        "SELECT outcome, COUNT(*) AS row_count,\n"
        f"  COUNTIF({paid}) AS paid, SUM(IF({paid}, prompt_tokens, 0)) AS prompt,\n"
        f"  SUM(IF({paid}, {output}, 0)) AS output\n"
        "FROM (\n"
        f"  SELECT {string_literal(Outcome.SUCCEEDED)} AS outcome, {columns}\n"
        f"  FROM {batch.results.sql} WHERE {batch.rows}\n"
        "  UNION ALL\n"
        f"  SELECT outcome, {columns}\n"
        f"  FROM {batch.errors.sql} WHERE {batch.rows}\n"
        ")\nGROUP BY outcome"
    )


def deserving(batch: LoadedBatch, policy: RepairPolicy, treatments: Sequence[Treatment]) -> str:
    """Return the query for the keys that deserve another try, each with the place of its treatment.

    A copy gets the answer of the row that was sent for it, so only that one is asked again.
    """
    return (
        "SELECT key, treatment FROM (\n"
        f"  SELECT key, {chosen(policy, treatments)} AS treatment\n"
        f"  FROM {batch.errors.sql} WHERE {batch.rows} AND copy_of IS NULL\n"
        ")\nWHERE treatment IS NOT NULL"
    )


def create_repairs(
    table: TableName,
    batch: LoadedBatch,
    *,
    requests: Sequence[TableName],
    fingerprinted: bool,
    policy: RepairPolicy,
    treatments: Sequence[Treatment],
    allowance: Allowance,
) -> str:
    """Return the statement that makes the request table of a repair out of those of the first round."""
    names = "key, fingerprint, request" if fingerprinted else "key, request"
    every = "\n    UNION ALL\n".join(f"    SELECT {names} FROM {one.sql}" for one in requests)
    cases = " ".join(
        f"WHEN {place} THEN {treated('requests.request', one)}" for place, one in enumerate(treatments)
    )
    mark = "requests.fingerprint, " if fingerprinted else ""
    return (
        f"{create_table(table)}\n"
        f"SELECT {names} FROM (\n"
        f"  SELECT {names}, {_taken(allowance)} AS taken FROM (\n"
        f"    SELECT requests.key, {mark}treatment, CASE treatment {cases} END AS request\n"
        f"    FROM (\n{every}\n    ) AS requests\n"
        f"    JOIN (\n{deserving(batch, policy, treatments)}\n    ) AS deserving\n"
        f"    ON requests.key = CONCAT({string_literal(WIRE_KEY_PREFIX)}, deserving.key)\n"
        "  )\n  WHERE request IS NOT NULL\n"
        ")\nWHERE taken"
    )


def _taken(allowance: Allowance) -> str:
    """Whether a row is among the first that fit, in the order of the keys."""
    conditions, ordered = [], "OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    if allowance.max_rows is not None:
        conditions.append(f"COUNT(*) {ordered} <= {allowance.max_rows}")
    if allowance.max_nano is not None:
        costs = " ".join(f"WHEN {place} THEN {nano}" for place, nano in enumerate(allowance.row_costs))
        conditions.append(f"SUM(CASE treatment {costs} END) {ordered} <= {allowance.max_nano}")
    return " AND ".join(conditions) or "TRUE"


def copies_of(requests: Sequence[TableName], copies: TableName) -> str:
    """Return the query for the number of rows that get an answer to one of *requests*."""
    every = " UNION ALL ".join(f"SELECT fingerprint FROM {one.sql}" for one in requests)
    return (
        f"SELECT COUNT(*) AS row_count FROM {copies.sql} AS copies\n"
        f"JOIN ({every}) AS requests ON requests.fingerprint = copies.fingerprint"
    )
