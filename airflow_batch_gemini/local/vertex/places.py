"""What a job needs to find: buckets, datasets in its own region, a table with usable columns."""

from __future__ import annotations

from airflow_batch_gemini.local.bigquery import Column, Warehouse
from airflow_batch_gemini.local.bigquery.errors import BigQueryError
from airflow_batch_gemini.local.storage.errors import NotFound
from airflow_batch_gemini.local.storage.store import Storage
from airflow_batch_gemini.local.vertex.bodies import TableName, split_gcs, split_table
from airflow_batch_gemini.local.vertex.importer import FAILED_TO_IMPORT
from airflow_batch_gemini.local.vertex.records import Job

_REFUSED_TYPES = frozenset({"ARRAY", "STRUCT", "RECORD", "RANGE", "DATETIME", "GEOGRAPHY"})
_RESERVED = frozenset({"response", "status"})


class JobFailedError(Exception):
    """The job ends FAILED with this error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def import_failure(detail: str) -> JobFailedError:
    """Return the failure of an import: the service's sentence, then what was wrong."""
    return JobFailedError(3, FAILED_TO_IMPORT + detail)


def require_bucket(storage: Storage, uri: str) -> None:
    """Fail as the service does when the bucket of a URI does not exist."""
    bucket = split_gcs(uri)[0]
    try:
        storage.bucket_location(bucket)
    except NotFound:
        raise JobFailedError(
            9, f"Failed to get GCS bucket location for {bucket}: the bucket does not exist or cannot be read."
        ) from None


def require_dataset(warehouse: Warehouse, table: TableName, location: str) -> None:
    """Fail when a dataset does not exist or lies in another region than the job."""
    try:
        found = warehouse.dataset_location(table.project, table.dataset)
    except BigQueryError as error:
        _require_absence(error)
        raise JobFailedError(5, f"Not found: Dataset {table.project}:{table.dataset}") from None
    if found.lower() != location.lower():
        raise JobFailedError(
            3,
            f"BigQuery dataset {table.project}:{table.dataset} is in {found}, the job in {location}; both must be in "
            "the same region.",
        )


def source_columns(job: Job, warehouse: Warehouse) -> tuple[Column, ...]:
    """Return the columns of the table a job reads.

    :raises JobFailedError: there is no such table, no usable ``request`` in it, or a column that may not be.
    """
    table = split_table(job.source.uris[0])
    require_dataset(warehouse, table, job.location)
    try:
        columns = warehouse.columns(table.project, table.dataset, str(table.table))
    except BigQueryError as error:
        _require_absence(error)
        raise import_failure(f"Not found: Table {table.project}:{table.dataset}.{table.table}.") from None
    names = {column.name: column for column in columns}
    request = names.get("request")
    if request is None or request.type.upper() not in ("JSON", "STRING") or request.mode == "REPEATED":
        raise import_failure("The table has no column named request of type JSON or STRING.")
    # Both together are the output of an earlier job, which may be resumed.
    taken = _RESERVED & set(names)
    if len(taken) == 1:
        raise import_failure(f"The column name {min(taken)} is reserved.")
    for column in columns:
        kind = column.type.upper().partition("<")[0]
        if column.mode == "REPEATED" or kind in _REFUSED_TYPES:
            raise import_failure(
                f"The column {column.name} has the type {column.type}, which is not supported."
            )
    return tuple(columns)


def _require_absence(error: BigQueryError) -> None:
    """Let every error pass on but that something does not exist."""
    if error.code != 404:
        raise error
