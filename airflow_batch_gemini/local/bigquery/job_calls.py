"""The API's jobs and queries."""

from __future__ import annotations

import hashlib
from typing import Any

from .calls import Call, Reply, page_token
from .datatypes import fields_from_rest
from .errors import BigQueryError, NotFound, invalid
from .registry import Job
from .resources import has_rows, job_reference, job_resource
from .table_calls import rows_page
from .warehouse import Warehouse

_QUICK = 0.2
_DEFAULT_TIMEOUT_MS = 10_000
_LONGEST_WAIT_MS = 200_000
_DEFAULT_PAGE = 50
_STATES = {"done": "DONE", "pending": "PENDING", "running": "RUNNING"}
_QUERY_FIELDS = (
    "query", "defaultDataset", "useLegacySql", "parameterMode", "queryParameters", "maximumBytesBilled",
    "useQueryCache", "destinationEncryptionConfiguration", "connectionProperties", "createSession", "continuous",
)  # fmt: skip


def insert(warehouse: Warehouse, call: Call) -> Reply:
    """Take a job; one that is done in a moment is told as done."""
    job = warehouse.jobs.insert(call.project, call.body)
    if job.state == "DONE":
        return job_resource(job)
    if not warehouse.job_delay_looks:
        warehouse.jobs.wait(job.project, job.id, seconds=_QUICK)
        job = warehouse.jobs.get(job.project, job.id)
    return job_resource(job)


def get(warehouse: Warehouse, call: Call) -> Reply:
    """Return a job; of one that is about to end, its end: who is told that it runs on sleeps before the next look."""
    if not warehouse.job_delay_looks:
        warehouse.jobs.wait(call.project, call.names["job"], seconds=_QUICK)
    return job_resource(warehouse.jobs.look(call.project, call.names["job"], call.query.get("location")))


def cancel(warehouse: Warehouse, call: Call) -> Reply:
    """Ask a job to stop."""
    job = warehouse.jobs.cancel(call.project, call.names["job"], call.query.get("location"))
    return {"kind": "bigquery#jobCancelResponse", "job": job_resource(job)}


def delete(warehouse: Warehouse, call: Call) -> Reply:
    """Delete the metadata of a job."""
    warehouse.jobs.get(call.project, call.names["job"], call.query.get("location"))
    warehouse.jobs.remove(call.project, call.names["job"])
    return None


def list_all(warehouse: Warehouse, call: Call) -> Reply:
    """List jobs, the newest first; those of a script only by their parent."""
    states = frozenset(
        _STATES.get(state, state) for state in (call.query.get("stateFilter") or "").split(",") if state
    )
    size = call.number("maxResults") or _DEFAULT_PAGE
    jobs = warehouse.jobs.page(
        call.project, parent=call.query.get("parentJobId") or None, states=states, limit=size + 1, offset=call.start,
        least=call.number("minCreationTime"), most=call.number("maxCreationTime"),
    )  # fmt: skip
    shown = []
    for job in jobs[:size]:
        resource = job_resource(job)
        resource["state"] = resource["status"]["state"]
        if job.error is not None:
            resource["errorResult"] = job.error
        shown.append(resource)
    reply: dict[str, Any] = {"kind": "bigquery#jobList", "jobs": shown}
    if len(jobs) > size:
        reply["nextPageToken"] = page_token(call.start + size)
    return reply


def query_results(warehouse: Warehouse, call: Call) -> Reply:
    """Return the rows of a query job, waiting for it as long as the caller says."""
    timeout = call.number("timeoutMs")
    return _results(warehouse, call, call.names["job"], timeout, "bigquery#getQueryResultsResponse")


def query(warehouse: Warehouse, call: Call) -> Reply:
    """Run a query and return its rows, or only its job when it takes longer than the caller waits."""
    configuration: dict[str, Any] = {
        "query": {name: call.body[name] for name in _QUERY_FIELDS if call.body.get(name) is not None}
    }
    for name in ("labels", "dryRun", "jobTimeoutMs"):
        if call.body.get(name) is not None:
            configuration[name] = call.body[name]
    reference = {"projectId": call.project, "location": call.body.get("location")}
    request = call.body.get("requestId")
    if request:
        reference["jobId"] = "job_" + hashlib.sha256(f"{call.project}/{request}".encode()).hexdigest()[:32]
    job = _taken(warehouse, call, {"jobReference": reference, "configuration": configuration})
    if configuration.get("dryRun"):
        statistics = job.doc["statistics"]["query"]
        return {
            "kind": "bigquery#queryResponse", "schema": statistics.get("schema"), "jobReference": job_reference(job),
            "totalBytesProcessed": statistics["totalBytesProcessed"], "jobComplete": True, "cacheHit": False,
        }  # fmt: skip
    options = call.body.get("formatOptions") or {}
    inner = Call(
        {**call.names, "job": job.id},
        {
            "maxResults": str(call.body.get("maxResults") if call.body.get("maxResults") is not None else ""),
            "formatOptions.useInt64Timestamp": str(bool(options.get("useInt64Timestamp"))).lower(),
        },
    )
    timeout = call.body.get("timeoutMs")
    return _results(
        warehouse, inner, job.id, None if timeout is None else int(timeout), "bigquery#queryResponse"
    )


def _taken(warehouse: Warehouse, call: Call, body: dict[str, Any]) -> Job:
    """Take the job of jobs.query; a request id that was sent before means the job of then."""
    try:
        return warehouse.jobs.insert(call.project, body)
    except BigQueryError as error:
        if error.reason != "duplicate":
            raise
        return warehouse.jobs.get(call.project, body["jobReference"]["jobId"])


def _results(warehouse: Warehouse, call: Call, job_id: str, timeout_ms: int | None, kind: str) -> Reply:
    wait = min(_DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms, _LONGEST_WAIT_MS)
    warehouse.jobs.get(call.project, job_id, call.query.get("location"))
    warehouse.jobs.wait(call.project, job_id, seconds=wait / 1000)
    job = warehouse.jobs.look(call.project, job_id, call.query.get("location"))
    reply: dict[str, Any] = {
        "kind": kind,
        "jobReference": job_reference(job),
        "jobComplete": job.state == "DONE",
    }
    if job.state != "DONE":
        return reply
    if job.error is not None:
        raise BigQueryError(job.error["reason"], job.error["message"], location=job.error.get("location"))
    statistics = (job.doc.get("statistics") or {}).get("query")
    if statistics is None:
        raise invalid(f"Cannot retrieve query results of a job that is no query: {call.project}:{job_id}")
    reply |= {"cacheHit": False, "totalBytesProcessed": statistics.get("totalBytesProcessed", "0")}
    for name in ("numDmlAffectedRows", "dmlStats", "statementType"):
        if statistics.get(name) is not None:
            reply[name] = statistics[name]
    return reply | _rows(warehouse, call, job) if has_rows(job) else reply


def _rows(warehouse: Warehouse, call: Call, job: Job) -> dict[str, Any]:
    place = job.doc["result"]
    try:
        table = warehouse.table(place["projectId"], place["datasetId"], place["tableId"])
    except NotFound as error:
        raise NotFound(f"The result of job {job.project}:{job.id} is gone: {error.message}") from error
    rows, token = rows_page(warehouse, call, table, fields_from_rest(job.doc["schema"]))
    found: dict[str, Any] = {
        "schema": {"fields": job.doc["schema"]}, "totalRows": str(warehouse.row_count(table)), "etag": job.id,
    }  # fmt: skip
    if rows:
        found["rows"] = rows
    if token is not None:
        found["pageToken"] = token
    return found
