"""The tables that a load publishes to: what they lack, and the view of the newest answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.landing import Column, TableInfo
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError
from airflow_batch_gemini.sql import latest
from airflow_batch_gemini.sql.results import clashes, lacking

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
    from airflow_batch_gemini.sql.plan import LoadPlan

_PATIENCE_SECONDS = 60.0


def published_tables(
    operator: GeminiBatchLoadOperator, *, default_project: str | None
) -> tuple[TableName, TableName, TableName | None]:
    """Return the tables of results, errors and batches; the last one is ``None`` when nobody wants one."""
    results = TableName.parse(operator.results_table, default_project=default_project)
    errors = TableName.parse(operator.errors_table or f"{results}_errors", default_project=default_project)
    given, batches = operator.batches_table, None
    if given:
        named = f"{results}_batches" if given is True else given
        batches = TableName.parse(named, default_project=default_project)
    tables = [table for table in (results, errors, batches) if table]
    if len(set(tables)) < len(tables):
        raise ConfigurationError(
            f"Results, errors and batches are to be different tables, not {', '.join(map(str, tables))}. Nothing was "
            "loaded; name others."
        )
    return results, errors, batches


def lacking_columns(
    table: TableName, columns: Sequence[Column], found: TableInfo | None
) -> tuple[Column, ...]:
    """Return the columns that a table which is there has to be given; a new one is made with all of them."""
    if found is None:
        return ()
    if wrong := clashes(columns, found.columns):
        raise ConfigurationError(
            f"Table {table} exists and cannot take the rows: {'; '.join(wrong)}. Nothing was loaded, and what the job "
            "answered is kept: name another table, or mend this one."
        )
    return tuple(lacking(columns, found.columns))


def due_view(
    operator: GeminiBatchLoadOperator,
    warehouse: WarehouseHook,
    results: TableName,
    columns: Sequence[Column],
) -> TableName | None:
    """Return the view of the newest answers when it has to be made."""
    view = latest.view_of(results)
    if operator.latest_view and latest.is_due(warehouse.table_info(view), columns):
        return view
    return None


def show_latest(operator: GeminiBatchLoadOperator, warehouse: WarehouseHook, plan: LoadPlan) -> list[str]:
    """Make the view if it is due, which is worth a try and no reason to fail; return what a person should know.

    It reads no rows, so nobody is deferred for it.
    """
    if plan.view is None:
        return []
    try:
        job = warehouse.ensure_job(
            configuration=plan.show_latest(plan.view),
            project=plan.project,
            location=plan.location,
            purpose="view",
            salt=plan.attempt,
        )
        warehouse.wait(job, timeout=_PATIENCE_SECONDS, poll_interval=operator.poll_interval)
    except GeminiBatchError as error:
        note = f"{plan.view} was not made, the results are published all the same: {error}"
        operator.log.warning("%s", note)
        return [note]
    return []
