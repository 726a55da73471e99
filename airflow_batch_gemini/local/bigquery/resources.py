"""Datasets, tables and jobs as the REST API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .datatypes import fields_to_rest
from .records import Dataset, Table, etag
from .registry import Job

SERVICE_ACCOUNT = "local@demo.iam.gserviceaccount.com"


def dataset_resource(dataset: Dataset) -> dict[str, Any]:
    """Render a dataset."""
    return {
        "kind": "bigquery#dataset",
        "etag": etag(dataset),
        "id": f"{dataset.project}:{dataset.name}",
        "datasetReference": {"projectId": dataset.project, "datasetId": dataset.name},
        "location": dataset.location,
        "creationTime": str(dataset.created),
        "lastModifiedTime": str(dataset.modified),
        "type": "DEFAULT",
        "access": [{"role": "OWNER", "specialGroup": "projectOwners"}],
        **dataset.options,
    }


def dataset_summary(dataset: Dataset) -> dict[str, Any]:
    """Render a dataset in a list."""
    shown = ("kind", "id", "datasetReference", "location", "labels", "friendlyName")
    return {key: value for key, value in dataset_resource(dataset).items() if key in shown}


def table_reference(table: Table) -> dict[str, str]:
    """Name a table."""
    return {"projectId": table.project, "datasetId": table.dataset, "tableId": table.name}


def table_etag(table: Table) -> str:
    """The entity tag of a table: it changes with every change."""
    return etag(table.full_name, table.modified, table.fields, sorted(map(str, table.options.items())))


def table_resource(table: Table, *, location: str, rows: int, size: int) -> dict[str, Any]:
    """Render a table or a view."""
    resource: dict[str, Any] = {
        "kind": "bigquery#table",
        "etag": table_etag(table),
        "id": table.full_name,
        "selfLink": f"/bigquery/v2/projects/{table.project}/datasets/{table.dataset}/tables/{table.name}",
        "tableReference": table_reference(table),
        "schema": {"fields": fields_to_rest(table.fields)},
        "numRows": str(rows),
        "numBytes": str(size),
        "numLongTermBytes": "0",
        "creationTime": str(table.created),
        "lastModifiedTime": str(table.modified),
        "type": "TABLE" if table.view is None else "VIEW",
        "location": location,
        **table.options,
    }
    if table.view is not None:
        resource["view"] = {"query": table.view, "useLegacySql": False}
    return resource


def table_summary(table: Table) -> dict[str, Any]:
    """Render a table in a list."""
    summary: dict[str, Any] = {
        "kind": "bigquery#table",
        "id": table.full_name,
        "tableReference": table_reference(table),
        "type": "TABLE" if table.view is None else "VIEW",
        "creationTime": str(table.created),
    }
    shown = (
        "labels",
        "friendlyName",
        "timePartitioning",
        "rangePartitioning",
        "clustering",
        "expirationTime",
    )
    return summary | {key: table.options[key] for key in shown if key in table.options}


def job_reference(job: Job) -> dict[str, str]:
    """Name a job."""
    return {"projectId": job.project, "jobId": job.id, "location": job.location}


def job_resource(job: Job) -> dict[str, Any]:
    """Render a job."""
    return {
        "kind": "bigquery#job",
        "etag": etag(job.id, job.state),
        "id": f"{job.project}:{job.location}.{job.id}",
        "selfLink": f"/bigquery/v2/projects/{job.project}/jobs/{job.id}?location={job.location}",
        "user_email": SERVICE_ACCOUNT,
        "jobReference": job_reference(job),
        "configuration": _configuration(job),
        "statistics": _statistics(job),
        "status": _status(job),
    }


def _configuration(job: Job) -> dict[str, Any]:
    configuration: dict[str, Any] = dict(job.doc["configuration"])
    if job.state == "DONE" and has_rows(job):
        configuration["query"] = {**configuration["query"], "destinationTable": job.doc["result"]}
    return configuration


def has_rows(job: Job) -> bool:
    """Say whether a job ended with a SELECT whose rows can be read."""
    return bool(job.doc.get("select")) and job.doc.get("result") is not None


def _status(job: Job) -> dict[str, Any]:
    status: dict[str, Any] = {"state": job.state}
    if job.state == "DONE":
        if job.error is not None:
            status["errorResult"] = job.error
        if job.doc.get("errors"):
            status["errors"] = job.doc["errors"]
    return status


def _statistics(job: Job) -> dict[str, Any]:
    doc: Mapping[str, Any] = job.doc
    statistics: dict[str, Any] = {"creationTime": str(job.created), "startTime": str(doc["started"])}
    if job.parent is not None:
        statistics["parentJobId"] = job.parent
    if job.state != "DONE":
        return statistics
    statistics |= {"endTime": str(doc["ended"]), **(doc.get("statistics") or {})}
    statistics["finalExecutionDurationMs"] = str(doc["ended"] - doc["started"])
    processed = (statistics.get("query") or {}).get("totalBytesProcessed")
    if processed is not None:
        statistics["totalBytesProcessed"] = processed
    if doc.get("children"):
        statistics["numChildJobs"] = str(doc["children"])
    return statistics
