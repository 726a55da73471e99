"""Where the datasets of a batch must lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.names import DatasetName
from airflow_batch_gemini.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook


def check_place(warehouse: WarehouseHook, dataset: DatasetName, location: str) -> str:
    """Return where *dataset* lies, which must be where the job runs.

    Source: page "Batch inference from BigQuery": both tables lie in the job's region.
    """
    check_region(location)
    found = warehouse.dataset_location(dataset)
    if found.lower() != location.lower():
        raise ConfigurationError(
            f"Dataset {dataset} lies in {found}, the job is to run in {location}: Vertex AI reads and writes tables "
            "in its own region only. Nothing was sent; choose another dataset or location."
        )
    return found


def check_region(location: str) -> None:
    """Refuse a place that is no region, where no job reads or writes tables."""
    if location.lower() in names.MULTI_REGIONS:
        raise ConfigurationError(
            f"A job in {location!r} reads and writes no BigQuery table: that takes one region. Nothing was sent; "
            "give a region, or keep requests and predictions on Cloud Storage."
        )
