"""Files of rows on any object store that Airflow's ``ObjectStoragePath`` reaches, and Parquet out of any stream.

``gs://`` does not come here: :class:`~airflow_batch_gemini.hooks.workspace.WorkspaceHook` reads it, with our own
connection and the checks of where a credential goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from airflow_batch_gemini.batch.globs import has_wildcard
from airflow_batch_gemini.batch.rows import BYTES_PER_BATCH, ROWS_PER_BATCH, RowBatch
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError, SourceError

PARQUET_BUFFER_BYTES = 1 << 20
"""Read at once of each column, so that a row group of any size costs the same memory."""


class ObjectStorage:
    """Files by URI, like ``s3://connection@bucket/rows/*.jsonl`` or ``file:///data/rows.csv``."""

    def glob(self, uri: str) -> list[str]:
        """Return the URIs of the files that *uri* means, by name; none is no error."""
        with _told(uri):
            path = _path(uri)
            found = sorted(path.fs.glob(path.path)) if has_wildcard(path.path) else [path.path]
            return [path.fs.unstrip_protocol(name) for name in found if path.fs.isfile(name)]

    @contextmanager
    def open(self, pattern: str, uri: str) -> Iterator[BinaryIO]:
        """Open a file that :meth:`glob` found for *pattern*, whose connection is used."""
        with _told(uri):
            stream = _path(pattern).fs.open(uri, "rb")
        with stream, _told(uri):
            yield stream


def parquet_batches(
    stream: BinaryIO, *, source: str, wanted: Sequence[str] | None = None
) -> Iterator[RowBatch]:
    """Yield the rows of a Parquet file with the columns *wanted*, as far as it has them; memory stays flat.

    ``columns`` of each batch names all that the file has.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(stream, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)
        columns = tuple(file.schema_arrow.names)
        wanted = [name for name in columns if wanted is None or name in wanted]
        number = 1
        for batch in file.iter_batches(batch_size=_batch_rows(file), columns=wanted):
            rows = batch.to_pylist()
            yield RowBatch(source=source, unit="row", first=number, rows=rows, columns=columns)
            number += len(rows)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{source} cannot be read as Parquet ({type(error).__name__}). Nothing was sent."
        ) from None


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
    except (OSError, ValueError) as error:
        raise SourceError(f"{uri} cannot be read ({type(error).__name__}). Nothing was sent.") from error
