"""`/batch/storage/v1`: many calls in one request, each answered in its own part."""

from __future__ import annotations

import http
import uuid

from .calls import Call, Reply, error_reply, inner_call
from .dispatch import answer
from .errors import Invalid, StorageError
from .multipart import Part, split_message, split_mixed
from .store import Storage

MAX_CALLS = 1000  # the client library's own limit; the service's is 100


def answer_batch(storage: Storage, call: Call) -> Reply:
    """Answer every part in order; one that fails spoils no other."""
    try:
        parts = [*split_mixed(call.headers.get("content-type", ""), call.body)]
        if not 0 < len(parts) <= MAX_CALLS:
            raise Invalid(f"A batch holds 1 to {MAX_CALLS} calls, not {len(parts)}.")
    except StorageError as error:
        return error_reply(error)
    boundary = f"batch_{uuid.uuid4().hex}"
    rendered = b"".join(_render(boundary, part, _answer_part(storage, part, call.base)) for part in parts)
    return Reply(
        body=rendered + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/mixed; boundary={boundary}"},
    )


def _answer_part(storage: Storage, part: Part, base: str) -> Reply:
    first, headers, body = split_message(part.body)
    method, _, url = first.partition(" ")
    url = url.rpartition(" ")[0]
    try:
        call = inner_call(method, url, headers=headers, body=body, base=base)
        if call.params.get("alt") == "media" or "/upload/" in url.partition("?")[0]:
            raise Invalid("Uploads and downloads cannot be part of a batch.")
    except StorageError as error:
        return error_reply(error)
    return answer(storage, call)


def _render(boundary: str, part: Part, reply: Reply) -> bytes:
    """Write one part of the answer; its Content-ID repeats the question's."""
    asked = part.headers.get("content-id", "").strip("<>")
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if asked:
        lines.append(f"Content-ID: <response-{asked}>")
    lines += ["", f"HTTP/1.1 {reply.status} {http.HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += [f"Content-Length: {len(reply.body)}", "", ""]
    return "\r\n".join(lines).encode() + reply.body + b"\r\n"
