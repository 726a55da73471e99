"""What a task read and wrote, told to Airflow's lineage collector, OpenLineage and assets; lineage fails no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.typed import type_of

if TYPE_CHECKING:
    from airflow.sdk import BaseHook, Context
    from airflow.sdk.types import Logger

    from airflow_batch_gemini.batch.lineage import Data, Lineage


def tell(lineage: Lineage, hook: BaseHook, log: Logger) -> None:
    """Tell the collector, which whoever reads lineage asks once the task is done.

    :param hook: by whose connection it was read and written.
    """
    from airflow.sdk.lineage import get_hook_lineage_collector

    try:
        collector = get_hook_lineage_collector()
        for data in lineage.inputs:
            collector.add_input_asset(hook, **_asset(data))
        for data in lineage.outputs:
            collector.add_output_asset(hook, **_asset(data))
    except Exception as error:  # noqa: BLE001  # a collector may be anybody's plug-in, and all work is done by now
        log.warning("The lineage was not told: %s", type(error).__name__)


def tell_outlets(context: Context, outlets: Sequence[Any], report: Mapping[str, Any]) -> None:
    """Let the event of each asset among *outlets* carry the counts of *report*."""
    from airflow_batch_gemini.batch.report import counts_of

    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(counts_of(report))


def facets(lineage: Lineage | None) -> Any:
    """Return what OpenLineage's provider asks an operator for; only that provider calls this, so it is installed.

    It says more than the collector can carry: the columns. With no lineage it goes by what the collector has.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    if lineage is None:
        return OperatorLineage()
    return OperatorLineage(
        inputs=[_dataset(data) for data in lineage.inputs],
        outputs=[_dataset(data) for data in lineage.outputs],
    )


def _asset(data: Data) -> dict[str, Any]:
    """Return the arguments that make an asset of it, by the factories of Google's provider."""
    columns: dict[str, Any] = {column.name: type_of(column) for column in data.columns}
    extra = {"columns": columns} if columns else None
    if isinstance(data.place, TableName):
        table = data.place
        named = {"project_id": table.project, "dataset_id": table.dataset, "table_id": table.table}
        return {"scheme": "bigquery", "asset_kwargs": named, "asset_extra": extra}
    return {"scheme": "gs", "asset_kwargs": {"bucket": data.place.bucket, "key": data.place.name}}


def _dataset(data: Data) -> Any:
    """Return an OpenLineage data set, named as its naming rules have it."""
    from airflow.providers.common.compat.openlineage.facet import (
        Dataset,
        SchemaDatasetFacet,
        SchemaDatasetFacetFields,
    )

    if not isinstance(data.place, TableName):
        return Dataset(namespace=f"gs://{data.place.bucket}", name=data.place.name or "/")
    fields = [
        SchemaDatasetFacetFields(name=one.name, type=type_of(one), description=one.description or None)
        for one in data.columns
    ]
    schema: dict[str, Any] = {"schema": SchemaDatasetFacet(fields=fields)} if fields else {}
    return Dataset(namespace="bigquery", name=str(data.place), facets=schema)
