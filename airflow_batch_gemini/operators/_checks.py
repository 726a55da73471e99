"""What the prepare operator refuses before it asks anybody anything, and where a dataset must lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.embedding import check_kind
from airflow_batch_gemini.batch.names import DatasetName
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.rows import Format
from airflow_batch_gemini.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

_MULTI_REGIONS = frozenset({"global", "us", "eu"})


def check_arguments(operator: GeminiBatchPrepareOperator, *, rendered: bool) -> None:
    """Refuse arguments that cannot work together or are not well formed.

    :param rendered: whether templated arguments have their values; until then only plain text is judged.
    """
    if not isinstance(operator.template, Template):
        raise ConfigurationError(
            "template= wants a GeminiTemplate or an EmbeddingTemplate. Nothing was sent."
        )
    if (operator.sql is None) == (operator.source_uri is None):
        raise ConfigurationError(
            "Rows come either from sql= or from source_uri=: give one. Nothing was sent."
        )
    if operator.requests_dataset and operator.sql is None:
        raise ConfigurationError(
            "requests_dataset= lets BigQuery make the requests: it needs sql=. Nothing was sent."
        )
    if operator.source_format is not None and operator.source_format not in get_args(Format):
        raise ConfigurationError(
            f"source_format={operator.source_format!r} is none of {', '.join(get_args(Format))}. Nothing was sent."
        )
    limits_of(operator)
    for value, parse in (
        (operator.model, names.model_path),
        (operator.location, names.location),
        (operator.work_uri, names.work_folder),
        (operator.source_uri or None, names.source_uri),
        (operator.requests_dataset or None, _dataset),
        (operator.predictions_dataset or None, _dataset),
        (operator.project_id or None, names.project_id),
    ):
        if value is not None and (rendered or _is_plain(value)):
            parse(value)
    if rendered and not all((operator.sql or operator.source_uri, operator.key_column)):
        raise ConfigurationError("sql=, source_uri= or key_column= is empty. Nothing was sent.")
    tables = bool(operator.requests_dataset or operator.predictions_dataset)
    if tables and _is_plain(operator.location):
        _check_region(operator.location)
    if rendered or _is_plain(operator.model):
        check_kind(operator.template, model=names.model_path(operator.model), tables=tables)


def limits_of(operator: GeminiBatchPrepareOperator) -> Limits:
    """Return what fits into one part: by default as much as a job of the template's kind takes."""
    most = operator.template.max_rows
    rows = most if operator.max_rows_per_part is None else operator.max_rows_per_part
    return Limits(rows=rows, size=operator.max_bytes_per_part, most_rows=most)


def _dataset(value: object) -> DatasetName:
    """Judge a dataset's name while the connection's project, which may complete it, is not known yet."""
    return DatasetName.parse(value, default_project="project")


def check_place(warehouse: WarehouseHook, dataset: DatasetName, location: str) -> str:
    """Return where *dataset* lies, which must be where the job runs.

    Source: page "Batch inference from BigQuery": both tables lie in the job's region.
    """
    _check_region(location)
    found = warehouse.dataset_location(dataset)
    if found.lower() != location.lower():
        raise ConfigurationError(
            f"Dataset {dataset} lies in {found}, the job is to run in {location}: Vertex AI reads and writes tables "
            "in its own region only. Nothing was sent; choose another dataset or location."
        )
    return found


def _check_region(location: str) -> None:
    if location.lower() in _MULTI_REGIONS:
        raise ConfigurationError(
            f"A job in {location!r} reads and writes no BigQuery table: that takes one region. Nothing was sent; "
            "give a region, or keep requests and predictions on Cloud Storage."
        )


def _is_plain(value: Any) -> bool:
    """Whether *value* is text that Airflow will not render."""
    return isinstance(value, str) and not any(mark in value for mark in ("{{", "{%", "{#"))
