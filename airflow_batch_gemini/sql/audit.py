"""The counts that must add up before anything is published."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.sql import sources
from airflow_batch_gemini.sql.literal import identifier
from airflow_batch_gemini.sql.results import LoadedBatch

_UNPAID = (Outcome.FAILED, Outcome.MISMATCHED, Outcome.MISSING, Outcome.REJECTED)


def audit(parts: Sequence[sources.PartTables], outcomes: TableName) -> str:
    """Return the query that counts what :func:`classify` found.

    One row per outcome, one per part for the requests a line came back for, one for all lines, one for the lines
    whose key no request has, and one for the requests whose line does not repeat them. For each part with a resumed
    job one for those of its lines without a request that the job before it had answered, and one for those of them that
    seem to have been answered anew.
    """
    answered = ", ".join(f"'{o}'" for o in Outcome if o not in _UNPAID)
    came = f"outcome NOT IN ('{Outcome.MISSING}', '{Outcome.REJECTED}') AND copy_of IS NULL"
    nothing = ", ".join(["NULL"] * 6)
    returned = sources.returned(parts)
    resumed = f", returned AS (\n{returned}\n)" if returned else ""
    return f"""WITH requests AS (
{sources.requests(parts)}
), lines AS (
{sources.keys(parts)}
){resumed}
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
WHERE {came}
GROUP BY part
UNION ALL
SELECT 'lines', NULL, COUNT(*), {nothing}, CAST(NULL AS NUMERIC)
FROM lines
UNION ALL
SELECT 'unknown', NULL, COUNT(*), {nothing}, CAST(NULL AS NUMERIC)
FROM lines
LEFT JOIN requests ON requests.key = lines.key AND requests.part = lines.part
WHERE requests.key IS NULL
UNION ALL
SELECT 'unverified', NULL, COUNT(*), {nothing}, CAST(NULL AS NUMERIC)
FROM {identifier(str(outcomes))}
WHERE {came} AND verified IS NULL{_returned(nothing) if returned else ""}"""


def _returned(nothing: str) -> str:
    return "".join(
        f"""
UNION ALL
SELECT '{name}', part, {count}, {nothing}, CAST(NULL AS NUMERIC)
FROM returned
GROUP BY part"""
        for name, count in [("returned", "COUNT(*)"), ("anew", "COUNTIF(anew)")]
    )


def standings_after(batch: LoadedBatch, outcomes: TableName) -> str:
    """Return the query for how all rows of the batch will stand once a later round is published: one row per outcome.

    As the publish has it, success wins over any error and the newer error over the older one. It reads the tables as
    they are now, so the first round must have made them.
    """
    return f"""SELECT outcome, COUNT(*) AS row_count FROM (
  SELECT key, outcome FROM (
    SELECT key, outcome, IFNULL(round, 0) AS round, TRUE AS fresh FROM {identifier(str(outcomes))}
    UNION ALL
    SELECT key, '{Outcome.SUCCEEDED}', IFNULL(round, 0), FALSE FROM {batch.results.sql} WHERE {batch.rows}
    UNION ALL
    SELECT key, outcome, IFNULL(round, 0), FALSE FROM {batch.errors.sql} WHERE {batch.rows}
  )
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY key ORDER BY IF(outcome = '{Outcome.SUCCEEDED}', 0, 1), round DESC, IF(fresh, 0, 1)
  ) = 1
)
GROUP BY outcome"""
