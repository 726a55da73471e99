"""Vertex AI over REST: the routes of v1 and v1beta1."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_batch_gemini.local.errors import invalid
from airflow_batch_gemini.local.vertex.service import Vertex

VERSIONS = ("v1", "v1beta1")
_JOBS = "/projects/{project}/locations/{location}/batchPredictionJobs"
_MODEL = "/publishers/{publisher}/models/{model}"


def routes(vertex: Vertex) -> list[Route]:
    """Return the routes of both versions."""
    return [route for version in VERSIONS for route in _version_routes(vertex, version)]


def _version_routes(vertex: Vertex, version: str) -> list[Route]:
    async def create(request: Request) -> Response:
        where = request.path_params
        body = await read_json(request)
        # Whoever sent it may be gone by now; it takes effect all the same.
        await asyncio.sleep(vertex.lateness())
        return answer(await run_in_threadpool(vertex.create, where["project"], where["location"], body))

    def list_jobs(request: Request) -> Response:
        where = request.path_params
        return answer(vertex.list(where["project"], where["location"], request.query_params))

    def get(request: Request) -> Response:
        return answer(vertex.get(*_names(request)))

    def cancel(request: Request) -> Response:
        return answer(vertex.cancel(*_names(request)))

    def delete(request: Request) -> Response:
        return answer(vertex.delete(*_names(request), version=version))

    def call(method: Callable[[str, str, Any], dict[str, Any]]) -> Any:
        async def endpoint(request: Request) -> Response:
            where = request.path_params
            name = f"publishers/{where['publisher']}/models/{where['model']}"
            body = await read_json(request)
            return answer(await run_in_threadpool(method, name, where.get("location", "global"), body))

        return endpoint

    generate, count = call(vertex.generate), call(vertex.count_tokens)
    full = "/projects/{project}/locations/{location}" + _MODEL
    table = [
        ("POST", _JOBS, create),
        ("GET", _JOBS, list_jobs),
        ("POST", _JOBS + "/{job}:cancel", cancel),
        ("GET", _JOBS + "/{job}", get),
        ("DELETE", _JOBS + "/{job}", delete),
        ("POST", full + ":generateContent", generate),
        ("POST", full + ":countTokens", count),
        ("POST", _MODEL + ":generateContent", generate),
        ("POST", _MODEL + ":countTokens", count),
    ]
    return [Route(f"/{version}{path}", endpoint, methods=[method]) for method, path, endpoint in table]


def _names(request: Request) -> tuple[str, str, str]:
    where = request.path_params
    return where["project"], where["location"], where["job"]


async def read_json(request: Request) -> Any:
    """Return the JSON body; an empty one is an empty object."""
    body = await request.body()
    try:
        return orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None


def answer(value: Any, status: int = 200) -> Response:
    """Return JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")
