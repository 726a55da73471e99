"""What the Cloud Storage client says, in this package's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

from airflow_batch_gemini.exceptions import GeminiBatchError, ServiceError

REQUEST_SECONDS = 60.0
CHUNK_BYTES = 8 << 20
"""What is uploaded at a time; a multiple of 256 KiB, as Cloud Storage wants it."""
_QUERY = re.compile(r"(?<=\S)\?\S+?(?=:?(?:\s|$))")
"""Of an address: whoever knows that of an upload may go on with it."""


class PreconditionLost(GeminiBatchError):  # noqa: N818  # it may be one's own lost success: not yet an error
    """Cloud Storage answered 412: the object is not in the generation that was asked for.

    It may be one's own write whose answer was lost; the caller reads the object back and decides.
    """


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What Cloud Storage says of an object."""

    uri: str
    size: int
    generation: int
    crc32c: str
    """Base64, as Cloud Storage spells it."""
    updated: float
    """Epoch seconds by the server's clock."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object's bytes and what they are bytes of."""

    data: bytes
    info: ObjectInfo


class ObjectWriter:
    """An object being written, in chunks; it appears when the ``with`` block around it ends well.

    Chunks go their way in a thread, one while a second one waits and the next is gathered.

    :param upload: uploads a stream to its end: it runs in that thread, and reads chunk by chunk.
    """

    def __init__(self, upload: Callable[[_Chunks], object]) -> None:
        self._chunks = _Chunks()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")
        self._whole = upload
        self._upload: Future[None] = Future()
        self.size = 0
        self.info: ObjectInfo | None = None
        """What was written, once it is."""

    def begin(self) -> None:
        """Start the thread. Whatever is raised from here on, even by this, is followed by :meth:`stop`."""
        self._upload = self._thread.submit(self._chunks.taken_by, self._whole)

    def write(self, data: bytes) -> int:
        """Append *data*; wait while two chunks are on their way, and raise what went wrong with them."""
        start, rest = 0, CHUNK_BYTES - self._pending_bytes
        while len(data) - start >= rest:
            self._pend(data[start : start + rest])
            self._send()
            start, rest = start + rest, CHUNK_BYTES
        self._pend(data[start:])
        return len(data)

    def writelines(self, lines: Sequence[bytes]) -> None:
        """Append *lines* one after the other, without anything between them."""
        self.write(b"".join(lines))

    def finish(self) -> None:
        """Send the rest and wait until all has arrived."""
        self._send()
        self._upload.result()
        self._thread.shutdown()

    def stop(self) -> bool:
        """Wait for the chunk that is on its way, and send no more; return whether everything had arrived by then."""
        self._chunks.break_off()
        self._thread.shutdown()
        return self._upload.done() and self._upload.exception() is None

    def _pend(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self.size += len(data)

    def _send(self) -> None:
        chunk = b"".join(self._pending)
        self._pending, self._pending_bytes = [], 0
        if not self._chunks.put(chunk):
            self._upload.result()


class _BrokenOffError(Exception):
    """Nothing more is coming."""


class _Chunks:
    """A stream of chunks, all but the last of :data:`CHUNK_BYTES`, from one thread to another.

    Handed over as they are: the client's own writer would copy each of them twice.
    """

    def __init__(self) -> None:
        self._waiting: Queue[bytes | None] = Queue(maxsize=1)
        self._taken = 0
        self._over = False

    def taken_by(self, upload: Callable[[_Chunks], object]) -> None:
        """Let *upload* read; whatever becomes of it, nobody waits for it afterwards."""
        try:
            upload(self)
        finally:
            self._over = True
            self._clear()

    def put(self, chunk: bytes) -> bool:
        """Wait until there is room for a chunk; say whether anybody is there to read it."""
        if not self._over:
            self._waiting.put(chunk)
        return not self._over

    def break_off(self) -> None:
        """Let the next read fail."""
        self._clear()
        self._waiting.put(None)

    def read(self, _size: int) -> bytes:
        """Return the next chunk, which is as long as whoever uploads wants it."""
        chunk = self._waiting.get()
        if chunk is None:
            raise _BrokenOffError
        self._taken += len(chunk)
        return chunk

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._taken

    def _clear(self) -> None:
        with suppress(Empty):
            self._waiting.get_nowait()


def info_of(blob: Any) -> ObjectInfo:
    """Return what a client's blob object says of itself."""
    return ObjectInfo(
        uri=f"gs://{blob.bucket.name}/{blob.name}",
        size=int(blob.size),
        generation=int(blob.generation),
        crc32c=str(blob.crc32c),
        updated=blob.updated.timestamp(),
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the client's errors into :class:`PreconditionLost` or :class:`ServiceError`."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    try:
        yield
    except GoogleAPICallError as error:
        raise _of_status(error.code, str(error.message), doing) from error
    except InvalidResponse as error:
        raise _of_status(error.response.status_code, str(error.response.reason), doing) from error
    except RetryError as error:
        cause = error.cause or error
        answer = getattr(cause, "response", None)  # a step of an upload has no code of its own
        status = getattr(cause, "code", None) or getattr(answer, "status_code", None)
        raise _of_status(status, type(cause).__name__, doing) from error
    except (DataCorruption, GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise _of_status(None, type(error).__name__, doing) from error


def _of_status(status: Any, text: str, doing: str) -> GeminiBatchError:
    text = _QUERY.sub("", text)
    said = (
        f"Cloud Storage failed while {doing}: {'no answer' if status is None else int(status)}: {text[:300]}"
    )
    if status == 412:
        return PreconditionLost(said)
    return ServiceError(said, http_status=None if status is None else int(status))
