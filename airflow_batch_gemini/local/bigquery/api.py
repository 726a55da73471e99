"""The REST API: paths to handlers, errors to bodies."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_batch_gemini.local.storage.threads import Threads

from . import dataset_calls as datasets
from . import job_calls as jobs
from . import table_calls as tables
from .calls import Call, Reply
from .discovery import Method, document
from .errors import BigQueryError, invalid
from .uploads import Uploads
from .warehouse import Warehouse

_LOG = logging.getLogger(__name__)
_PREFIX = "/bigquery/v2"
_DATASET = "projects/{project}/datasets/{dataset}"
_TABLE = _DATASET + "/tables/{table}"
Handler = Callable[[Warehouse, Call], Reply]

METHODS: tuple[tuple[Method, Handler], ...] = (
    (Method("projects", "list", "GET", "projects"), datasets.list_projects),
    (
        Method("projects", "getServiceAccount", "GET", "projects/{project}/serviceAccount"),
        datasets.service_account,
    ),
    (Method("datasets", "list", "GET", "projects/{project}/datasets"), datasets.list_all),
    (Method("datasets", "insert", "POST", "projects/{project}/datasets", "Dataset"), datasets.insert),
    (Method("datasets", "get", "GET", _DATASET), datasets.get),
    (Method("datasets", "patch", "PATCH", _DATASET, "Dataset"), datasets.patch),
    (Method("datasets", "update", "PUT", _DATASET, "Dataset"), datasets.update),
    (Method("datasets", "delete", "DELETE", _DATASET), datasets.delete),
    (Method("tables", "list", "GET", _DATASET + "/tables"), tables.list_all),
    (Method("tables", "insert", "POST", _DATASET + "/tables", "Table"), tables.insert),
    (Method("tables", "get", "GET", _TABLE), tables.get),
    (Method("tables", "patch", "PATCH", _TABLE, "Table"), tables.patch),
    (Method("tables", "update", "PUT", _TABLE, "Table"), tables.update),
    (Method("tables", "delete", "DELETE", _TABLE), tables.delete),
    (Method("tabledata", "list", "GET", _TABLE + "/data"), tables.list_rows),
    (
        Method("tabledata", "insertAll", "POST", _TABLE + "/insertAll", "TableDataInsertAllRequest"),
        tables.insert_all,
    ),
    (Method("jobs", "list", "GET", "projects/{project}/jobs"), jobs.list_all),
    (Method("jobs", "insert", "POST", "projects/{project}/jobs", "Job"), jobs.insert),
    (Method("jobs", "get", "GET", "projects/{project}/jobs/{job}"), jobs.get),
    (Method("jobs", "cancel", "POST", "projects/{project}/jobs/{job}/cancel"), jobs.cancel),
    (Method("jobs", "delete", "DELETE", "projects/{project}/jobs/{job}/delete"), jobs.delete),
    (Method("jobs", "query", "POST", "projects/{project}/queries", "QueryRequest"), jobs.query),
    (Method("jobs", "getQueryResults", "GET", "projects/{project}/queries/{job}"), jobs.query_results),
)


def routes(warehouse: Warehouse) -> list[Route]:
    """Return the routes of BigQuery's REST API over a warehouse."""
    threads = Threads()
    uploads = Uploads(warehouse, threads)

    async def upload(request: Request) -> Response:
        try:
            return await uploads.answer(request)
        except BigQueryError as error:
            return failure(error)

    def discovery(request: Request) -> Response:
        if request.query_params.get("version", "v2") != "v2":
            return Response(status_code=404)
        base = f"{request.url.scheme}://{request.url.netloc}/"
        return _json(document(base, [method for method, _ in METHODS]))

    made = [
        Route(f"{_PREFIX}/{method.path}", _endpoint(warehouse, threads, handler), methods=[method.verb])
        for method, handler in METHODS
    ]
    for prefix in ("/upload", "/resumable/upload"):
        made.append(Route(f"{prefix}{_PREFIX}/projects/{{project}}/jobs", upload, methods=["POST", "PUT"]))
    for path in ("/discovery/v1/apis/bigquery/v2/rest", "/$discovery/rest"):
        made.append(Route(path, discovery, methods=["GET"]))
    return made


def _endpoint(warehouse: Warehouse, threads: Threads, handler: Handler) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            call = _call(request, body)
            reply = await threads.run(handler, warehouse, call)
        except BigQueryError as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001 - a client gets an answer in BigQuery's shape whatever fails
            _LOG.exception("%s %s failed", request.method, request.url.path)
            return failure(BigQueryError("internalError", f"The local BigQuery failed: {error}"))
        return Response(status_code=204) if reply is None else _json(reply)

    return endpoint


def _call(request: Request, body: bytes) -> Call:
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    try:
        parsed = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    if not isinstance(parsed, dict):
        raise invalid("Invalid JSON payload received: it is no object")
    return Call(
        dict(request.path_params), dict(request.query_params), parsed, request.headers.get("if-match")
    )


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def failure(error: BigQueryError) -> Response:
    """Answer with an error in BigQuery's shape."""
    return _json(error.body(), error.code)
