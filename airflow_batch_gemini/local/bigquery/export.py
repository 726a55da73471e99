"""EXPORT DATA and extract jobs: rows into objects of Cloud Storage."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from airflow_batch_gemini.local.storage.store import Storage

from . import jsontext
from .datatypes import Field, literal, quoted
from .errors import invalid_query, unsupported
from .session import Session
from .values import moment, wire_sql

_FORMATS = frozenset({"JSON", "CSV", "PARQUET"})
_FETCH = 2_000
_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Export:
    """Where and how to write; the uri's one `*` becomes the number of the file."""

    uri: str
    format: str
    overwrite: bool = False
    compression: str = ""
    header: bool = True
    delimiter: str = ","

    @property
    def place(self) -> tuple[str, str]:
        """Bucket and object name."""
        bucket, _, name = self.uri.removeprefix("gs://").partition("/")
        return bucket, name

    def name(self, number: int) -> str:
        """The object name of one file."""
        return self.place[1].replace("*", f"{number:012d}")


def from_options(options: Mapping[str, object]) -> Export:
    """Read the OPTIONS of EXPORT DATA."""
    unknown = options.keys() - {"uri", "format", "overwrite", "compression", "header", "field_delimiter"}
    if unknown:
        raise unsupported(f"the option {sorted(unknown)[0]} of EXPORT DATA")
    uri, kind = str(options.get("uri") or ""), str(options.get("format") or "").upper()
    if uri.count("*") != 1:
        raise invalid_query("Option 'uri' value must be a wild card URI.")
    return checked(
        Export(
            uri,
            kind,
            overwrite=bool(options.get("overwrite")),
            compression=str(options.get("compression") or "").upper(),
            header=bool(options.get("header", True)),
            delimiter=str(options.get("field_delimiter") or ","),
        )
    )


def checked(export: Export) -> Export:
    """Refuse an export that this module cannot write."""
    if not export.uri.startswith("gs://") or not export.place[1]:
        raise invalid_query(f"Invalid Cloud Storage URI: {export.uri}")
    if export.format not in _FORMATS:
        raise unsupported(f"the export format {export.format or '(none)'}")
    allowed = {"PARQUET": {"", "SNAPPY", "GZIP", "ZSTD", "NONE"}}.get(export.format, {"", "NONE", "GZIP"})
    if export.compression not in allowed:
        raise unsupported(f"the compression {export.compression} of {export.format}")
    return export


def write(session: Session, storage: Storage, export: Export, sql: str, fields: Sequence[Field]) -> int:
    """Write the rows of a query whose columns have the fields' names; returns the number of files."""
    name = export.place[1]
    old = storage.match(export.uri) if "*" in name else []
    if old and not export.overwrite:
        raise invalid_query(
            f"Invalid value: there are already files at {export.uri}; set overwrite=true to replace them"
        )
    for stored in old:
        storage.delete(stored.bucket, stored.name)
    if export.format == "PARQUET":
        return _parquet(session, storage, export, sql, fields)
    columns = ", ".join(wire_sql(quoted(field.name), field.type) for field in fields)
    rows = _rows(session, f"SELECT {columns} FROM ({sql})")
    if export.format == "JSON":
        return _lines(storage, export, (_json_line(row, fields) for row in rows), b"")
    head = _csv_text([field.name for field in fields], export) if export.header else b""
    return _lines(storage, export, (_csv_line(row, fields, export) for row in rows), head)


def _rows(session: Session, sql: str) -> Iterator[Sequence[Any]]:
    answer = session.execute(sql)
    while batch := answer.fetchmany(_FETCH):
        yield from batch


def _lines(storage: Storage, export: Export, rows: Iterator[bytes], head: bytes) -> int:
    """Write lines, a new file whenever one is full; an export of nothing writes one empty file."""
    number, line = 0, next(rows, None)
    while number == 0 or line is not None:
        if number and "*" not in export.uri:
            raise invalid_query(f"The data is too large for one file: {export.uri} needs a wildcard")
        with storage.writer(export.place[0], export.name(number)) as file, _compressed(file, export) as out:
            out.write(head)
            size = 0
            while line is not None and size < _FILE_BYTES:
                out.write(line)
                size += len(line)
                line = next(rows, None)
        number += 1
    return number


def _compressed(file: BinaryIO, export: Export) -> Any:
    if export.compression == "GZIP":
        return gzip.GzipFile(fileobj=file, mode="wb", mtime=0)
    return _Plain(file)


class _Plain:
    """A file that is left open at the end of the block: the store closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> BinaryIO:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.flush()


def _json_line(row: Sequence[Any], fields: Sequence[Field]) -> bytes:
    pairs = zip(fields, row, strict=True)
    doc = {field.name: _json_value(value, field) for field, value in pairs if value is not None}
    return orjson.dumps(doc, option=orjson.OPT_APPEND_NEWLINE)


def _json_value(value: Any, field: Field) -> Any:
    kind = field.type.kind
    if kind == "ARRAY":
        return [_json_value(item, Field("", field.type.item)) for item in value or []]
    if value is None:
        return None
    if kind == "STRUCT":
        pairs = zip(field.type.fields, value.values(), strict=True)
        return {inner.name: _json_value(part, inner) for inner, part in pairs if part is not None}
    return _JSON[kind](value) if kind in _JSON else value


def _json_float(value: float) -> Any:
    return orjson.Fragment(jsontext.float_text(value).encode()) if math.isfinite(value) else _special(value)


def _special(value: float) -> str:
    return {"inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), "NaN")


def _timestamp(micros: int) -> str:
    text = moment(micros).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text} UTC"


_JSON: Mapping[str, Callable[[Any], Any]] = {
    "JSON": lambda value: orjson.Fragment(value.encode()),
    "TIMESTAMP": _timestamp,
    "FLOAT64": _json_float,
    "INT64": str,
    "NUMERIC": str,
}


def _csv_line(row: Sequence[Any], fields: Sequence[Field], export: Export) -> bytes:
    return _csv_text([_cell(value, field) for value, field in zip(row, fields, strict=True)], export)


def _cell(value: Any, field: Field) -> str:
    if field.type.kind in {"ARRAY", "STRUCT"}:
        raise invalid_query(f"Operation cannot be performed on a nested schema. Field: {field.name}")
    if value is None:
        return ""
    if field.type.kind == "TIMESTAMP":
        return _timestamp(value)
    if field.type.kind == "BOOL":
        return "true" if value else "false"
    return str(value)


def _csv_text(cells: Sequence[str], export: Export) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=export.delimiter, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _parquet(session: Session, storage: Storage, export: Export, sql: str, fields: Sequence[Field]) -> int:
    bucket, _ = export.place
    columns = ", ".join(
        f"CAST({quoted(f.name)} AS VARCHAR) AS {quoted(f.name)}" if f.type.kind == "JSON" else quoted(f.name)
        for f in fields
    )
    scratch = storage.scratch()
    codec = {"": "SNAPPY", "NONE": "UNCOMPRESSED"}.get(export.compression, export.compression)
    try:
        session.execute(
            f"COPY (SELECT {columns} FROM ({sql})) TO {literal(str(scratch))} (FORMAT PARQUET, COMPRESSION {codec})"
        )
        with storage.writer(bucket, export.name(0)) as out, scratch.open("rb") as made:
            while block := made.read(1 << 20):
                out.write(block)
    finally:
        scratch.unlink(missing_ok=True)
    return 1
