"""Uploads: load jobs whose data comes with the request, in one body or in pieces."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from airflow_batch_gemini.local.storage.errors import StorageError
from airflow_batch_gemini.local.storage.multipart import Related
from airflow_batch_gemini.local.storage.threads import Threads

from .errors import NotFound, invalid
from .resources import job_resource
from .warehouse import Warehouse

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_QUICK = 0.2


@dataclass(slots=True)
class _Upload:
    """A resumable upload that waits for its next bytes."""

    project: str
    job: dict[str, Any]
    file: Path
    size: int = 0


class Uploads:
    """Takes the bytes of load jobs into files, and the jobs once the bytes are whole."""

    def __init__(self, warehouse: Warehouse, threads: Threads) -> None:
        self._warehouse = warehouse
        self._threads = threads
        self._open: dict[str, _Upload] = {}

    async def answer(self, request: Request) -> Response:
        """Answer a request under /upload."""
        project = request.path_params["project"]
        if request.query_params.get("upload_id"):
            return await self._step(request)
        kind = request.query_params.get("uploadType")
        if kind == "resumable":
            return await self._start(request, project)
        if kind == "multipart":
            return await self._whole(request, project)
        raise invalid(f"Invalid uploadType: {kind}")

    def _file(self) -> Path:
        return self._warehouse.uploads / uuid.uuid4().hex

    async def _whole(self, request: Request, project: str) -> Response:
        file = self._file()
        try:
            body = Related(request.headers.get("content-type", ""))
            await self._append(file, _media(request.stream(), body))
            body.finish()
        except StorageError as error:
            await self._threads.run(file.unlink, missing_ok=True)
            raise invalid(error.message) from error
        return await self._take(project, _parsed(body.resource), file)

    async def _start(self, request: Request, project: str) -> Response:
        upload_id = uuid.uuid4().hex
        file = self._file()
        await self._threads.run(file.touch)
        self._open[upload_id] = _Upload(project, _parsed(await request.body()), file)
        url = request.url.include_query_params(uploadType="resumable", upload_id=upload_id)
        return Response(status_code=200, headers={"Location": str(url), "X-GUploader-UploadID": upload_id})

    async def _step(self, request: Request) -> Response:
        upload_id = request.query_params["upload_id"]
        upload = self._open.get(upload_id)
        if upload is None:
            raise NotFound(f"Not found: upload {upload_id}")
        first, total = _content_range(request.headers.get("content-range"), upload)
        if first is not None:
            if first != upload.size:
                raise invalid(f"The upload has {upload.size} bytes; these begin at {first}")
            upload.size += await self._append(upload.file, request.stream())
        if total is None or upload.size < total:
            headers = {"Range": f"bytes=0-{upload.size - 1}"} if upload.size else {}
            return Response(status_code=308, headers=headers)
        self._open.pop(upload_id, None)
        return await self._take(upload.project, upload.job, upload.file)

    async def _append(self, file: Path, chunks: AsyncIterator[bytes]) -> int:
        """Append a stream to a file; returns how many bytes it brought."""
        added = 0

        def append(blocks: list[bytes]) -> None:
            nonlocal added
            with file.open("ab") as opened:
                opened.writelines(blocks)
            added += sum(map(len, blocks))

        await self._threads.run(append, [])
        await self._threads.pump(chunks, append)
        return added

    async def _take(self, project: str, body: dict[str, Any], file: Path) -> Response:
        def take() -> dict[str, Any]:
            try:
                if (body.get("configuration") or {}).get("load") is None:
                    raise invalid("Only load jobs take an upload")
                job = self._warehouse.jobs.insert(project, body, media=file)
            except BaseException:
                file.unlink(missing_ok=True)
                raise
            if not self._warehouse.job_delay_looks:
                self._warehouse.jobs.wait(project, job.id, seconds=_QUICK)
                job = self._warehouse.jobs.get(project, job.id)
            return job_resource(job)

        resource = await self._threads.run(take)
        return Response(orjson.dumps(resource), media_type="application/json")


async def _media(stream: AsyncIterator[bytes], body: Related) -> AsyncIterator[bytes]:
    async for chunk in stream:
        yield body.feed(chunk)


def _parsed(resource: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(resource or b"{}")
    except orjson.JSONDecodeError as error:
        raise invalid(f"Invalid JSON in the job resource: {error}") from error
    if not isinstance(value, dict):
        raise invalid("The job resource is no JSON object")
    return value


def _content_range(header: str | None, upload: _Upload) -> tuple[int | None, int | None]:
    """Read Content-Range: where the bytes begin (None when there are none) and the whole size, if known."""
    if header is None:
        return upload.size, None
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        raise invalid(f"Invalid Content-Range: {header}")
    first, _, total = found.groups()
    return None if first is None else int(first), None if total == "*" else int(total)
