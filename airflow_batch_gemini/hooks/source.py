"""Files of rows on any object store that Airflow's ``ObjectStoragePath`` reaches, and rows out of any stream.

``gs://`` does not come here: :class:`~airflow_batch_gemini.hooks.workspace.WorkspaceHook` reads it, with our own
connection and the checks of where a credential goes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from airflow_batch_gemini.batch.globs import has_wildcard
from airflow_batch_gemini.batch.rows import BYTES_PER_BATCH, ROWS_PER_BATCH, RowBatch
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError, ServiceError, SourceError

PARQUET_BUFFER_BYTES = 1 << 20
"""Read at once of each column, so that a row group of any size costs the same memory."""
_MARK_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to be read."""

    uri: str
    size: int
    """Bytes; 0 where the store does not say."""


class ObjectStorage:
    """Files by URI, like ``s3://connection@bucket/rows/*.jsonl`` or ``file:///data/rows.csv``."""

    def glob(self, uri: str) -> list[SourceFile]:
        """Return the files that *uri* means, by name; none is no error."""
        with _told(uri):
            path = _path(uri)
            found = _globbed(path.fs, path.path)
            return [
                SourceFile(uri=path.fs.unstrip_protocol(name), size=int(info.get("size") or 0))
                for name, info in sorted(found.items())
                if info.get("type") == "file"
            ]

    @contextmanager
    def open(self, pattern: str, uri: str) -> Iterator[BinaryIO]:
        """Open a file that :meth:`glob` found for *pattern*, whose connection is used."""
        with _told(uri):
            stream = _path(pattern).fs.open(uri, "rb")
        with stream, _told(uri):
            yield stream


def _globbed(files: Any, path: str) -> dict[str, Any]:
    if has_wildcard(path):
        return cast("dict[str, Any]", files.glob(path, detail=True))
    try:
        return {path: files.info(path)}
    except FileNotFoundError:
        return {}


class Metered(io.RawIOBase):
    """A stream that tells how many bytes are read from it, and was read a little to see what it begins with."""

    def __init__(self, stream: BinaryIO, told: Callable[[int], None]) -> None:
        self._stream, self._told = stream, told
        self.mark = self._head = stream.read(_MARK_BYTES)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read at most *size* bytes."""
        head, self._head = self._head, b""
        if 0 <= size < len(head):
            head, self._head = head[:size], head[size:]
            data = head
        else:
            data = head + self._stream.read(size - len(head) if size >= 0 else -1)
        self._told(len(data))
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read into *buffer*."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened_up(stream: BinaryIO, *, source: str, told: Callable[[int], None]) -> Iterator[BinaryIO]:
    """Open what a gzip, bzip2, xz or Zstandard stream holds; any other one is read as it is.

    What it is shows in its first bytes: a name may lie, and Cloud Storage keeps compressed files under any name.

    :param told: called with the number of bytes that were read of *stream*.
    :raises SourceError: in the block, when it is broken off or damaged.
    """
    metered = Metered(stream, told)
    kind = next((kind for mark, kind in _MARKS if metered.mark.startswith(mark)), None)
    if kind is None:
        yield cast("BinaryIO", metered)
        return
    try:
        with _decompressed(metered, kind) as data:
            yield data
    except Exception as error:
        if type(error).__name__ not in _DAMAGE:
            raise
        raise SourceError(
            f"{source} cannot be read as {kind} ({type(error).__name__}): it is damaged or not whole. Nothing was sent."
        ) from None


_MARKS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
)


_DAMAGE = frozenset({"BadGzipFile", "EOFError", "LZMAError", "OSError", "error"})
"""What decoders raise; network errors are kinds of OSError, and a retry helps with those."""


def _decompressed(stream: Metered, kind: str) -> BinaryIO:
    """Imported one by one: an interpreter may have been built without some of them."""
    if kind == "gzip":
        import gzip

        return cast("BinaryIO", gzip.GzipFile(fileobj=cast("BinaryIO", stream)))
    if kind == "bzip2":
        import bz2

        return cast("BinaryIO", bz2.BZ2File(cast("BinaryIO", stream)))
    if kind == "xz":
        import lzma

        return cast("BinaryIO", lzma.LZMAFile(cast("BinaryIO", stream)))
    import pyarrow as pa

    return cast("BinaryIO", pa.CompressedInputStream(stream, "zstd"))


def parquet_batches(
    stream: BinaryIO,
    *,
    source: str,
    wanted: Sequence[str] | None = None,
    told: Callable[[float], None] | None = None,
) -> Iterator[RowBatch]:
    """Yield the rows of a Parquet file with the columns *wanted*, as far as it has them; memory stays flat.

    ``columns`` of each batch names all that the file has.

    :param told: called with the share of the file that each batch is.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(
            stream,
            buffer_size=PARQUET_BUFFER_BYTES,
            pre_buffer=False,
            # Spark's INT96 holds every year, and nanoseconds, the default, only those until 2262: others would wrap.
            coerce_int96_timestamp_unit="us",
        )
        columns = tuple(file.schema_arrow.names)
        wanted = [name for name in columns if wanted is None or name in wanted]
        if len(set(wanted)) < len(wanted):
            raise SourceError(
                f"{source} has a column name twice that is needed. Nothing was sent; correct the file."
            )
        number = 1
        for batch in file.iter_batches(batch_size=_batch_rows(file), columns=wanted):
            rows = _in_microseconds(batch).to_pylist()
            yield RowBatch(source=source, unit="row", first=number, rows=rows, columns=columns)
            number += len(rows)
            if told is not None:
                told(len(rows) / file.metadata.num_rows)
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        if isinstance(error, GeminiBatchError) or (isinstance(error, OSError) and type(error) is not OSError):
            raise  # of the store and not of the file
        raise SourceError(
            f"{source} cannot be read as Parquet ({type(error).__name__}). Nothing was sent."
        ) from None


def _in_microseconds(batch: Any) -> Any:
    """Cut times to what BigQuery and Python hold: without pandas, nanoseconds become no Python value."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("us", tz=field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in batch.schema
    ]
    wanted = pa.schema(fields)
    return batch if wanted == batch.schema else batch.cast(wanted, safe=False)


def _batch_rows(file: Any) -> int:
    rows = max(int(file.metadata.num_rows), 1)
    size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    return max(1, min(ROWS_PER_BATCH, BYTES_PER_BATCH * rows // max(int(size), 1)))


def _path(uri: str) -> Any:
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(uri)


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turn what file systems raise into our errors."""
    try:
        yield
    except GeminiBatchError:
        raise
    except ImportError as error:
        raise ConfigurationError(
            f"Reading {uri} needs a package that is not installed ({error.name}). Nothing was sent."
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise ServiceError(
            f"{uri} could not be reached ({type(error).__name__}). Nothing was sent; a retry reads it again."
        ) from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{uri} cannot be read ({type(error).__name__}). Nothing was sent.") from error
