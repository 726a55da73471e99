"""Sending an object's bytes: ranges, the headers that clients check, and gzip undone for who cannot."""

from __future__ import annotations

import re
import zlib
from email.utils import format_datetime
from typing import BinaryIO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .errors import RangeNotSatisfiable
from .model import StoredObject
from .sink import BLOCK
from .threads import Threads

_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")
_GZIP = 16 + zlib.MAX_WBITS
_PASSED_ON = {
    "cacheControl": "Cache-Control",
    "contentDisposition": "Content-Disposition",
    "contentLanguage": "Content-Language",
}


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (first byte, length) of a range, None for the whole object; RangeNotSatisfiable behind its end.

    A header that is no single range of bytes counts as none, as HTTP has it.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.group() == "bytes=-":
        return None
    if not found["first"]:
        first, last = max(0, size - int(found["last"])), size - 1
    else:
        first, last = int(found["first"]), min(int(found["last"] or size), size - 1)
        if found["last"] and int(found["last"]) < first:
            return None
    if first >= size:
        raise RangeNotSatisfiable(
            f"The requested range {header} cannot be satisfied: the object has {size} bytes."
        )
    return first, last - first + 1


def media_headers(stored: StoredObject) -> dict[str, str]:
    """Describe the stored bytes, in whatever part of them is sent."""
    hashes = [f"crc32c={stored.crc32c}"] if stored.crc32c else []
    hashes += [f"md5={stored.md5}"] if stored.md5 else []
    headers = {
        "Content-Type": stored.content_type,
        "Accept-Ranges": "bytes",
        "ETag": f'"{stored.etag}"',
        "Last-Modified": format_datetime(stored.created, usegmt=True),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Storage-Class": stored.fields.get("storageClass", "STANDARD"),
        "X-Goog-Stored-Content-Length": str(stored.size),
        "X-Goog-Stored-Content-Encoding": stored.fields.get("contentEncoding", "identity"),
    }
    if hashes:
        headers["X-Goog-Hash"] = ",".join(hashes)
    for name, header in _PASSED_ON.items():
        if name in stored.fields:
            headers[header] = stored.fields[name]
    return headers


class Download(Response):
    """Stream an open file, or a range of it, in blocks; close it in the end, however that comes."""

    def __init__(
        self,
        *,
        threads: Threads,
        stored: StoredObject,
        file: BinaryIO,
        wanted: str | None,
        accepts_gzip: bool,
    ) -> None:
        self._threads = threads
        self._file = file
        encoding = stored.fields.get("contentEncoding")
        self._inflate = zlib.decompressobj(_GZIP) if encoding == "gzip" and not accepts_gzip else None
        headers = media_headers(stored)
        span = None if self._inflate else byte_range(wanted, stored.size)
        self._first, self._left = span or (0, stored.size)
        if self._inflate is None:
            headers["Content-Length"] = str(self._left)
            if encoding:
                headers["Content-Encoding"] = encoding
        if span:
            headers["Content-Range"] = f"bytes {self._first}-{self._first + self._left - 1}/{stored.size}"
        super().__init__(status_code=206 if span else 200, headers=headers)
        if self._inflate is not None:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the head and the blocks."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] != "HEAD":
                self._file.seek(self._first)
                while block := await self._threads.run(self._next):
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()

    def _next(self) -> bytes:
        """Read the next block to send; an empty one ends it."""
        while block := self._file.read(min(BLOCK, self._left)):
            self._left -= len(block)
            sent = self._inflate.decompress(block) if self._inflate else block
            if sent:
                return sent
        return self._inflate.flush() if self._inflate else b""
