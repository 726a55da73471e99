"""Receiving an object's bytes: in one piece, behind its resource in a multipart body, or in resumable chunks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from urllib.parse import quote

from .calls import Call, Reply, json_reply, parse_json
from .errors import Invalid, NotFound, Unsupported
from .model import DEFAULT_CONTENT_TYPE, Draft, StoredObject
from .multipart import Related
from .names import require_object_name
from .resources import fields_of, metadata_of, object_json, text_of
from .sessions import Session, Sessions
from .store import Storage
from .threads import Threads

_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


class Uploads:
    """The three ways up. `stream` is the request's body as it arrives."""

    def __init__(self, storage: Storage, threads: Threads) -> None:
        self._storage = storage
        self._threads = threads
        self._sessions = Sessions(storage)

    async def answer(self, call: Call, stream: AsyncIterator[bytes]) -> Reply:
        """Take an upload, or one step of it."""
        if call.headers.get("content-encoding", "identity") != "identity":
            raise Unsupported(
                "The local cloud does not undo an upload's Content-Encoding; send the bytes as they are."
            )
        if "upload_id" in call.params:
            return await self._step(call, stream)
        match call.path:
            case ("b", bucket, "o") if call.method == "POST":
                kind = call.params.get("uploadType", "media")
            case _:
                raise NotFound(f"No upload goes to {call.method} {'/'.join(call.path)}")
        if kind == "resumable":
            return await self._start(call, bucket, b"".join([chunk async for chunk in stream]))
        if kind not in ("media", "multipart"):
            raise Invalid(f"Invalid value for parameter uploadType: {kind!r}")
        return await self._whole(call, bucket, stream, related=kind == "multipart")

    async def _whole(self, call: Call, bucket: str, stream: AsyncIterator[bytes], *, related: bool) -> Reply:
        """Take an object that comes in one request."""
        content_type = call.headers.get("content-type", "")
        body = Related(content_type) if related else None
        sink = self._storage.sink()
        try:
            await self._threads.pump(_media(stream, body) if body else stream, sink.write_all)
            if body:
                body.finish()
                draft = draft_of(call, bucket, body.resource, body.media_type)
            else:
                draft = draft_of(call, bucket, b"", content_type)
            stored = await self._threads.run(lambda: self._storage.commit(sink.finish(), draft))
        finally:
            await self._threads.run(sink.discard)
        return _done(call, stored)

    async def _start(self, call: Call, bucket: str, resource: bytes) -> Reply:
        """Open a resumable upload; the client goes on at the address in the answer."""
        draft = draft_of(call, bucket, resource, call.headers.get("x-upload-content-type", ""))
        session = await self._threads.run(self._sessions.start, draft)
        place = f"{call.base}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        location = (
            f"{place}?uploadType=resumable&name={quote(draft.name, safe='')}&upload_id={session.identity}"
        )
        return Reply(headers={"Location": location, "X-GUploader-UploadID": session.identity})

    async def _step(self, call: Call, stream: AsyncIterator[bytes]) -> Reply:
        """Take the next bytes of a resumable upload, or say how far it is."""
        session = await self._threads.run(self._sessions.get, call.params["upload_id"])
        async with session.turn:
            if session.ended is not None:
                return _done(call, session.ended)
            if call.method == "DELETE":
                await self._threads.run(self._sessions.cancel, session)
                return Reply(status=499)
            first, total = content_range(call.headers.get("content-range"))
            if first is not None and first <= session.sink.size:
                await self._receive(session, stream, skip=session.sink.size - first)
                if "content-range" not in call.headers:
                    total = session.sink.size
            if total is None or session.sink.size < total:
                return _incomplete(session)
            if session.sink.size > total:
                raise Invalid(f"The upload has {session.sink.size} bytes, more than the {total} announced.")
            promised = _with_hashes(session.draft, call.headers)
            return _done(call, await self._threads.run(self._sessions.finish, session, promised))

    async def _receive(self, session: Session, stream: AsyncIterator[bytes], *, skip: int) -> None:
        """Append what is new; a chunk sent again is not taken twice. What came before a lost connection stays."""
        try:
            await self._threads.pump(
                _skipped(stream, skip), lambda chunks: self._sessions.append(session, chunks)
            )
        finally:
            await self._threads.run(session.sink.pause)


def draft_of(call: Call, bucket: str, resource_bytes: bytes, media_type: str) -> Draft:
    """Describe the object an upload shall become: by its resource, then by the query, then by the media's type."""
    resource = parse_json(resource_bytes)
    name = call.params.get("name") or text_of(resource, "name") or ""
    require_object_name(name)
    fields = fields_of(resource)
    if "contentEncoding" in call.params:
        fields["contentEncoding"] = call.params["contentEncoding"]
    if media_type == "*/*":
        media_type = ""
    draft = Draft(
        bucket=bucket,
        name=name,
        content_type=text_of(resource, "contentType") or media_type or DEFAULT_CONTENT_TYPE,
        metadata=metadata_of(resource),
        fields=fields,
        conditions=call.conditions(),
        crc32c=text_of(resource, "crc32c"),
        md5=text_of(resource, "md5Hash"),
    )
    return _with_hashes(draft, call.headers)


def content_range(header: str | None) -> tuple[int | None, int | None]:
    """Return (first byte, total) of a chunk; no first byte asks only how far it is, no total leaves the end open."""
    if header is None:
        return 0, None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        raise Invalid(f"Invalid Content-Range: {header!r}")
    first = int(found["first"]) if found["first"] else None
    return first, None if found["total"] == "*" else int(found["total"])


def _with_hashes(draft: Draft, headers: Mapping[str, str]) -> Draft:
    """Add the checksums that clients send in a header, with the bytes they are of."""
    pairs = (pair.strip().partition("=") for pair in headers.get("x-goog-hash", "").split(","))
    hashes = {kind: value for kind, _, value in pairs}
    return replace(draft, crc32c=hashes.get("crc32c", draft.crc32c), md5=hashes.get("md5", draft.md5))


def _done(call: Call, stored: StoredObject) -> Reply:
    return json_reply(object_json(stored, call.base))


def _incomplete(session: Session) -> Reply:
    headers = {"X-GUploader-UploadID": session.identity}
    if session.sink.size:
        headers["Range"] = f"bytes=0-{session.sink.size - 1}"
    return Reply(status=308, headers=headers)


async def _media(stream: AsyncIterator[bytes], body: Related) -> AsyncIterator[bytes]:
    async for chunk in stream:
        if media := body.feed(chunk):
            yield media


async def _skipped(stream: AsyncIterator[bytes], skip: int) -> AsyncIterator[bytes]:
    async for chunk in stream:
        rest = chunk[skip:]
        skip = max(0, skip - len(chunk))
        if rest:
            yield rest
