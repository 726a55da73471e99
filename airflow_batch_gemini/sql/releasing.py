"""Rows that were held back over rounds of repair: where they lie, and how all of them are published at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.results import ERRORS, RESULTS, LoadedBatch
from airflow_batch_gemini.sql.typed import type_of

_OUTCOME = "outcome"
_LOADED_AT = "loaded_at"


def held_back(manifest: Manifest, results: TableName, errors: TableName) -> LoadedBatch:
    """Return where the rows of all rounds of a batch stand until they are published to *results* and *errors*.

    They lie beside the results. A batch that is prepared anew has other tables: it asks something else.
    """
    asked = f"{results} {errors} {manifest.batch_fingerprint}"
    name = f"{manifest.root_batch_id}_{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    return LoadedBatch(
        batch_id=manifest.root_batch_id,
        fingerprint=manifest.batch_fingerprint,
        results=results.dataset_name.table(f"gemini_held_{name}"),
        errors=results.dataset_name.table(f"gemini_held_errors_{name}"),
    )


def outcomes(held: LoadedBatch, columns: Sequence[Column]) -> str:
    """Return the query for all rows of the batch, each with its outcome and whatever either table has.

    :param columns: of the results table, beside those that every result has.
    """
    every = {column.name: column for column in (*RESULTS, *ERRORS, *columns) if column.name != _LOADED_AT}
    succeeded = {_OUTCOME: string_literal(Outcome.SUCCEEDED)}
    good = _listed(every, {column.name for column in (*RESULTS, *columns)}, succeeded)
    bad = _listed(every, {column.name for column in ERRORS}, {})
    return (
        f"SELECT {good}\nFROM {held.results.sql}\nWHERE {held.rows}\nUNION ALL\n"
        f"SELECT {bad}\nFROM {held.errors.sql}\nWHERE {held.rows}"
    )


def standings(outcomes: TableName) -> str:
    """Return the query for how many of the rows that :func:`outcomes` found stand how."""
    return f"SELECT outcome, COUNT(*) AS row_count FROM {outcomes.sql} GROUP BY outcome"


def _listed(every: dict[str, Column], there: set[str], known: dict[str, str]) -> str:
    items = []
    for name, column in every.items():
        quoted = identifier(name)
        value = known.get(name) or (quoted if name in there else f"CAST(NULL AS {type_of(column)})")
        items.append(value if value == quoted else f"{value} AS {quoted}")
    return ", ".join(items)
