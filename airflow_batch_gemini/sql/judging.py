"""Every output line read, judged, and set beside the others of its key, as SQL.

The rule is the one of :mod:`airflow_batch_gemini.batch.outcome`; tests hold the two together.
"""

from __future__ import annotations

from airflow_batch_gemini.batch.columns import Typed
from airflow_batch_gemini.batch.outcome import BLOCKED_REASONS, Outcome
from airflow_batch_gemini.batch.response import COUNT, COUNTS, PAID
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.sql import echo, sources, typed
from airflow_batch_gemini.sql.literal import string_literal

_NO_TEXT = "CAST(NULL AS STRING)"


def fields(shape: Shape) -> str:
    """Return a query of what every line says, over ``lines`` and ``sent``."""
    vector = shape is Shape.VECTOR
    prompt, total = (_count(name, vector=vector) for name in ("promptTokenCount", "totalTokenCount"))
    calls = (
        "CONCAT('[', STRING_AGG(TO_JSON_STRING(JSON_QUERY(said, '$.functionCall')), ',' ORDER BY place), ']')"
    )
    values = "\n    JSON_QUERY(response, '$.embedding.values') AS vector," if vector else ""
    return f"""  SELECT
    lines.part, lines.key, status, processed_time, asked, asked_system,
    {echo.turns("echo")} AS repeated,
    {echo.system("echo")} AS repeated_system,
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
    (
      SELECT {sources.parse_json(calls)}
      FROM UNNEST(JSON_QUERY_ARRAY(response, '$.candidates[0].content.parts')) AS said WITH OFFSET AS place
      WHERE COALESCE(JSON_VALUE(said, '$.thought'), 'false') != 'true'
        AND JSON_TYPE(JSON_QUERY(said, '$.functionCall')) = 'object'
    ) AS calls,
    IF(STRPOS(status, '{{') > 0, {sources.parse_json("SUBSTR(status, STRPOS(status, '{'))")}, NULL) AS error
  FROM lines
  LEFT JOIN sent ON sent.part = lines.part AND sent.key = lines.key"""


def _count(name: str, *, vector: bool = False) -> str:
    """An embedding model says one count, beside the vector."""
    said = _whole(f"$.usageMetadata.{name}")
    if name == "promptTokenCount":
        others = ", ".join(f"JSON_VALUE(response, '$.usageMetadata.{one}')" for one in PAID)
        counts = f"ARRAY_TO_STRING([{others}], ',')"
        said = f"IF(REGEXP_CONTAINS({counts}, {string_literal(f'^{COUNTS}$')}), {said}, NULL)"
    return f"COALESCE({said}, {_whole('$.tokenCount')})" if vector else said


def _whole(path: str) -> str:
    pattern = string_literal(f"^(?:{COUNT})$")
    return f"SAFE_CAST(REGEXP_EXTRACT(JSON_VALUE(response, {string_literal(path)}), {pattern}) AS INT64)"


def answers(shape: Shape) -> str:
    """Return a query of what the texts say, over ``fields``."""
    parsed = "" if shape in (Shape.TEXT, Shape.VECTOR) else f",\n    {sources.parse_json('text')} AS parsed"
    return f"""  SELECT
    *,
    SAFE_CAST(JSON_VALUE(error, '$.error.code') AS INT64) AS code,
    COALESCE(
      NULLIF(JSON_VALUE(error, '$.error.status'), ''), NULLIF(JSON_VALUE(error, '$.error.type'), '')
    ) AS error_status,
    NULLIF(JSON_VALUE(error, '$.error.message'), '') AS error_message,
    {echo.VERDICT} AS verified{parsed}
  FROM fields"""


def checked(shape: Shape, columns: Typed) -> str:
    """Return a query of what the answers are as JSON and what of them does not fit the columns, over ``answers``.

    The functions that a model calls stand before what it says; they are no answer by the schema.
    """
    said = {
        Shape.TEXT: "calls",
        Shape.VECTOR: "vector",
        Shape.STRING: f"COALESCE(calls, IF({_is_one_of('parsed', shape, columns)}, parsed, TO_JSON(text)))",
    }.get(shape, "COALESCE(calls, parsed)")
    some = "JSON_TYPE(said) != 'null'" if columns.nullable else "said IS NOT NULL"
    fits = some if columns.alone else "JSON_TYPE(said) = 'object'"
    wrong = (
        f"IF(calls IS NULL AND {fits}, {typed.misfit(columns, 'said')}, NULL)" if columns.fields else _NO_TEXT
    )
    return f"""  SELECT *, {wrong} AS misfit
  FROM (SELECT *, {said} AS said FROM answers)"""


def _is_one_of(value: str, shape: Shape, columns: Typed) -> str:
    """Whether a value is of the right shape, which ``null`` is where the schema lets the answer be none."""
    return (
        f"JSON_TYPE({value}) IN ('{shape}', 'null')"
        if columns.nullable
        else f"JSON_TYPE({value}) = '{shape}'"
    )


def judged(shape: Shape, columns: Typed) -> str:
    """Return a query of every line's outcome and reason, over ``checked``: the first case that is true."""
    cases = [
        ("verified = FALSE", Outcome.MISMATCHED, "'OTHER_REQUEST'"),
        ("status != ''", Outcome.FAILED, "COALESCE(error_status, 'ROW_ERROR')"),
        *(_vector_cases() if shape is Shape.VECTOR else _text_cases(shape, columns)),
    ]
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
  FROM checked"""


def _text_cases(shape: Shape, columns: Typed) -> list[tuple[str, str, str]]:
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
        cases.append(("calls IS NULL AND parsed IS NULL", "invalid", "'NOT_JSON'"))
    if shape not in (Shape.TEXT, Shape.STRING, Shape.ANY):
        other = f"calls IS NULL AND NOT {_is_one_of('parsed', shape, columns)}"
        cases.append((other, "invalid", f"'NOT_{shape.name}'"))
    cases.append(("misfit IS NOT NULL", "invalid", "SUBSTR(misfit, 1, STRPOS(misfit, ' ') - 1)"))
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


def ranked() -> str:
    """Return a query that numbers the lines of each key, the one that counts first, over ``judged``."""
    order = "\n".join(f"        WHEN '{outcome}' THEN {rank}" for rank, outcome in enumerate(Outcome))
    return f"""  SELECT
    *,
    IF(outcome = 'invalid', SUBSTR(misfit, STRPOS(misfit, ' ') + 1), NULL) AS misfit_path,
    IF(outcome = 'succeeded' AND calls IS NULL, said, NULL) AS fitting,
    ROW_NUMBER() OVER (
      PARTITION BY part, key
      ORDER BY CASE outcome
{order}
      END, processed_time DESC, text DESC
    ) AS position
  FROM judged"""
