"""Rows out of JSONL and CSV files, which are never held whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Protocol

import orjson

from airflow_batch_gemini.batch import rows as limits
from airflow_batch_gemini.batch.rows import Row, RowBatch
from airflow_batch_gemini.exceptions import SourceError

BOM = b"\xef\xbb\xbf"


class Reads(Protocol):
    """As much of a stream as JSONL takes."""

    def read(self, size: int, /) -> bytes:
        """Return at most *size* bytes; none at the end only."""


def jsonl_batches(stream: Reads, *, source: str, keep_lines: bool = False) -> Iterator[RowBatch]:
    r"""Yield the rows of a JSONL file: one JSON object a line, lines ended by ``\n`` and nothing else.

    A field that a line leaves out is NULL. Empty lines are allowed at the very end only.

    :param keep_lines: whether ``lines`` of each batch are wanted.
    :raises SourceError: naming the line, for anything but a JSON object in valid UTF-8.
    """
    number, blank = 0, 0
    for block in blocks(stream, source):
        for start in range(0, len(block), limits.ROWS_PER_BATCH):
            lines, first = block[start : start + limits.ROWS_PER_BATCH], number + 1
            number += len(lines)
            rows: Sequence[Row] | None = None if blank or keep_lines else _parsed_at_once(lines)
            if rows is None:
                if blank or not all(map(bytes.strip, lines)):
                    lines, blank = _up_to_blank(lines, source, first, blank)
                rows = _LazyRows(lines, source, first)
                rows = rows if keep_lines else list(rows)
            if lines:
                raw = lines if keep_lines else None
                yield RowBatch(source=source, unit="line", first=first, rows=rows, lines=raw)


class _LazyRows(Sequence[Row]):
    """Lines that are parsed one at a time: a thousand nested documents at once keep the garbage collector busy."""

    def __init__(self, lines: Sequence[bytes], source: str, first: int) -> None:
        self._lines, self._source, self._first = lines, source, first

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: Any) -> Any:
        return _parsed(self._lines[index], self._source, self._first + index)


def _up_to_blank(lines: list[bytes], source: str, first: int, blank: int) -> tuple[list[bytes], int]:
    """Return the lines before the first empty one, and its number; none but empty ones may follow.

    :param blank: the number of an empty line before these, or 0.
    """
    end = 0 if blank else next(index for index, line in enumerate(lines) if not line.strip())
    blank = blank or first + end
    if any(map(bytes.strip, lines[end:])):
        raise _bad_line(source, blank, "is empty")
    return lines[:end], blank


def _parsed_at_once(lines: Sequence[bytes]) -> list[Row] | None:
    """Parse lines in one go; ``None`` where not every one is an object."""
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    return rows if set(map(type, rows)) == {dict} else None


def blocks(stream: Reads, source: str, *, keep_mark: bool = False) -> Iterator[list[bytes]]:
    r"""Yield the lines, which ``\n`` ends, some megabytes of them at a time.

    :param keep_mark: whether a byte order mark at the beginning stays.
    :raises SourceError: a line is longer than any can be.
    """
    tail = stream.read(limits.BYTES_PER_READ)
    if not keep_mark:
        tail = tail.removeprefix(BOM)
    while tail:
        lines = tail.split(b"\n")
        tail = lines.pop()
        yield lines
        if len(tail) > limits.MAX_LINE_BYTES:
            raise SourceError(
                f"{source} has a line of more than {limits.MAX_LINE_BYTES // 1_000_000} MB: it is no JSONL. Nothing "
                "was sent."
            )
        pieces = [tail]
        # A long line is gathered piece by piece and joined once.
        while chunk := stream.read(limits.BYTES_PER_READ):
            pieces.append(chunk)
            if b"\n" in chunk or sum(map(len, pieces)) > limits.MAX_LINE_BYTES:
                break
        tail = b"".join(pieces)
        if not chunk:
            if tail:
                yield [tail]
            return


def _parsed(line: bytes, source: str, number: int) -> Row:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _bad_line(source, number, f"is not JSON (at character {error.pos + 1})") from None
    if isinstance(row, dict):
        return row
    raise _bad_line(source, number, f"is a JSON {type(row).__name__}, not an object")


def _bad_line(source: str, number: int, fact: str) -> SourceError:
    return SourceError(f"{source} line {number} {fact}. Nothing was sent; correct the file.")


def csv_batches(stream: BinaryIO, *, source: str) -> Iterator[RowBatch]:
    """Yield the rows of a CSV file with a header line; quoted fields may hold line ends. Every value is text.

    :raises SourceError: naming the row, counted from 1 after the header, for what is not such a file.
    """
    csv.field_size_limit(max(csv.field_size_limit(), limits.MAX_LINE_BYTES))
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    count, rows, size = 0, list[Row](), 0
    try:
        if (header := next(reader, None)) is None:
            return
        columns = _checked_header(header, source)
        for record in reader:
            if not record:
                continue  # an empty line
            count += 1
            rows.append(_named(record, columns, source, count))
            size += sum(map(len, record))
            if len(rows) == limits.ROWS_PER_BATCH or size >= limits.BYTES_PER_BATCH:
                yield _csv_batch(source, count, rows, columns)
                rows, size = [], 0
    except (UnicodeDecodeError, csv.Error) as error:
        what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not well-formed CSV"
        raise SourceError(
            f"{source} is {what} near row {count + 1}. Nothing was sent; correct the file."
        ) from None
    finally:
        text.detach()
    if rows:
        yield _csv_batch(source, count, rows, columns)


def _csv_batch(source: str, count: int, rows: list[Row], columns: tuple[str, ...]) -> RowBatch:
    return RowBatch(source=source, unit="row", first=count - len(rows) + 1, rows=rows, columns=columns)


def _named(record: Sequence[str], columns: Sequence[str], source: str, number: int) -> Row:
    if len(record) == len(columns):
        return dict(zip(columns, record, strict=True))
    raise SourceError(
        f"{source} row {number} has {len(record)} fields, its header {len(columns)}. Nothing was sent; "
        "correct the file."
    )


def _checked_header(header: Sequence[str], source: str) -> tuple[str, ...]:
    if len(set(header)) < len(header):
        raise SourceError(
            f"{source} has a column name twice in its header. Nothing was sent; correct the file."
        )
    return tuple(header)
