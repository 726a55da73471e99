"""What the BigQuery client says, in this package's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.landing import Column, JobOutcome, WarehouseJob, outcome_of_error, redacted
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    GeminiBatchError,
    InvalidNameError,
    ServiceError,
)

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry
    from google.cloud.bigquery import Client, SchemaField

REQUEST_SECONDS = 60.0
RETRY_SECONDS = 180.0
_PATCH_TRIES = 5

_LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


def retry() -> Retry:
    """Return how a call is repeated: what BigQuery calls temporary, for three minutes."""
    from google.cloud.bigquery import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_SECONDS)


def column_of(found: SchemaField) -> Column:
    """Return a column as BigQuery describes it, whose types the REST API may spell the old way."""
    fields = tuple(map(column_of, found.fields))
    kind = _LEGACY.get(found.field_type, found.field_type)
    return Column(found.name, kind, found.mode, fields, found.description or "")


def grow(client: Client, table: TableName, columns: Sequence[Column]) -> None:
    """Patch the schema of *table* until its STRUCTs have the fields of *columns*."""
    from google.api_core.exceptions import PreconditionFailed

    become = {column.name.casefold(): column for column in columns}
    for _ in range(_PATCH_TRIES):
        found = client.get_table(str(table), retry=retry(), timeout=REQUEST_SECONDS)
        before = [field.to_api_repr() for field in found.schema]
        after = [
            _grown(field, become[name]) if (name := str(field["name"]).casefold()) in become else field
            for field in before
        ]
        if after == before:
            return
        found.schema = after
        try:
            client.update_table(found, ["schema"], retry=retry(), timeout=REQUEST_SECONDS)
        except PreconditionFailed:
            continue  # it was changed in between, perhaps by us: look again
        return
    raise ServiceError(
        f"Table {table} changed {_PATCH_TRIES} times while it was given fields. A retry helps."
    )


def _grown(field: Mapping[str, Any], column: Column) -> dict[str, Any]:
    """Return *field* with what *column* has more, at the end; what is there keeps all that BigQuery says of it."""
    there = field.get("fields", ())
    names = [inner.name.casefold() for inner in column.fields]
    if [str(inner["name"]).casefold() for inner in there] != names[: len(there)]:
        raise ServiceError(
            f"Column {column.name} was changed while the load ran. Nothing was published; a retry goes by what it is "
            "now."
        )
    known, new = column.fields[: len(there)], column.fields[len(there) :]
    fields = [*map(_grown, there, known), *map(_field, new)]
    return {**field, "fields": fields} if fields else dict(field)


def _field(column: Column) -> dict[str, Any]:
    described = {"description": column.description} if column.description else {}
    inner = {"fields": [*map(_field, column.fields)]} if column.fields else {}
    return {"name": column.name, "type": column.type, "mode": column.mode, **described, **inner}


def insert(client: Client, job: WarehouseJob, configuration: Mapping[str, Any]) -> None:
    """Start *job*; the client raises ``Conflict`` when one of that name exists."""
    from google.cloud.bigquery import LoadJobConfig, QueryJobConfig

    # The client edits what it is given, but the job is named after what we were given.
    final = json.loads(json.dumps(configuration))
    place = {"job_id": job.job_id, "project": job.project, "location": job.location}
    calls = {"retry": retry(), "timeout": REQUEST_SECONDS}
    if "query" in final:
        asked = QueryJobConfig.from_api_repr(final)
        client.query(final["query"]["query"], job_config=asked, job_retry=None, **place, **calls)
    elif "load" in final:
        load, table = final["load"], final["load"]["destinationTable"]
        target = f"{table['projectId']}.{table['datasetId']}.{table['tableId']}"
        wanted = LoadJobConfig.from_api_repr(final)
        client.load_table_from_uri(load["sourceUris"], target, job_config=wanted, **place, **calls)
    else:
        raise ConfigurationError(
            f"A BigQuery job is a query or a load, not {sorted(final)}. Nothing was sent."
        )


def outcome_of(job: Any) -> JobOutcome:
    """Return what a client's job object says of itself."""
    if error := job.error_result:
        return outcome_of_error(error.get("reason"), str(error.get("message", "")))
    rows = getattr(job, "output_rows", None)
    rows = getattr(job, "num_dml_affected_rows", None) if rows is None else rows
    # The client has no property for badRecords, and leaves statistics out of to_api_repr().
    loaded = job._properties.get("statistics", {}).get("load", {})  # noqa: SLF001
    return JobOutcome(
        done=job.state == "DONE",
        rows=None if rows is None else int(rows),
        bad_lines=int(loaded.get("badRecords") or 0),
        ended=None if job.ended is None else job.ended.timestamp(),
        read=tables_read(job),
    )


def tables_read(job: Any) -> tuple[TableName, ...]:
    """Return what tables a finished query read; one that has no name by our grammar, like a wildcard's, is left out."""
    found = []
    for one in getattr(job, "referenced_tables", ()):
        with suppress(InvalidNameError):
            found.append(TableName(one.project, one.dataset_id, one.table_id))
    return tuple(dict.fromkeys(found))


@contextmanager
def translated(failure: type[GeminiBatchError], doing: str) -> Iterator[None]:
    """Turn the client's errors into ours: *failure* for a clear refusal, :class:`ServiceError` for the rest.

    The original error is not chained where its text may quote a statement or a row.
    """
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        raise _of_answer(error, failure, doing) from None
    except RetryError as error:
        if isinstance(error.cause, GoogleAPICallError):
            raise _of_answer(error.cause, failure, doing) from None
        raise _unreachable(error.cause or error, doing) from None
    except (GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise _unreachable(error, doing) from None


def _of_answer(error: GoogleAPICallError, failure: type[GeminiBatchError], doing: str) -> GeminiBatchError:
    status = int(error.code) if error.code is not None else None
    first = error.errors[0] if error.errors and isinstance(error.errors[0], Mapping) else {}
    reason = first.get("reason") or type(error).__name__
    text = f"BigQuery refused {doing}: {status} {reason}: {redacted(error.message or '')}"
    if status is None or status == 429 or status >= 500 or outcome_of_error(reason, "").transient:
        return ServiceError(f"{text}. A retry goes on from here.", http_status=status)
    return failure(text)


def _unreachable(error: Exception, doing: str) -> ServiceError:
    return ServiceError(
        f"BigQuery could not be reached while {doing}: {type(error).__name__}. A retry goes on from here."
    )
