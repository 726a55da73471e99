"""The storage part of the local cloud alone, on a free port, for the tests beside this file."""

from __future__ import annotations

import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from airflow_batch_gemini.local.storage.api import routes
from airflow_batch_gemini.local.storage.store import Storage


class Server:
    """A running server over a root folder; `stop` it, and another one can open the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = Storage(root)
        config = uvicorn.Config(
            Starlette(routes=routes(self.storage)),
            host="127.0.0.1",
            port=0,
            log_level="error",
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._socket = config.bind_socket()
        self._socket.listen()  # from here on a client waits for the loop instead of being refused
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.storage.close()
