"""The tables that a load publishes to: what they lack, and the view of the newest answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.landing import Column, TableInfo
from airflow_batch_gemini.batch.loading import PartJob
from airflow_batch_gemini.batch.names import DatasetName, TableName
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError
from airflow_batch_gemini.sql import latest
from airflow_batch_gemini.sql.results import clashes, lacking

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.operators._steps import Steps

_PATIENCE_SECONDS = 60.0


def published_tables(
    results_table: str,
    errors_table: str | None,
    *,
    batches_table: str | bool | None,
    default_project: str | None,
) -> tuple[TableName, TableName, TableName | None]:
    """Return the tables of results, errors and batches; the last one is ``None`` when nobody wants one."""
    results = TableName.parse(results_table, default_project=default_project)
    errors = TableName.parse(errors_table or f"{results}_errors", default_project=default_project)
    batches = None
    if batches_table:
        named = f"{results}_batches" if batches_table is True else batches_table
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


def check_tables(warehouse: WarehouseHook, columns: Mapping[TableName, Sequence[Column]]) -> None:
    """Refuse tables that could not take the rows once they are published."""
    for table, named in columns.items():
        lacking_columns(table, named, warehouse.table_info(table))


def one_location(
    given: str | None, warehouse: WarehouseHook, datasets: list[DatasetName], jobs: list[PartJob]
) -> str:
    """Return where everything lies, *given* or not: one BigQuery job cannot read and write in two places."""
    uris = [uri for job in jobs for uri in (job.part.uri, job.output_uri or "") if uri.startswith("bq://")]
    named = dict.fromkeys([*datasets, *(TableName.parse(uri).dataset_name for uri in uris)])
    places = {dataset: warehouse.dataset_location(dataset) for dataset in named}
    location = given or places[datasets[0]]
    elsewhere = [
        f"{dataset} in {place}"
        for dataset, place in places.items()
        if place.casefold() != location.casefold()
    ]
    if elsewhere:
        raise ConfigurationError(
            f"BigQuery works in one location, here {location} (that of {datasets[0]} unless location= says otherwise), "
            f"but {', '.join(elsewhere)}. Nothing was loaded; use datasets in one location."
        )
    return places[datasets[0]]


def due_view(warehouse: WarehouseHook, results: TableName, columns: Sequence[Column]) -> TableName | None:
    """Return the view of the newest answers when it has to be made."""
    view = latest.view_of(results)
    return view if latest.is_due(warehouse.table_info(view), columns) else None


def show_latest(steps: Steps) -> list[str]:
    """Make the view if it is due, which is worth a try and no reason to fail; return what a person should know.

    It reads no rows, so nobody is deferred for it.
    """
    plan, warehouse = steps.plan, steps.warehouse
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
        warehouse.wait(job, timeout=_PATIENCE_SECONDS, poll_interval=steps.operator.poll_interval)
    except GeminiBatchError as error:
        note = f"{plan.view} was not made, the results are published all the same: {error}"
        steps.operator.log.warning("%s", note)
        return [note]
    return []
