"""What a request says, in SQL, as short digests: the rule of :mod:`airflow_batch_gemini.batch.echo`."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_gemini.batch.echo import FILE_PATHS, SYSTEM
from airflow_batch_gemini.sql.sources import PartTables, every_request

VERDICT = (
    "CASE\n      WHEN asked IS NULL OR repeated IS NULL THEN NULL\n"
    "      ELSE asked = repeated AND (asked_system IS NULL OR repeated_system IS NULL"
    " OR asked_system = repeated_system)\n    END"
)
"""Whether a line answers the request of its key; NULL when nobody can say."""


def sent(parts: Sequence[PartTables]) -> str:
    """Return a query of what every request says."""
    return (
        f"  SELECT part, key, {turns('request')} AS asked, {system('request')} AS asked_system\n"
        f"  FROM (\n{every_request(parts)}\n  )"
    )


def turns(request: str) -> str:
    """Return an expression for what the turns of *request* say."""
    return _digest(
        f"UNNEST(ARRAY_CONCAT(COALESCE(JSON_QUERY_ARRAY({request}, '$.contents'), []), "
        f"[JSON_QUERY({request}, '$.content')])) AS turn WITH OFFSET AS turn_place, "
        "UNNEST(JSON_QUERY_ARRAY(turn, '$.parts')) AS part WITH OFFSET AS place",
        order="turn_place, place",
    )


def system(request: str) -> str:
    """Return an expression for what the system instruction of *request* says."""
    parts = ", ".join(f"COALESCE(JSON_QUERY_ARRAY({request}, '$.{name}.parts'), [])" for name in SYSTEM)
    return _digest(f"UNNEST(ARRAY_CONCAT({parts})) AS part WITH OFFSET AS place", order="place")


def _digest(parts: str, *, order: str) -> str:
    uris = ", ".join(f"NULLIF(JSON_VALUE(part, '$.{'.'.join(path)}'), '')" for path in FILE_PATHS)
    said = f"COALESCE(NULLIF(JSON_VALUE(part, '$.text'), ''), {uris})"
    return (
        "(\n      SELECT IF(\n"
        "        COUNTIF(COALESCE(JSON_TYPE(JSON_QUERY(part, '$.text')), '') IN ('number', 'boolean')) > 0, NULL,\n"
        f"        TO_HEX(SHA256(STRING_AGG(TO_JSON_STRING({said}), ',' ORDER BY {order})))\n"
        f"      )\n      FROM {parts}\n"
        f"      WHERE {said} IS NOT NULL\n    )"
    )
