"""The table of batches: one row for every round of every batch, published with its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import TableName, model_id
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.stages import Stages, rfc3339
from airflow_batch_gemini.batch.tally import TOKENS, Tally
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.results import LoadedBatch
from airflow_batch_gemini.sql.typed import definition

_KEY = ("batch_id", "round")
_LOADED_AT = "loaded_at"
_STAGES = ("prepared", "submitted", "started", "ended", "landed")
_DURATIONS = ("submit", "queue", "run", "land")

BATCHES = (
    Column("batch_id", "STRING", description="The batch; all its rounds share it."),
    Column("round", "INT64", description="0 is the first, the others are repairs."),
    Column("batch_fingerprint", "STRING"),
    Column("dag_id", "STRING"),
    Column("run_id", "STRING"),
    Column("model", "STRING"),
    Column("template_fingerprint", "STRING"),
    Column("template_version", "STRING"),
    Column("parts", "INT64", description="Jobs that were paid for."),
    Column("row_count", "INT64", description="Rows of this round, the sum of the outcomes."),
    *(
        Column(outcome.value, "INT64", description="Rows of this round with that outcome.")
        for outcome in Outcome
    ),
    Column("copies", "INT64", description="Rows that share the request of another row; not sent."),
    Column(
        "answered_before", "INT64", description="Rows that an earlier batch has answered; not in row_count."
    ),
    *(Column(f"{name}_tokens", "INT64") for name in TOKENS),
    Column("cost_usd", "NUMERIC", description="NULL: nobody knows the model's price."),
    Column("rows_of_unknown_cost", "INT64", description="Rows answered without a count of tokens."),
    Column("estimate_low_usd", "NUMERIC"),
    Column("estimate_expected_usd", "NUMERIC"),
    Column("estimate_high_usd", "NUMERIC"),
    Column("canary_rows", "INT64"),
    Column("canary_failures", "INT64"),
    Column("canary_cost_usd", "NUMERIC", description="Beside cost_usd, at the standard price."),
    *(Column(f"{name}_at", "TIMESTAMP") for name in _STAGES),
    *(Column(f"{name}_seconds", "FLOAT64") for name in _DURATIONS),
    Column("report_uri", "STRING"),
    Column("results_table", "STRING"),
    Column("errors_table", "STRING"),
    Column("batch_date", "DATE"),
    Column(_LOADED_AT, "TIMESTAMP", description="When the round was published."),
)


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """The row of one round, and where it goes."""

    table: TableName
    values: Mapping[str, object]
    """By column, all but the time of the publish, so that equal rounds make equal statements."""

    def create(self) -> str:
        """Return the statement that creates the table unless it exists."""
        listed = ",\n".join(f"  {definition(column)}" for column in BATCHES)
        return (
            f"CREATE TABLE IF NOT EXISTS {identifier(str(self.table))} (\n{listed}\n)\nCLUSTER BY batch_id;"
        )

    def merge(self, *, round: int, batch: LoadedBatch) -> str:  # noqa: A002  # the word of the tables
        """Return the statement after which the table has exactly this row of the round.

        A row that says so already is not touched. The first round also takes away what is of an earlier preparation,
        as it does from the results.
        """
        source = ",\n    ".join(
            f"{_literal(column, self.values[column.name])} AS {identifier(column.name)}"
            for column in BATCHES
            if column.name != _LOADED_AT
        )
        told = [identifier(column.name) for column in BATCHES if column.name not in (*_KEY, _LOADED_AT)]
        differs = "\n    OR ".join(f"target.{name} IS DISTINCT FROM source.{name}" for name in told)
        changes = ",\n    ".join(f"{name} = source.{name}" for name in (*told, _LOADED_AT))
        names = [identifier(column.name) for column in BATCHES]
        gone = f"""
WHEN NOT MATCHED BY SOURCE AND target.batch_id = {string_literal(batch.batch_id)}
  AND target.batch_fingerprint IS DISTINCT FROM {string_literal(batch.fingerprint)} THEN DELETE"""
        return f"""MERGE {identifier(str(self.table))} AS target
USING (
  SELECT
    {source},
    CURRENT_TIMESTAMP() AS {_LOADED_AT}
) AS source
ON target.batch_id = source.batch_id AND target.round = source.round
WHEN MATCHED AND (
    {differs}
  ) THEN UPDATE SET
    {changes}
WHEN NOT MATCHED BY TARGET THEN
  INSERT ({", ".join(names)})
  VALUES ({", ".join(f"source.{name}" for name in names)}){"" if round else gone};"""


def values(
    manifest: Manifest,
    counted: Tally,
    stages: Stages,
    *,
    batch: LoadedBatch,
    priced: bool,
    report_uri: str,
    batch_date: str,
) -> dict[str, object]:
    """Return what the row of a round says."""
    usd = None if manifest.estimate is None else manifest.estimate.usd
    canary, durations = manifest.canary, stages.durations()
    return {
        "batch_id": batch.batch_id,
        "round": manifest.round,
        "batch_fingerprint": batch.fingerprint,
        "dag_id": manifest.identity.dag_id,
        "run_id": manifest.identity.run_id,
        "model": model_id(manifest.model),
        "template_fingerprint": manifest.template_fingerprint,
        "template_version": manifest.template_version,
        "parts": len(manifest.parts),
        "row_count": counted.rows,
        **counted.outcomes,
        "copies": manifest.copies.rows if manifest.copies else 0,
        "answered_before": manifest.answered,
        **{f"{name}_tokens": count for name, count in counted.tokens.items()},
        "cost_usd": counted.cost_usd if priced else None,
        "rows_of_unknown_cost": counted.without_tokens,
        **{f"estimate_{name}_usd": None if usd is None else getattr(usd, name) for name in _BOUNDS},
        "canary_rows": None if canary is None else canary.rows,
        "canary_failures": None if canary is None else canary.failures,
        "canary_cost_usd": None if canary is None or canary.cost_usd is None else Decimal(canary.cost_usd),
        **{f"{name}_at": rfc3339(getattr(stages, name), timespec="microseconds") for name in _STAGES},
        **{f"{name}_seconds": durations[name] for name in _DURATIONS},
        "report_uri": report_uri,
        "results_table": str(batch.results),
        "errors_table": str(batch.errors),
        "batch_date": batch_date,
    }


_BOUNDS = ("low", "expected", "high")


def rounds_before(table: TableName, batch: LoadedBatch, *, round: int) -> str:  # noqa: A002  # as above
    """Return the query for what the rounds before this one came to, the first one first."""
    outcomes = ", ".join(identifier(outcome.value) for outcome in Outcome)
    return (
        f"SELECT round, row_count, {outcomes}, cost_usd\n"
        f"FROM {identifier(str(table))}\n"
        f"WHERE batch_id = {string_literal(batch.batch_id)}\n"
        f"  AND batch_fingerprint = {string_literal(batch.fingerprint)} AND round < {round}\n"
        "ORDER BY round"
    )


def _literal(column: Column, value: object) -> str:
    """Return a value as GoogleSQL spells it; a NULL has its column's type, so that it can be compared."""
    if value is None:
        return f"CAST(NULL AS {column.type})"
    if column.type == "INT64":
        return str(int(str(value)))
    if column.type == "FLOAT64":
        return f"CAST({float(str(value))!r} AS FLOAT64)"
    if column.type == "NUMERIC":
        return f"NUMERIC '{Decimal(str(value)):f}'"
    text = string_literal(str(value))
    return text if column.type == "STRING" else f"{column.type} {text}"
