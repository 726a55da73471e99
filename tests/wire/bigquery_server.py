"""The local BigQuery behind a real port, and Google's client pointed to it."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from starlette.applications import Starlette

from airflow_batch_gemini.local.bigquery import Warehouse, routes
from airflow_batch_gemini.local.storage.store import Storage


class BigQueryServer:
    """Storage and warehouse in a folder, served on a free port of this machine."""

    def __init__(self, root: Path) -> None:
        self.storage = Storage(root / "storage")
        self.warehouse = Warehouse(root / "warehouse.duckdb", self.storage)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._started = threading.Event()
        app = Starlette(routes=routes(self.warehouse))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Self:
        # The socket listens before the server accepts, so a client may connect at once.
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.warehouse.close()
        self.storage.close()

    def client(self) -> bigquery.Client:
        return bigquery.Client(
            project="demo",
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=self.url),
        )

    def put(self, name: str, data: bytes, *, bucket: str = "lake") -> str:
        """Write an object; returns its URI."""
        self.storage.create_bucket(bucket, exist_ok=True)
        with self.storage.writer(bucket, name) as file:
            file.write(data)
        return f"gs://{bucket}/{name}"

    def read(self, name: str, *, bucket: str = "lake") -> bytes:
        with self.storage.open(bucket, name) as file:
            return file.read()
