"""What the Cloud Storage client says, in this package's words."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.exceptions import GeminiBatchError, ServiceError

REQUEST_SECONDS = 60.0
CHUNK_BYTES = 8 << 20
"""What is uploaded at a time; a multiple of 256 KiB, as Cloud Storage wants it."""
_CHUNKS_UNDER_WAY = 2


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

    Chunks go their way in a thread, at most two at a time, while the next one is gathered.
    """

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        import google_crc32c

        self._write = write
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._checksum = google_crc32c.Checksum()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")
        self._sending = deque[Future[None]]()
        self.size = 0
        self.info: ObjectInfo | None = None
        """What was written, once it is."""

    @property
    def crc32c(self) -> str:
        """The checksum of what was uploaded, in base64."""
        return base64.b64encode(self._checksum.digest()).decode()

    def write(self, data: bytes) -> int:
        """Append *data*."""
        start, rest = 0, CHUNK_BYTES - self._pending_bytes
        while len(data) - start >= rest:
            self._pend(data[start : start + rest])
            self.flush()
            start, rest = start + rest, CHUNK_BYTES
        self._pend(data[start:])
        return len(data)

    def writelines(self, lines: Sequence[bytes]) -> None:
        """Append *lines* one after the other, without anything between them."""
        self.write(b"".join(lines))

    def _pend(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self.size += len(data)

    def flush(self) -> None:
        """Send what is pending; wait while two chunks are on their way, and raise what went wrong with the older."""
        self._arrive(but=_CHUNKS_UNDER_WAY - 1)
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        self._sending.append(self._thread.submit(self._send, pending))

    def finish(self) -> None:
        """Send the rest and wait until it has arrived."""
        self.flush()
        self._arrive()
        self._thread.shutdown()

    def stop(self) -> None:
        """Wait for the chunk that is on its way, whatever becomes of it, and send no more."""
        self._thread.shutdown(cancel_futures=True)

    def _arrive(self, *, but: int = 0) -> None:
        while len(self._sending) > but:
            self._sending.popleft().result()

    def _send(self, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)  # of exactly a chunk the client's own buffer has nothing left to move
        self._checksum.update(data)
        self._write(data)


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
        raise _of_status(getattr(cause, "code", None), type(cause).__name__, doing) from error
    except (DataCorruption, GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise _of_status(None, type(error).__name__, doing) from error


def _of_status(status: Any, text: str, doing: str) -> GeminiBatchError:
    said = (
        f"Cloud Storage failed while {doing}: {'no answer' if status is None else int(status)}: {text[:300]}"
    )
    if status == 412:
        return PreconditionLost(said)
    return ServiceError(said, http_status=None if status is None else int(status))
