"""A stream of which the next piece is fetched while the last one is used."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.row_files import Reads


class ReadAhead(io.RawIOBase):
    """Reads another stream to its end in a thread, one piece before it is asked for.

    Memory is that of two pieces. What the other stream raises is raised by the read that would have had the piece.
    Closing waits for the piece that is on its way and leaves no thread: only then may the other stream be closed.

    :param piece_bytes: read at a time; may come in less.
    :param first_bytes: of which the first piece is, so that work begins soon; each later one is twice the one before.
    """

    def __init__(self, stream: Reads, *, piece_bytes: int, first_bytes: int | None = None) -> None:
        self._stream = stream
        self._piece_bytes = piece_bytes
        self._next_bytes = piece_bytes if first_bytes is None else min(first_bytes, piece_bytes)
        self._piece, self._at = b"", 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._coming = self._thread.submit(stream.read, self._next_bytes)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read at most *size* bytes; less does not mean that it is the end."""
        if self.closed:
            raise ValueError("read of a closed stream")
        if size < 0:
            return self.readall()
        if size and self._at == len(self._piece):
            self._piece, self._at = self._coming.result(), 0
            if self._piece:
                self._next_bytes = min(2 * self._next_bytes, self._piece_bytes)
                self._coming = self._thread.submit(self._stream.read, self._next_bytes)
        data = self._piece[self._at : self._at + size]
        self._at += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # any buffer, says typeshed
        """Read into *buffer*."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Wait for what is on its way, and read no more."""
        self._thread.shutdown(cancel_futures=True)
        super().close()
