"""Cloud Storage's JSON API as Starlette routes over a store."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .batch import answer_batch
from .calls import Call, Reply, error_reply, query, segments
from .dispatch import answer
from .errors import RangeNotSatisfiable, StorageError
from .media import Download
from .store import Storage
from .threads import Threads
from .upload import Uploads


def routes(storage: Storage) -> list[Route]:
    """Serve `storage`: what clients ask for under /storage, /download, /upload, /resumable and /batch.

    Paths are read undecoded, since an object's name may hold slashes. Nothing here keeps a whole object in memory.
    """
    api = _Api(storage)
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [
        Route("/storage/v1/{path:path}", api.call, methods=every),
        Route("/download/storage/v1/{path:path}", api.download, methods=["GET"]),
        Route("/upload/storage/v1/{path:path}", api.upload, methods=["POST", "PUT", "DELETE"]),
        Route("/resumable/upload/storage/v1/{path:path}", api.upload, methods=["POST", "PUT", "DELETE"]),
        Route("/batch/storage/v1", api.batch, methods=["POST"]),
    ]


class _Api:
    """The endpoints. Everything that blocks is done in threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = Threads()
        self._uploads = Uploads(storage, self._threads)

    async def call(self, request: Request) -> Response:
        """Answer a call on resources; `alt=media` asks for the bytes instead."""
        try:
            call = _call(request, body=await request.body())
        except StorageError as error:
            return _response(error_reply(error))
        if call.params.get("alt") == "media" and call.method == "GET":
            return await self.download(request)
        return _response(await self._threads.run(answer, self._storage, call))

    async def batch(self, request: Request) -> Response:
        """Answer many calls."""
        call = _call(request, body=await request.body())
        return _response(await self._threads.run(answer_batch, self._storage, call))

    async def upload(self, request: Request) -> Response:
        """Take bytes."""
        try:
            return _response(await self._uploads.answer(_call(request), request.stream()))
        except StorageError as error:
            return _response(error_reply(error))

    async def download(self, request: Request) -> Response:
        """Send bytes."""
        try:
            return await self._download(_call(request))
        except StorageError as error:
            return _response(error_reply(error))

    async def _download(self, call: Call) -> Response:
        match call.path:
            case ("b", bucket, "o", name):
                stored, file = await self._threads.run(
                    self._storage.fetch,
                    bucket,
                    name,
                    conditions=call.conditions(),
                    generation=call.number("generation"),
                )
            case _:
                return _response(answer(self._storage, call))
        try:
            return Download(
                threads=self._threads,
                stored=stored,
                file=file,
                wanted=call.headers.get("range"),
                accepts_gzip="gzip" in call.headers.get("accept-encoding", ""),
            )
        except RangeNotSatisfiable as error:
            file.close()
            response = _response(error_reply(error))
            response.headers["Content-Range"] = f"bytes */{stored.size}"
            return response


def _call(request: Request, *, body: bytes = b"") -> Call:
    raw_path: bytes = request.scope["raw_path"]
    return Call(
        method="GET" if request.method == "HEAD" else request.method,
        path=segments(raw_path.decode("ascii", "replace")),
        params=query(request.scope["query_string"].decode("ascii", "replace")),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        base=str(request.base_url).rstrip("/"),
    )


def _response(reply: Reply) -> Response:
    return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))
