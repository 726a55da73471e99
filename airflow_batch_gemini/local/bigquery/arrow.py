"""Rows in Python as a stream of Arrow batches, the one way of many rows into DuckDB that costs little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .datatypes import Field, Type, struct_field_names

_BATCH_ROWS = 5_000
_BATCH_BYTES = 32 << 20


def _type(type_: Type) -> Any:
    import pyarrow as pa

    if type_.kind == "ARRAY":
        return pa.list_(_type(type_.item))
    if type_.kind == "STRUCT":
        names = struct_field_names(type_)
        return pa.struct([pa.field(n, _type(f.type)) for n, f in zip(names, type_.fields, strict=True)])
    return {
        "STRING": pa.string(), "JSON": pa.string(), "BYTES": pa.binary(), "INT64": pa.int64(), "FLOAT64": pa.float64(),
        "NUMERIC": pa.decimal128(38, 9), "BOOL": pa.bool_(), "DATE": pa.date32(), "TIME": pa.time64("us"),
        "DATETIME": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    }[type_.kind]  # fmt: skip


def reader(fields: Sequence[Field], rows: Iterable[tuple[Sequence[Any], int]]) -> Any:
    """Return a RecordBatchReader over rows; each row comes with its size in bytes, so that batches stay small."""
    import pyarrow as pa

    schema = pa.schema([pa.field(f"c{place}", _type(field.type)) for place, field in enumerate(fields)])
    return pa.RecordBatchReader.from_batches(schema, _batches(schema, rows))


def _batches(schema: Any, rows: Iterable[tuple[Sequence[Any], int]]) -> Iterator[Any]:
    import pyarrow as pa

    for batch in _grouped(rows):
        columns = zip(*batch, strict=True)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _grouped(rows: Iterable[tuple[Sequence[Any], int]]) -> Iterator[list[Sequence[Any]]]:
    batch: list[Sequence[Any]] = []
    size = 0
    for row, bytes_ in rows:
        batch.append(row)
        size += bytes_
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
