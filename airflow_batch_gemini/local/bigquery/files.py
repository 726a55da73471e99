"""The lines and records of source files: NEWLINE_DELIMITED_JSON and CSV, plain or gzipped."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

MAX_LINE = 100 << 20
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read: where it lies and what its user calls it."""

    path: Path
    uri: str

    def open(self) -> BinaryIO:
        """Open it; gzip is recognised by its first bytes, as BigQuery does."""
        with self.path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
        return cast("BinaryIO", gzip.open(self.path)) if zipped else self.path.open("rb")


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a file something stands."""

    uri: str
    line: int
    offset: int


class BadFileError(ValueError):
    """A file that cannot be read any further."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.position = position


def lines(file: SourceFile) -> Iterator[tuple[bytes, Position]]:
    """Yield the lines that are not empty; only a line feed ends one."""
    offset = 0
    with file.open() as opened:
        for number, line in enumerate(opened, 1):
            if len(line) > MAX_LINE:
                raise BadFileError(
                    "Row is larger than the maximum of 100 MB.", Position(file.uri, number, offset)
                )
            if line.strip():
                yield line, Position(file.uri, number, offset)
            offset += len(line)


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How a CSV file is written."""

    delimiter: str = ","
    quote: str = '"'
    skip: int = 0
    quoted_newlines: bool = False
    encoding: str = "utf-8"


def records(file: SourceFile, shape: CsvFormat) -> Iterator[tuple[list[tuple[str, bool]], Position]]:
    """Yield the records of a CSV file, cells with whether they were quoted; the skipped head is left out."""
    cell = _cell_pattern(shape)
    pending, begin, count = "", Position(file.uri, 1, 0), 0
    offset = 0
    with file.open() as opened:
        for number, raw in enumerate(opened, 1):
            if not pending:
                begin = Position(file.uri, number, offset)
            offset += len(raw)
            try:
                pending += raw.decode(shape.encoding)
            except UnicodeDecodeError as error:
                raise BadFileError(f"Bad character (not {shape.encoding})", begin) from error
            if shape.quote and pending.count(shape.quote) % 2 and shape.quoted_newlines:
                continue
            count += 1
            if count > shape.skip and pending.strip("\r\n"):
                yield _cells(pending, cell, shape, begin), begin
            pending = ""
    if pending:
        raise BadFileError('Missing close quote character (").', begin)


def _cell_pattern(shape: CsvFormat) -> re.Pattern[str]:
    mark, quote = re.escape(shape.delimiter), re.escape(shape.quote)
    plain = rf"([^{mark}\r\n]*)"
    if not shape.quote:
        return re.compile(rf"()(?:{plain})({mark}|\r?\n?\Z)")
    return re.compile(
        rf"(?:{quote}((?:[^{quote}]|{quote}{quote})*){quote}|{plain})({mark}|\r?\n?\Z)", re.DOTALL
    )


def _cells(text: str, cell: re.Pattern[str], shape: CsvFormat, position: Position) -> list[tuple[str, bool]]:
    cells: list[tuple[str, bool]] = []
    place = 0
    while True:
        found = cell.match(text, place)
        if found is None or (found[2] or "").startswith(shape.quote or "\0"):
            raise BadFileError('Data between close quote character (") and field separator.', position)
        quoted = bool(shape.quote) and found[1] is not None
        value = found[1].replace(shape.quote * 2, shape.quote) if quoted else found[2] or ""
        cells.append((value, quoted))
        place = found.end()
        if found[3] != shape.delimiter:
            return cells


def header(cells: Sequence[tuple[str, bool]]) -> list[str]:
    """Make column names out of the first record of a CSV file."""
    names = []
    for place, (text, _) in enumerate(cells):
        name = re.sub(r"[^\w]", "_", text.strip()) or f"string_field_{place}"
        names.append(name if not name[0].isdigit() else f"_{name}")
    return names
