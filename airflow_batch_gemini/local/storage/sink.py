"""Bytes on their way to becoming an object: a scratch file with its checksums kept up to date."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import google_crc32c

from .model import Staged

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BLOCK = 1 << 20


def blocks(file: BinaryIO, *, size: int = BLOCK) -> Iterator[bytes]:
    """Yield the rest of `file` in blocks."""
    while block := file.read(size):
        yield block


class Checksums:
    """CRC32C and, unless told otherwise, MD5 of what was fed so far, in Google's base64."""

    def __init__(self, *, with_md5: bool = True) -> None:
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._crc = google_crc32c.extend(self._crc, data)
        if self._md5 is not None:
            self._md5.update(data)

    @property
    def crc32c(self) -> str:
        """The checksum every object has."""
        return base64.b64encode(struct.pack(">L", self._crc)).decode()

    @property
    def md5(self) -> str | None:
        """The checksum that composed objects lack."""
        return base64.b64encode(self._md5.digest()).decode() if self._md5 is not None else None


class Sink:
    """Append bytes to a scratch file; `finish` hands them over for the commit, `discard` forgets them.

    The file is written at the offset of what has been accepted, so a write that failed half way leaves nothing
    behind that counts. `pause` closes the file until the next write: a resumable upload may take days.
    """

    def __init__(self, path: Path, *, with_md5: bool = True) -> None:
        self.path = path
        self.size = 0
        self._sums = Checksums(with_md5=with_md5)
        self._descriptor: int | None = None

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Take up a scratch file that an earlier process left, reading it once for the checksums."""
        sink = cls(path)
        with path.open("rb") as file:
            for block in blocks(file):
                sink._sums.feed(block)
                sink.size += len(block)
        return sink

    def write(self, data: bytes) -> None:
        """Append `data`, whole or (on an exception) not at all."""
        descriptor = self._open()
        view, offset = memoryview(data), self.size
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
        self._sums.feed(data)
        self.size = offset

    def write_all(self, chunks: Iterable[bytes]) -> None:
        """Append every chunk; one call, so that a network loop changes threads once for many of them."""
        for chunk in chunks:
            self.write(chunk)

    def pause(self) -> None:
        """Close the file and keep what was accepted."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def finish(self, *, components: int | None = None) -> Staged:
        """Close the file, cut to what was accepted."""
        os.ftruncate(self._open(), self.size)
        self.pause()
        return Staged(
            path=self.path,
            size=self.size,
            crc32c=self._sums.crc32c,
            md5=self._sums.md5,
            components=components,
        )

    def discard(self) -> None:
        """Remove the file, if it was not committed."""
        self.pause()
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self._descriptor


class SinkFile(io.RawIOBase):
    """A sink in the shape of a file, to be wrapped in `io.BufferedWriter`. Closing it commits nothing."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        """Yes; that is all it can do."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Append a buffer."""
        content = bytes(data)
        self._sink.write(content)
        return len(content)

    def tell(self) -> int:
        """The number of bytes accepted."""
        return self._sink.size
