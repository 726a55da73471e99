"""The app shell: Vertex AI, Cloud Storage and BigQuery behind one port, over one data directory."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from airflow_batch_gemini.local import bigquery, credentials
from airflow_batch_gemini.local.admin import Admin
from airflow_batch_gemini.local.calls import CallCount, CallCounting, Troubles
from airflow_batch_gemini.local.claims import claim_folder, claim_port, in_url
from airflow_batch_gemini.local.connections import CuttableProtocol
from airflow_batch_gemini.local.errors import CloudError, error_body
from airflow_batch_gemini.local.knobs import KnobBoard
from airflow_batch_gemini.local.page import render_page
from airflow_batch_gemini.local.settings import Settings
from airflow_batch_gemini.local.storage import api as storage_api
from airflow_batch_gemini.local.storage.store import Storage
from airflow_batch_gemini.local.vertex import api as vertex_api
from airflow_batch_gemini.local.vertex.service import Vertex


@dataclass(frozen=True, slots=True)
class Parts:
    """What one local cloud is made of."""

    storage: Storage
    warehouse: bigquery.Warehouse
    vertex: Vertex
    admin: Admin

    def close(self) -> None:
        """Stop the work and close the files."""
        self.vertex.stop()
        self.warehouse.close()
        self.storage.close()


def build(settings: Settings, *, mortal: bool = False) -> Parts:
    """Open (or make) everything in the data directory; nothing runs yet."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    board = KnobBoard(settings.first_knobs(), mortal=mortal)
    with ExitStack() as undo:
        storage = Storage(settings.data_dir / "storage")
        undo.callback(storage.close)
        database = settings.data_dir / "warehouse.duckdb"
        warehouse = bigquery.Warehouse(database, storage, default_location=settings.location)
        undo.callback(warehouse.close)
        project, location = settings.project, settings.location
        if settings.bucket:
            storage.create_bucket(settings.bucket, location=location, project=project, exist_ok=True)
        if settings.dataset:
            warehouse.create_dataset(project, settings.dataset, location=location, exist_ok=True)
        vertex = Vertex(settings, storage=storage, warehouse=warehouse, board=board)
        undo.pop_all()
    return Parts(storage, warehouse, vertex, Admin(vertex=vertex, board=board, calls=CallCount()))


def create_app(settings: Settings, parts: Parts, *, url: str) -> Starlette:
    """Return the application over parts that somebody else opens and closes."""

    def page(_request: Request) -> Response:
        buckets = [bucket.name for bucket in parts.storage.buckets()]
        return HTMLResponse(
            render_page(
                url=url,
                data_dir=str(settings.data_dir),
                buckets=buckets,
                datasets=parts.warehouse.dataset_names(),
                stats=parts.admin.stats(),
            )
        )

    return Starlette(
        routes=[
            Route("/", page),
            Route("/healthz", lambda _request: PlainTextResponse("ok")),
            *credentials.routes(lambda: parts.admin.board.now.access_token),
            *parts.admin.routes(),
            *vertex_api.routes(parts.vertex),
            *bigquery.routes(parts.warehouse),
            *storage_api.routes(parts.storage),
        ],
        middleware=[
            Middleware(CallCounting, count=parts.admin.calls),
            Middleware(Troubles, board=parts.admin.board, seed=settings.seed),
        ],
        exception_handlers={CloudError: _cloud_error, HTTPException: _http_error, Exception: _crash},
    )


async def _cloud_error(_request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, CloudError) else 500
    body = error.body() if isinstance(error, CloudError) else error_body(500, str(error))
    return Response(orjson.dumps(body), code, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    what = f"{request.method} {request.url.path}"
    message = f"The local cloud has no {what}." if code == 404 else f"The local cloud refuses {what}: {error}"
    return Response(orjson.dumps(error_body(code, message)), code, media_type="application/json")


async def _crash(request: Request, error: Exception) -> Response:
    message = (
        f"The local cloud failed at {request.method} {request.url.path}: {type(error).__name__}: {error}"
    )
    return Response(orjson.dumps(error_body(500, message)), 500, media_type="application/json")


class LocalCloud:
    """A running local cloud: ``with LocalCloud(Settings(data_dir=…)) as cloud: cloud.url``.

    It owns its data directory while it lives, and serves from a thread; ``serve`` serves from the calling
    thread instead, until SIGTERM or SIGINT.
    """

    def __init__(self, settings: Settings, *, mortal: bool = False) -> None:
        """Take the data directory and the port; nothing is served yet.

        :param mortal: whether the knobs that kill may kill this process.
        :raises DataDirInUseError: another process has the directory.
        :raises OSError: the port is taken.
        """
        self.settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = claim_folder(settings.data_dir / "lock")
        try:
            self._socket = claim_port(settings.host, settings.port)
        except OSError:
            self._lock.close()
            raise
        self.port = int(self._socket.getsockname()[1])
        self.url = (settings.advertise or f"http://{in_url(settings.host)}:{self.port}").rstrip("/")
        try:
            self.credentials_path: Path = credentials.write_credentials(
                settings.data_dir.resolve(), project=settings.project, url=self.url
            )
            self.parts = build(settings, mortal=mortal)
        except BaseException:
            self._socket.close()
            self._lock.close()
            raise
        app = create_app(settings, self.parts, url=self.url)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=CuttableProtocol,
                ws="none",
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=3,
            )
        )
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name="local-cloud", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def serve(self) -> None:
        """Serve until told to stop; everything is closed when this returns."""
        self.parts.vertex.start()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.parts.close()
            self._socket.close()
            self._lock.close()

    def stop(self) -> None:
        """Stop serving from the thread and wait for its end."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def environment(self) -> dict[str, str]:
        """Return the variables that point Google's clients and Airflow here."""
        return credentials.environment(
            url=self.url, project=self.settings.project, credentials=self.credentials_path
        )

    def stats(self) -> dict[str, Any]:
        """Return what was called and billed; see ``Admin.stats``."""
        return self.parts.admin.stats()

    def knobs(self, **changes: object) -> dict[str, Any]:
        """Turn knobs and return them all."""
        return self.parts.admin.turn(changes)

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until no job can go on by itself.

        :raises TimeoutError: one still does.
        """
        if not self.parts.vertex.engine.settle(timeout):
            raise TimeoutError(f"jobs still go on after {timeout} s")
