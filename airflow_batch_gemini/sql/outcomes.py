"""The outcome of every row, as SQL over the landed lines.

The rule is the one of :mod:`airflow_batch_gemini.batch.outcome`; tests hold the two together. Answers stay data: no
text of a request or a response is ever part of a statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_batch_gemini.batch.columns import NO_COLUMNS, Typed, column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import RETRYABLE_CODES, Outcome
from airflow_batch_gemini.batch.pricing import LONG_CONTEXT, MILLION, Price, Rates
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.batch.tally import TOKENS
from airflow_batch_gemini.sql import echo, judging, sources, typed
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.results import ERRORS, RESULTS

_COLUMNS = {column.name: column for column in (*RESULTS, *ERRORS)}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is the same for every row of a batch."""

    batch_id: str
    model: str
    dag_id: str
    run_id: str
    batch_date: str
    """``YYYY-MM-DD``: the partition that the rows land in."""
    template_fingerprint: str = ""
    template_version: str | None = None
    round: int = 0
    """Which repair pass of the batch; 0 is the first."""
    batch_fingerprint: str = ""
    """What the first round asked."""


def classify(
    parts: Sequence[sources.PartTables],
    provenance: Provenance,
    *,
    shape: Shape,
    price: Price | None,
    beside: sources.Beside = sources.NOTHING_BESIDE,
    columns: Typed = NO_COLUMNS,
) -> str:
    """Return the query that gives every row exactly one outcome, with all the columns of the results.

    A copy has the outcome of the row whose request it shares, and cost nothing.

    :param columns: what the response schema promises; they come after those that every result has.
    """
    cells = _cells(provenance, price) | typed.values(columns, "ranked.fitting")
    return f"""WITH requests AS (
{sources.requests(parts)}
), wanted AS (
{sources.wanted(beside.copies)}
), sent AS (
{echo.sent(parts)}
), lines AS (
{sources.lines(parts)}
), fields AS (
{judging.fields(shape)}
), answers AS (
{judging.answers(shape)}
), checked AS (
{judging.checked(shape, columns)}
), judged AS (
{judging.judged(shape, columns)}
), ranked AS (
{judging.ranked()}
)
SELECT
  {_listed(cells)}
FROM wanted
LEFT JOIN (SELECT * FROM ranked WHERE position = 1) AS ranked
  ON ranked.key = wanted.sent_as AND ranked.part = wanted.part{_rejected(beside.rejected, cells, columns)}"""


def _cells(provenance: Provenance, price: Price | None) -> dict[str, str]:
    """Return what stands in the columns of a row that was sent, by name."""
    retryable = ", ".join(map(str, RETRYABLE_CODES))
    return {
        "batch_id": string_literal(provenance.batch_id),
        "key": f"SUBSTR(wanted.key, {len(WIRE_KEY_PREFIX) + 1})",
        "outcome": f"COALESCE(ranked.outcome, '{Outcome.MISSING}')",
        "reason": "IF(ranked.outcome IS NULL, 'NO_LINE', ranked.reason)",
        "path": "ranked.misfit_path",
        "code": "ranked.code",
        "status": "ranked.error_status",
        "message": "ranked.message",
        "retryable": (
            "ranked.outcome IS NULL OR ranked.outcome = 'mismatched' OR (ranked.outcome = 'failed' AND "
            f"(ranked.code IS NULL OR ranked.code IN ({retryable})))"
        ),
        "text": "ranked.text",
        "answer": "IF(ranked.outcome = 'succeeded', ranked.said, NULL)",
        "verified": "ranked.verified",
        "finish_reason": "ranked.finish_reason",
        "model": string_literal(provenance.model),
        "model_version": "ranked.model_version",
        **{f"{name}_tokens": _spent(f"ranked.{name}_tokens", "0") for name in TOKENS},
        "cost_usd": _spent(_cost(price), "NUMERIC '0'"),
        "processed_time": "ranked.processed_time",
        "template_fingerprint": string_literal(provenance.template_fingerprint),
        "template_version": _text(provenance.template_version),
        "job_name": "wanted.job_name",
        "part": "wanted.part",
        "epoch": "wanted.epoch",
        "round": str(provenance.round),
        "batch_fingerprint": string_literal(provenance.batch_fingerprint),
        "copy_of": "wanted.copy_of",
        "fingerprint": "wanted.fingerprint",
        "dag_id": string_literal(provenance.dag_id),
        "run_id": string_literal(provenance.run_id),
        "batch_date": f"DATE {string_literal(provenance.batch_date)}",
    }


def _text(value: str | None) -> str:
    return "CAST(NULL AS STRING)" if value is None else string_literal(value)


def _listed(cells: Mapping[str, str]) -> str:
    return ",\n  ".join(f"{value} AS {identifier(name)}" for name, value in cells.items())


def _spent(value: str, nothing: str) -> str:
    """What was spent on a request is told of the one row it was sent for."""
    return f"IF(wanted.copy_of IS NULL, {value}, IF(ranked.outcome IS NULL, NULL, {nothing}))"


_OF_THE_BATCH = (
    "batch_id",
    "model",
    "dag_id",
    "run_id",
    "batch_date",
    "template_fingerprint",
    "template_version",
    "round",
    "batch_fingerprint",
)


def _rejected(table: TableName | None, cells: Mapping[str, str], columns: Typed) -> str:
    """Return the rows that were never sent, in the columns of the others."""
    if table is None:
        return ""
    known = {name: cells[name] for name in _OF_THE_BATCH}
    known |= {"key": "rejected.key", "outcome": f"'{Outcome.REJECTED}'", "retryable": "FALSE"}
    known |= {"reason": "rejected.rule", "message": "rejected.message"}
    every = _COLUMNS | {one.name: column(one) for one in columns.fields}
    nothing = {name: f"CAST(NULL AS {typed.type_of(every[name])})" for name in cells}
    return f"\nUNION ALL\nSELECT\n  {_listed(nothing | known)}\nFROM {identifier(str(table))} AS rejected"


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
