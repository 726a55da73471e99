"""The outcome of every row, as SQL over the landed lines.

The rule is the one of :mod:`airflow_batch_gemini.batch.outcome`; tests hold the two together. Answers stay data: no
text of a request or a response is ever part of a statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import BLOCKED_REASONS, RETRYABLE_CODES, Outcome
from airflow_batch_gemini.batch.pricing import LONG_CONTEXT, MILLION, Price, Rates
from airflow_batch_gemini.batch.report import TOKENS
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.sql import sources
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.results import ERRORS, RESULTS

_UNPAID = (Outcome.FAILED, Outcome.MISSING, Outcome.REJECTED)
_TYPES = {column.name: column.type for column in (*RESULTS, *ERRORS)}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is the same for every row of a batch."""

    batch_id: str
    model: str
    dag_id: str
    run_id: str
    batch_date: str
    """``YYYY-MM-DD``: the partition that the rows land in."""


def classify(
    parts: Sequence[sources.PartTables],
    provenance: Provenance,
    *,
    shape: Shape,
    price: Price | None,
    beside: sources.Beside = sources.NOTHING_BESIDE,
) -> str:
    """Return the query that gives every row exactly one outcome, with all the columns of the results.

    A copy has the outcome of the row whose request it shares, and cost nothing.
    """
    columns = _columns(provenance, shape, price)
    return f"""WITH requests AS (
{sources.requests(parts)}
), wanted AS (
{sources.wanted(beside.copies)}
), lines AS (
{sources.lines(parts)}
), fields AS (
{_fields(shape)}
), answers AS (
{_answers(shape)}
), judged AS (
{_judged(shape)}
), ranked AS (
{_ranked()}
)
SELECT
  {_listed(columns)}
FROM wanted
LEFT JOIN (SELECT * FROM ranked WHERE position = 1) AS ranked
  ON ranked.key = wanted.sent_as AND ranked.part = wanted.part{_rejected(beside.rejected, columns)}"""


def _columns(provenance: Provenance, shape: Shape, price: Price | None) -> dict[str, str]:
    """Return the columns of a row that was sent, by name."""
    retryable = ", ".join(map(str, RETRYABLE_CODES))
    return {
        "batch_id": string_literal(provenance.batch_id),
        "key": f"SUBSTR(wanted.key, {len(WIRE_KEY_PREFIX) + 1})",
        "outcome": f"COALESCE(ranked.outcome, '{Outcome.MISSING}')",
        "reason": "IF(ranked.outcome IS NULL, 'NO_LINE', ranked.reason)",
        "code": "ranked.code",
        "status": "ranked.error_status",
        "message": "ranked.message",
        "retryable": (
            "ranked.outcome IS NULL OR (ranked.outcome = 'failed' AND "
            f"(ranked.code IS NULL OR ranked.code IN ({retryable})))"
        ),
        "text": "ranked.text",
        "answer": _answer_column(shape),
        "finish_reason": "ranked.finish_reason",
        "model": string_literal(provenance.model),
        "model_version": "ranked.model_version",
        **{f"{name}_tokens": _spent(f"ranked.{name}_tokens", "0") for name in TOKENS},
        "cost_usd": _spent(_cost(price), "NUMERIC '0'"),
        "processed_time": "ranked.processed_time",
        "job_name": "wanted.job_name",
        "part": "wanted.part",
        "epoch": "wanted.epoch",
        "copy_of": "wanted.copy_of",
        "fingerprint": "wanted.fingerprint",
        "dag_id": string_literal(provenance.dag_id),
        "run_id": string_literal(provenance.run_id),
        "batch_date": f"DATE {string_literal(provenance.batch_date)}",
    }


def _listed(columns: Mapping[str, str]) -> str:
    return ",\n  ".join(f"{value} AS {name}" for name, value in columns.items())


def _spent(value: str, nothing: str) -> str:
    """What was spent on a request is told of the one row it was sent for."""
    return f"IF(wanted.copy_of IS NULL, {value}, IF(ranked.outcome IS NULL, NULL, {nothing}))"


def _rejected(table: TableName | None, columns: Mapping[str, str]) -> str:
    """Return the rows that were never sent, in the columns of the others."""
    if table is None:
        return ""
    known = {name: columns[name] for name in ("batch_id", "model", "dag_id", "run_id", "batch_date")}
    known |= {"key": "rejected.key", "outcome": f"'{Outcome.REJECTED}'", "retryable": "FALSE"}
    known |= {"reason": "rejected.rule", "message": "rejected.message"}
    cells = {name: known.get(name, f"CAST(NULL AS {_TYPES[name]})") for name in columns}
    return f"\nUNION ALL\nSELECT\n  {_listed(cells)}\nFROM {identifier(str(table))} AS rejected"


def audit(parts: Sequence[sources.PartTables], outcomes: TableName) -> str:
    """Return the query that counts what :func:`classify` found.

    One row per outcome, one per part for the requests a line came back for, one for all lines, and one for the lines
    whose key no request has.
    """
    answered = ", ".join(f"'{o}'" for o in Outcome if o not in _UNPAID)
    nothing = ", ".join(["NULL"] * 6)
    return f"""WITH requests AS (
{sources.requests(parts)}
), lines AS (
{sources.keys(parts)}
)
SELECT
  outcome,
  CAST(NULL AS INT64) AS part,
  COUNT(*) AS row_count,
  SUM(prompt_tokens) AS prompt_tokens,
  SUM(cached_tokens) AS cached_tokens,
  SUM(output_tokens) AS output_tokens,
  SUM(thoughts_tokens) AS thoughts_tokens,
  SUM(total_tokens) AS total_tokens,
  COUNTIF(prompt_tokens IS NULL AND outcome IN ({answered})) AS without_tokens,
  SUM(cost_usd) AS cost_usd
FROM {identifier(str(outcomes))}
GROUP BY outcome
UNION ALL
SELECT 'answered', part, COUNT(*), {nothing}, CAST(NULL AS NUMERIC)
FROM {identifier(str(outcomes))}
WHERE outcome NOT IN ('{Outcome.MISSING}', '{Outcome.REJECTED}') AND copy_of IS NULL
GROUP BY part
UNION ALL
SELECT 'lines', NULL, COUNT(*), {nothing}, CAST(NULL AS NUMERIC)
FROM lines
UNION ALL
SELECT 'unknown', NULL, COUNT(*), {nothing}, CAST(NULL AS NUMERIC)
FROM lines
LEFT JOIN requests ON requests.key = lines.key AND requests.part = lines.part
WHERE requests.key IS NULL"""


def _fields(shape: Shape) -> str:
    vector = shape is Shape.VECTOR
    prompt, total = (_count(name, vector=vector) for name in ("promptTokenCount", "totalTokenCount"))
    values = "\n    JSON_QUERY(response, '$.embedding.values') AS vector," if vector else ""
    return f"""  SELECT
    part, key, status, processed_time,
    JSON_TYPE(response) AS response_type,
    JSON_TYPE(JSON_QUERY(response, '$.candidates[0]')) AS candidate_type,
    NULLIF(JSON_VALUE(response, '$.promptFeedback.blockReason'), '') AS block_reason,
    NULLIF(JSON_VALUE(response, '$.promptFeedback.blockReasonMessage'), '') AS block_message,
    NULLIF(JSON_VALUE(response, '$.candidates[0].finishReason'), '') AS finish_reason,
    NULLIF(JSON_VALUE(response, '$.candidates[0].finishMessage'), '') AS finish_message,
    JSON_VALUE(response, '$.modelVersion') AS model_version,
    {prompt} AS prompt_tokens,
    {_count("cachedContentTokenCount")} AS cached_tokens,
    {_count("candidatesTokenCount")} AS output_tokens,
    {_count("thoughtsTokenCount")} AS thoughts_tokens,
    {total} AS total_tokens,{values}
    (
      SELECT STRING_AGG(COALESCE(JSON_VALUE(said, '$.text'), ''), '' ORDER BY place)
      FROM UNNEST(JSON_QUERY_ARRAY(response, '$.candidates[0].content.parts')) AS said WITH OFFSET AS place
      WHERE COALESCE(JSON_VALUE(said, '$.thought'), 'false') != 'true'
    ) AS text,
    IF(STRPOS(status, '{{') > 0, {sources.parse_json("SUBSTR(status, STRPOS(status, '{'))")}, NULL) AS error
  FROM lines"""


def _count(name: str, *, vector: bool = False) -> str:
    """An embedding model says one count, beside the vector."""
    said = f"SAFE_CAST(JSON_VALUE(response, '$.usageMetadata.{name}') AS INT64)"
    return f"COALESCE({said}, SAFE_CAST(JSON_VALUE(response, '$.tokenCount') AS INT64))" if vector else said


def _answers(shape: Shape) -> str:
    parsed = "" if shape in (Shape.TEXT, Shape.VECTOR) else f",\n    {sources.parse_json('text')} AS parsed"
    return f"""  SELECT
    *,
    SAFE_CAST(JSON_VALUE(error, '$.error.code') AS INT64) AS code,
    COALESCE(
      NULLIF(JSON_VALUE(error, '$.error.status'), ''), NULLIF(JSON_VALUE(error, '$.error.type'), '')
    ) AS error_status,
    NULLIF(JSON_VALUE(error, '$.error.message'), '') AS error_message{parsed}
  FROM fields"""


def _judged(shape: Shape) -> str:
    failed = ("status != ''", "failed", "COALESCE(error_status, 'ROW_ERROR')")
    cases = [failed, *(_vector_cases() if shape is Shape.VECTOR else _text_cases(shape))]
    outcome = "\n".join(f"      WHEN {when} THEN '{then}'" for when, then, _ in cases)
    reason = "\n".join(f"      WHEN {when} THEN {why}" for when, _, why in cases)
    return f"""  SELECT
    *,
    CASE
{outcome}
      ELSE 'succeeded'
    END AS outcome,
    CASE
{reason}
      ELSE NULL
    END AS reason,
    IF(status != '', COALESCE(error_message, status), COALESCE(block_message, finish_message)) AS message
  FROM answers"""


def _text_cases(shape: Shape) -> list[tuple[str, str, str]]:
    blocked = ", ".join(string_literal(reason) for reason in BLOCKED_REASONS)
    cases = [
        ("block_reason IS NOT NULL", "blocked", "block_reason"),
        (
            "COALESCE(candidate_type, '') != 'object'",
            "failed",
            "IF(COALESCE(response_type, '') = 'object', 'NO_CANDIDATES', 'NO_RESPONSE')",
        ),
        ("finish_reason = 'MAX_TOKENS'", "truncated", "finish_reason"),
        (f"finish_reason IN ({blocked})", "blocked", "finish_reason"),
        (
            "COALESCE(finish_reason, '') != 'STOP'",
            "failed",
            "COALESCE(finish_reason, 'NO_FINISH_REASON')",
        ),
        ("text IS NULL", "failed", "'NO_CONTENT'"),
    ]
    if shape not in (Shape.TEXT, Shape.STRING):
        cases.append(("parsed IS NULL", "invalid", "'NOT_JSON'"))
    if shape not in (Shape.TEXT, Shape.STRING, Shape.ANY):
        cases.append((f"JSON_TYPE(parsed) != '{shape}'", "invalid", f"'NOT_{shape.name}'"))
    return cases


def _vector_cases() -> list[tuple[str, str, str]]:
    """One pass over the text of a vector tells whether it holds nothing but numbers."""
    no_list = "COALESCE(JSON_TYPE(vector), '') != 'array'"
    numbers = string_literal("^\\[[-+0-9.eE,]+\\]$")
    return [
        ("COALESCE(response_type, '') != 'object'", "failed", "'NO_RESPONSE'"),
        (f"{no_list} OR JSON_QUERY(vector, '$[0]') IS NULL", "failed", "'NO_EMBEDDING'"),
        (f"NOT REGEXP_CONTAINS(TO_JSON_STRING(vector), {numbers})", "invalid", "'NOT_NUMBERS'"),
    ]


def _ranked() -> str:
    order = "\n".join(f"        WHEN '{outcome}' THEN {rank}" for rank, outcome in enumerate(Outcome))
    return f"""  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY part, key
      ORDER BY CASE outcome
{order}
      END, processed_time DESC, text DESC
    ) AS position
  FROM judged"""


def _answer_column(shape: Shape) -> str:
    if shape is Shape.TEXT:
        return "CAST(NULL AS JSON)"
    if shape is Shape.VECTOR:
        return "IF(ranked.outcome = 'succeeded', ranked.vector, NULL)"
    if shape is Shape.STRING:
        whole = "IF(JSON_TYPE(ranked.parsed) = 'string', ranked.parsed, TO_JSON(ranked.text))"
        return f"IF(ranked.outcome = 'succeeded', {whole}, NULL)"
    return "IF(ranked.outcome = 'succeeded', ranked.parsed, NULL)"


def _cost(price: Price | None) -> str:
    """Whole numbers until the last step: every engine rounds alike."""
    if price is None:
        return "CAST(NULL AS NUMERIC)"
    paid = _paid(price.rates(long=False))
    if price.has_long_tier:
        paid = f"IF(ranked.prompt_tokens > {LONG_CONTEXT}, {_paid(price.rates(long=True))}, {paid})"
    return f"CAST(DIV({paid} + {MILLION // 2}, {MILLION}) AS NUMERIC) * NUMERIC '0.000000001'"


def _paid(rates: Rates) -> str:
    return (
        f"(GREATEST(ranked.prompt_tokens - COALESCE(ranked.cached_tokens, 0), 0) * {rates.prompt}"
        f" + COALESCE(ranked.cached_tokens, 0) * {rates.cached}"
        f" + (COALESCE(ranked.output_tokens, 0) + COALESCE(ranked.thoughts_tokens, 0)) * {rates.output})"
    )
