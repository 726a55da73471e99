"""Load jobs: files into a table, with BigQuery's strictness about what a line may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import duckdb
import orjson

from . import arrow, autodetect, coercion, files
from .datatypes import Field, fields_from_rest, quoted
from .errors import BigQueryError, invalid, unsupported
from .files import CsvFormat, Position, SourceFile
from .parquet import load_parquet
from .records import Table
from .session import Session, translated
from .writing import Destination, open_table, require_plain, stored_value

Row = tuple[Sequence[Any], int]
_REFUSED = (
    "destinationEncryptionConfiguration", "rangePartitioning", "decimalTargetTypes", "projectionFields",
    "hivePartitioningOptions", "connectionProperties", "createSession", "referenceFileSchemaUri", "jsonExtension",
    "columnNameCharacterMap", "dateFormat", "datetimeFormat", "timeFormat", "timestampFormat", "timeZone",
    "sourceColumnMatch",    "fileSetSpecType", "nullMarkers", "preserveAsciiControlCharacters",
)  # fmt: skip


class LoadError(BigQueryError):
    """A load that failed on its data; `errors` holds one entry for each bad line that was met."""

    def __init__(self, message: str, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__("invalid", message)
        self.errors = list(errors)


@dataclass(slots=True)
class _Report:
    """The bad lines so far, and how many are allowed."""

    allowed: int
    bad: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def add(self, message: str, position: Position) -> None:
        self.bad += 1
        text = (
            f"Error while reading data, error message: {message} Line: {position.line}; row starts at position: "
            f"{position.offset}. File: {position.uri}"
        )
        if len(self.errors) < 100:
            self.errors.append({"reason": "invalid", "location": position.uri, "message": text})
        if self.bad > self.allowed:
            raise LoadError(text, self.errors)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load job did."""

    table: Table
    rows: int
    files: int
    bytes: int
    bad: int
    errors: Sequence[Mapping[str, str]]


def load(
    session: Session, config: Mapping[str, Any], target: Destination, sources: Sequence[SourceFile]
) -> Loaded:
    """Load files into a table, all of them or nothing."""
    require_plain(config, *_REFUSED)
    kind = str(config.get("sourceFormat") or "CSV").upper()
    if kind not in {"CSV", "NEWLINE_DELIMITED_JSON", "PARQUET"}:
        raise unsupported(f"the source format {kind}")
    given = fields_from_rest((config.get("schema") or {}).get("fields") or [])
    size = sum(source.path.stat().st_size for source in sources)
    if kind == "PARQUET":
        table, rows = load_parquet(session, given, target, sources)
        return Loaded(table, rows, len(sources), size, 0, ())
    report = _Report(int(config.get("maxBadRecords") or 0))
    skip_head = 0
    fields: Sequence[Field] = given
    if not fields:
        fields, skip_head = _schema(session, config, target, sources, kind)
    rows_in = (
        _csv(config, fields, sources, report, skip_head)
        if kind == "CSV"
        else _json(config, fields, sources, report)
    )
    table, rows = insert_rows(session, target, fields, rows_in)
    return Loaded(table, rows, len(sources), size, report.bad, report.errors)


def insert_rows(
    session: Session, target: Destination, fields: Sequence[Field], rows: Iterator[Row]
) -> tuple[Table, int]:
    """Write rows into a table in one transaction; an error among them leaves everything as it was."""
    failure: list[BaseException] = []
    with session.transaction():
        table = open_table(session, target, fields)
        known = {column.name.lower(): column for column in table.fields}
        columns = [known[column.name.lower()] for column in fields]
        names = ", ".join(quoted(column.name) for column in columns)
        values = ", ".join(
            stored_value(_cast(f"c{i}", source, column), column)
            for i, (source, column) in enumerate(zip(fields, columns, strict=True))
        )
        session.cursor.register("_incoming", arrow.reader(fields, _guarded(rows, failure)))
        try:
            answer = session.cursor.execute(
                f"INSERT INTO {table.storage} ({names}) SELECT {values} FROM _incoming"
            )
            count = int(answer.fetchone()[0])
        except duckdb.Error as error:
            raise (failure[0] if failure else translated(error)) from error
        finally:
            with suppress(
                duckdb.Error
            ):  # In a transaction that has failed nothing can be taken back any more.
                session.cursor.unregister("_incoming")
        table = session.catalog.touch(table)
    return table, count


def _cast(sql: str, source: Field, target: Field) -> str:
    if source.type.kind == "STRING" and target.type.kind == "JSON":
        return f"CAST(bq_parse_json_rounded({sql}) AS JSON)"
    return sql


def _guarded(rows: Iterator[Row], failure: list[BaseException]) -> Iterator[Row]:
    """Remember the error of the rows: on its way through the engine it would lose its type."""
    try:
        yield from rows
    except (BigQueryError, OSError, EOFError) as error:
        failure.append(error)
        raise


def _schema(
    session: Session, config: Mapping[str, Any], target: Destination, sources: Sequence[SourceFile], kind: str
) -> tuple[Sequence[Field], int]:
    """Find the schema of a load without one: that of the table, or a guess when it may guess."""
    table = session.catalog.find(target.project, target.dataset, target.table)
    if not config.get("autodetect"):
        if table is None:
            raise invalid("No schema specified on job or table.")
        return table.fields, 0
    if kind == "CSV":
        shape = _csv_format(config)
        sample = [
            cells
            for source in sources
            for cells, _ in islice(files.records(source, shape), autodetect.SAMPLE)
        ]
        return autodetect.of_cells(sample[: autodetect.SAMPLE], skipped=shape.skip)
    lines = (line for source in sources for line, _ in files.lines(source))
    try:
        fields = autodetect.of_objects(orjson.loads(line) for line in islice(lines, autodetect.SAMPLE))
    except orjson.JSONDecodeError as error:
        raise invalid(f"Error while reading data, error message: JSON parsing error: {error}") from error
    if not fields:
        raise invalid("Error while reading data, error message: no schema can be detected in an empty file")
    known = (
        {column.name.lower(): column for column in table.fields}
        if table and target.write == "WRITE_APPEND"
        else {}
    )
    return [known.get(column.name.lower(), column) for column in fields], 0


def _json(
    config: Mapping[str, Any], fields: Sequence[Field], sources: Sequence[SourceFile], report: _Report
) -> Iterator[Row]:
    reader = coercion.RecordReader(fields, ignore_unknown=bool(config.get("ignoreUnknownValues")))
    for source in sources:
        try:
            for line, position in files.lines(source):
                try:
                    yield reader.read(orjson.loads(line)), len(line)
                except orjson.JSONDecodeError as error:
                    report.add(f"JSON parsing error: {error}.", position)
                except coercion.BadValueError as error:
                    report.add(f"JSON parsing error: {error}", position)
        except files.BadFileError as error:
            raise LoadError(
                f"Error while reading data, error message: {error} File: {source.uri}", report.errors
            ) from error


def _csv_format(config: Mapping[str, Any]) -> CsvFormat:
    delimiter = str(config.get("fieldDelimiter") or ",")
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    encoding = str(config.get("encoding") or "UTF-8").upper()
    if len(delimiter) != 1 or encoding not in {"UTF-8", "ISO-8859-1"}:
        raise unsupported(f"the delimiter {delimiter!r} or the encoding {encoding}")
    return CsvFormat(
        delimiter=delimiter,
        quote='"' if config.get("quote") is None else str(config["quote"]),
        skip=int(config.get("skipLeadingRows") or 0),
        quoted_newlines=bool(config.get("allowQuotedNewlines")),
        encoding=encoding,
    )


def _csv(
    config: Mapping[str, Any],
    fields: Sequence[Field],
    sources: Sequence[SourceFile],
    report: _Report,
    head: int,
) -> Iterator[Row]:
    shape = _csv_format(config)
    row_reader = _CsvReader(config, fields)
    for source in sources:
        try:
            for cells, position in islice(files.records(source, shape), head, None):
                try:
                    yield row_reader.read(cells), sum(len(text) for text, _ in cells)
                except coercion.BadValueError as error:
                    report.add(str(error), position)
        except files.BadFileError as error:
            report.add(str(error), error.position)


class _CsvReader:
    """Reads CSV records as rows of a schema."""

    def __init__(self, config: Mapping[str, Any], fields: Sequence[Field]) -> None:
        self._null = str(config.get("nullMarker") or "")
        self._jagged = bool(config.get("allowJaggedRows"))
        self._ignore = bool(config.get("ignoreUnknownValues"))
        self._fields = fields
        self._readers = [coercion.cell_reader(column.type) for column in fields]

    def read(self, cells: Sequence[tuple[str, bool]]) -> list[Any]:
        if len(cells) > len(self._fields) and not self._ignore:
            raise coercion.BadValueError(
                f"Too many values in line. Found {len(cells)} column(s) while expected {len(self._fields)}."
            )
        if len(cells) < len(self._fields) and not self._jagged:
            raise coercion.BadValueError(
                "CSV table references a column beyond the end of a line: it has too few values."
            )
        row: list[Any] = []
        for place, column in enumerate(self._fields):
            text, quoted_cell = cells[place] if place < len(cells) else (self._null, False)
            try:
                row.append(self._cell(text, place, quoted_cell=quoted_cell))
            except ValueError as error:
                raise coercion.BadValueError(
                    f"Could not parse '{text[:100]}' as {column.type} for field {column.name} (position {place}); "
                    f"{error}."
                ) from None
        return row

    def _cell(self, text: str, place: int, *, quoted_cell: bool) -> Any:
        column = self._fields[place]
        if (text == self._null and not quoted_cell) or (
            not text and column.type.kind != "STRING" and not self._null
        ):
            if column.required:
                raise coercion.BadValueError("it is required")
            return None
        return self._readers[place](text)
