"""The tables that one batch is read from, and the rows of all its parts as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.sql.literal import identifier, string_literal


@dataclass(frozen=True, kw_only=True)
class PartTables:
    """Where requests and answers of one part lie in BigQuery."""

    part: int
    epoch: int
    job_name: str
    requests: TableName
    predictions: TableName | None
    """``None`` when the job left no output at all: its rows are ``missing``."""
    response_type: Literal["JSON", "STRING"] = "JSON"
    time_type: Literal["STRING", "TIMESTAMP"] | None = "STRING"
    """Type of the column ``processed_time``, ``None`` where there is no such column."""
    fingerprinted: bool = False
    """Whether *requests* has a column ``fingerprint``."""
    echo_type: Literal["JSON", "STRING"] | None = "JSON"
    """Type of the column ``request`` of *predictions*, ``None`` where there is no such column."""
    resumed: TableName | None = None
    """What the job was asked that this part's job went on with: lines of all these rows come back."""
    resumed_until: float | None = None
    """When that one ended, in epoch seconds."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Tables of the rows that have an outcome though nothing was sent for them; ``None`` where there are none."""

    copies: TableName | None = None
    """``key`` ``fingerprint``: rows whose request, known by its fingerprint, another row of the batch sends."""
    rejected: TableName | None = None
    """``key`` ``rule`` ``message``: rows that a rule kept from being sent."""


NOTHING_BESIDE = Beside()


def requests(parts: Sequence[PartTables]) -> str:
    """Return a query of every request key, with its part and the job that was to answer it."""
    return "\n  UNION ALL\n".join(
        f"  SELECT {p.part} AS part, {p.epoch} AS epoch, {string_literal(p.job_name)} AS job_name, key, "
        f"{'fingerprint' if p.fingerprinted else 'CAST(NULL AS STRING) AS fingerprint'}\n"
        f"  FROM {identifier(str(p.requests))}"
        for p in parts
    )


def every_request(parts: Sequence[PartTables]) -> str:
    """Return a query of all requests."""
    return "\n  UNION ALL\n".join(
        f"  SELECT {p.part} AS part, key, request FROM {identifier(str(p.requests))}" for p in parts
    )


def wanted(copies: TableName | None) -> str:
    """Return a query of every row that an answer is for, over ``requests``, with the key that it was sent under."""
    sent = (
        "  SELECT part, epoch, job_name, key, fingerprint, key AS sent_as, CAST(NULL AS STRING) AS copy_of\n"
        "  FROM requests"
    )
    if copies is None:
        return sent
    return (
        f"{sent}\n  UNION ALL\n"
        "  SELECT requests.part, requests.epoch, requests.job_name, copies.key, copies.fingerprint,\n"
        f"    requests.key AS sent_as, SUBSTR(requests.key, {len(WIRE_KEY_PREFIX) + 1}) AS copy_of\n"
        f"  FROM {identifier(str(copies))} AS copies\n"
        "  JOIN requests ON requests.fingerprint = copies.fingerprint"
    )


_NO_LINE = (
    "  SELECT 0 AS part, '' AS key, '' AS status, CAST(NULL AS TIMESTAMP) AS processed_time, "
    "PARSE_JSON('null') AS response, PARSE_JSON('null') AS echo\n"
    "  FROM (SELECT 1 AS one) WHERE one = 0"
)


def lines(parts: Sequence[PartTables]) -> str:
    """Return a query of every output line, as alike as the places they lie in allow."""
    return (
        "\n  UNION ALL\n".join(
            f"  SELECT {p.part} AS part, key, COALESCE(status, '') AS status, {_time(p)} AS processed_time, "
            f"{_json('response', p.response_type)} AS response, {_json('request', p.echo_type)} AS echo\n"
            f"  FROM {identifier(str(p.predictions))}"
            for p in parts
            if p.predictions is not None
        )
        or _NO_LINE
    )


def keys(parts: Sequence[PartTables]) -> str:
    """Return a query of the key of every output line."""
    return (
        "\n  UNION ALL\n".join(
            f"  SELECT {p.part} AS part, key\n  FROM {identifier(str(p.predictions))}"
            for p in parts
            if p.predictions is not None
        )
        or "  SELECT 0 AS part, '' AS key\n  FROM (SELECT 1 AS one) WHERE one = 0"
    )


def returned(parts: Sequence[PartTables]) -> str:
    """Return a query, over ``requests``, of the lines that resumed jobs wrote of rows that were not to be run again.

    ``anew`` says whether a line is later than the end of the job that had answered the row. Empty text where no job
    was resumed.
    """
    return "\n  UNION ALL\n".join(
        f"  SELECT {p.part} AS part, IFNULL({_time(p)} > {_until(p)}, FALSE) AS anew\n"
        f"  FROM {identifier(str(p.predictions))} AS lines\n"
        f"  JOIN (SELECT DISTINCT key FROM {identifier(str(p.resumed))}) AS known ON known.key = lines.key\n"
        f"  WHERE lines.key NOT IN (SELECT key FROM requests WHERE part = {p.part} AND key IS NOT NULL)"
        for p in parts
        if p.resumed is not None and p.predictions is not None
    )


def _until(part: PartTables) -> str:
    if part.resumed_until is None:
        return "CAST(NULL AS TIMESTAMP)"
    return f"TIMESTAMP_MICROS({round(part.resumed_until * 1_000_000)})"


def _time(part: PartTables) -> str:
    if part.time_type is None:
        return "CAST(NULL AS TIMESTAMP)"
    return "processed_time" if part.time_type == "TIMESTAMP" else "SAFE_CAST(processed_time AS TIMESTAMP)"


def _json(name: str, kind: str | None) -> str:
    if kind is None:
        return "CAST(NULL AS JSON)"
    return parse_json(name) if kind == "STRING" else name


def parse_json(text: str) -> str:
    """Return an expression for *text* as JSON, NULL when it is none.

    Numbers wider than a double are rounded: an answer is not refused for its digits.
    """
    return f"SAFE.PARSE_JSON({text}, wide_number_mode => 'round')"
