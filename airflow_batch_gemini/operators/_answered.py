"""What earlier batches answered: asked of the results table before anything is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.reuse import RowSet
from airflow_batch_gemini.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.names import TableName
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

_ROWS_PER_PAGE = 10_000


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """Which requests BigQuery is to hold back.

    :param results: the table with the answers of earlier batches; ``None``: send all anew.
    """

    model: str
    batch_id: str
    dedupe: bool
    results: TableName | None


def answered_rows(warehouse: WarehouseHook, results: TableName, batch_id: str, *, project: str) -> RowSet:
    """Return the rows that another batch has answered; ten bytes of each pass the worker."""
    from airflow_batch_gemini.sql import reuse

    found = RowSet()
    if holds_fingerprints(warehouse, results):
        sql = reuse.answered_rows(results, batch_id=batch_id)
        for row in warehouse.query_rows(sql, project=project, location="", page_size=_ROWS_PER_PAGE):
            found.add(int(row["number"], 16))
    return found


def holds_fingerprints(warehouse: WarehouseHook, results: TableName) -> bool:
    """Whether there is such a table; a first batch has none yet.

    :raises ConfigurationError: it is no results table.
    """
    info = warehouse.table_info(results)
    if info is None:
        return False
    if info.column("fingerprint") is None or info.column("batch_id") is None:
        raise ConfigurationError(
            f"{results} has no columns batch_id and fingerprint: it is no results table of GeminiBatchLoadOperator. "
            "Nothing was sent; correct results_table=."
        )
    return True
