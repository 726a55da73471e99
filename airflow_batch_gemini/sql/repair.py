"""Which rows of a batch deserve another try, asked of the tables it was loaded into, and their requests as a table."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch.allowance import Allowance
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.repair import Action, RepairPolicy, Treatment
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


def deserving(
    batch: LoadedBatch,
    policy: RepairPolicy,
    treatments: Sequence[Treatment],
    *,
    resumed: Sequence[str] = (),
) -> str:
    """Return the query for the keys that deserve another try, each with the place of its treatment.

    A copy gets the answer of the row that was sent for it, so only that one is asked again.

    :param resumed: jobs that others go on with; what those run by themselves is left out.
    """
    others = f" AND NOT ({_lost(resumed)})" if resumed else ""
    return (
        "SELECT key, treatment FROM (\n"
        f"  SELECT key, {chosen(policy, treatments)} AS treatment\n"
        f"  FROM {batch.errors.sql} WHERE {batch.rows} AND copy_of IS NULL{others}\n"
        ")\nWHERE treatment IS NOT NULL"
    )


def lost_rows(
    batch: LoadedBatch, jobs: Sequence[str], policy: RepairPolicy, treatments: Sequence[Treatment]
) -> str:
    """Return the query for the number of rows that each of *jobs* wrote a line of, but no response.

    Beside it that of those which are to be sent again as they were, and of those whose line asks something else.
    """
    same = [place for place, one in enumerate(treatments) if one.action is Action.SAME]
    failed = f"outcome = {string_literal(Outcome.FAILED)}"
    again = f"COUNTIF({failed} AND {chosen(policy, treatments)} = {same[0]})" if same else "0"
    return (
        f"SELECT job_name, COUNTIF({failed}) AS row_count, {again} AS sent_again,\n"
        f"  COUNTIF(outcome = {string_literal(Outcome.MISMATCHED)}) AS mismatched\n"
        f"FROM {batch.errors.sql}\n"
        f"WHERE {batch.rows} AND copy_of IS NULL AND {_without_response(jobs)}\nGROUP BY job_name"
    )


def asked_since(batch: LoadedBatch) -> str:
    """Return the query for the number of rows that a later round than the first one has loaded."""
    tables = "\n  UNION ALL\n".join(
        f"  SELECT round FROM {table.sql} WHERE {batch.rows}" for table in (batch.results, batch.errors)
    )
    return f"SELECT COUNT(*) AS row_count FROM (\n{tables}\n)\nWHERE round > 0"


def lost_keys(batch: LoadedBatch, jobs: Sequence[str]) -> str:
    """Return the query for the keys of those rows."""
    return f"SELECT key FROM {batch.errors.sql}\nWHERE {batch.rows} AND copy_of IS NULL AND {_lost(jobs)}"


def _lost(jobs: Sequence[str]) -> str:
    """Whether a row of the errors table is one that a job which goes on with one of *jobs* runs again.

    Its line has an error instead of a response, or neither. A row without a line is unknown to that job, and one with
    a response that is of no use is finished to it.
    """
    return f"outcome = {string_literal(Outcome.FAILED)} AND {_without_response(jobs)}"


def _without_response(jobs: Sequence[str]) -> str:
    names = ", ".join(map(string_literal, jobs))
    return f"finish_reason IS NULL AND prompt_tokens IS NULL AND IFNULL(job_name, '') IN ({names})"


def create_resumed(
    table: TableName, batch: LoadedBatch, *, job_name: str, requests: TableName, fingerprinted: bool
) -> str:
    """Return the statement that makes the request table of what a job runs that goes on with *job_name*.

    :param requests: those of the part that *job_name* was to answer.
    """
    names = "key, fingerprint, request" if fingerprinted else "key, request"
    return (
        f"{create_table(table)}\n"
        f"SELECT {names} FROM {requests.sql}\n"
        f"WHERE key IN (\n  SELECT CONCAT({string_literal(WIRE_KEY_PREFIX)}, key) FROM (\n"
        f"{lost_keys(batch, [job_name])}\n  )\n)"
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
    resumed: Sequence[str] = (),
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
        f"    JOIN (\n{deserving(batch, policy, treatments, resumed=resumed)}\n    ) AS deserving\n"
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
