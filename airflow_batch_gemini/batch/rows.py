"""Rows as they are read: in batches that know where each row stands, out of JSONL and CSV files that are never held."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, BinaryIO, Literal, Protocol

import orjson

from airflow_batch_gemini.exceptions import SourceError

Row = Mapping[str, Any]
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
"""What a name may end in after the extension of its format."""
Format = Literal["jsonl", "csv", "parquet"]

ROWS_PER_BATCH = 300
"""Two batches, the one in use and the next, are fewer objects than it takes to set Python's garbage collector off:
rows hold no garbage, and a collector that goes through all of Airflow for them takes longer than they do."""
ROWS_FOR_COLUMNS = 1000
"""How many rows tell what columns there are, where each may leave some out."""
BYTES_PER_BATCH = 4 << 20
BYTES_PER_READ = 1 << 20
MAX_LINE_BYTES = 100_000_000
"""Longest line of a source: what BigQuery takes in one row."""

_EXTENSIONS: Mapping[str, Format] = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
}
BOM = b"\xef\xbb\xbf"


class Reads(Protocol):
    """As much of a stream as JSONL takes."""

    def read(self, size: int, /) -> bytes:
        """Return at most *size* bytes; none at the end only."""


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """Some rows that follow each other in one source."""

    source: str
    """The file's URI, or what else the rows come from."""
    unit: Literal["line", "row"]
    first: int
    """The number of the first row, counted from 1 in its source."""
    rows: Sequence[Row]
    columns: tuple[str, ...] | None = None
    """What columns every row has; ``None`` where a row may leave some out (JSONL)."""
    lines: Sequence[bytes] | None = None
    """The rows as they stand in the file, where that was asked for; ``rows`` then parses each when it is looked at."""

    def place(self, index: int) -> str:
        """Return where the row at *index* of this batch stands."""
        return f"{self.source} {self.unit} {self.first + index}"


class Places:
    """Where every row seen so far stands, in a few bytes a source."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._batches: list[RowBatch] = []
        self._next: tuple[str, int] | None = None
        self.rows = 0

    def add(self, batch: RowBatch) -> None:
        """Count the rows of *batch* and forget them."""
        if self._next != (batch.source, batch.first):
            self._starts.append(self.rows)
            self._batches.append(replace(batch, rows=(), columns=None, lines=None))
        self.rows += len(batch.rows)
        self._next = (batch.source, batch.first + len(batch.rows))

    def of(self, row: int) -> str:
        """Return where a row stands, counted from 0 over all batches."""
        at = bisect_right(self._starts, row) - 1
        return self._batches[at].place(row - self._starts[at])


def format_of(uri: str, override: Format | None = None) -> Format:
    """Return the format of a file by its extension, below that of a compression, unless *override* says it."""
    if override is not None:
        return override
    name = uri.rpartition("/")[2].lower()
    name = name.removesuffix(next((one for one in COMPRESSIONS if name.endswith(one)), ""))
    extension = name.rpartition(".")[2]
    if extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    raise SourceError(
        f"The format of {uri} cannot be told from its name (.jsonl, .csv, .parquet). Nothing was sent; say "
        "source_format=."
    )


def jsonl_batches(stream: Reads, *, source: str, keep_lines: bool = False) -> Iterator[RowBatch]:
    r"""Yield the rows of a JSONL file: one JSON object a line, lines ended by ``\n`` and nothing else.

    A field that a line leaves out is NULL. Empty lines are allowed at the very end only.

    :param keep_lines: whether ``lines`` of each batch are wanted.
    :raises SourceError: naming the line, for anything but a JSON object in valid UTF-8.
    """
    number, blank = 0, 0
    for block in blocks(stream, source):
        for start in range(0, len(block), ROWS_PER_BATCH):
            lines, first = block[start : start + ROWS_PER_BATCH], number + 1
            number += len(lines)
            if blank or not all(map(bytes.strip, lines)):
                lines, blank = _up_to_blank(lines, source, first, blank)
            if lines and keep_lines:
                lazy = _LazyRows(lines, source, first)
                yield RowBatch(source=source, unit="line", first=first, rows=lazy, lines=lines)
            elif lines:
                yield RowBatch(
                    source=source, unit="line", first=first, rows=_all_parsed(lines, source, first)
                )


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


def _all_parsed(lines: Sequence[bytes], source: str, first: int) -> list[Row]:
    """Parse lines in one go; where one is bad, one by one, to say which."""
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        rows = []
    if set(map(type, rows)) == {dict}:
        return rows
    return [_parsed(line, source, number) for number, line in enumerate(lines, first)]


def blocks(stream: Reads, source: str, *, keep_mark: bool = False) -> Iterator[list[bytes]]:
    r"""Yield the lines, which ``\n`` ends, some megabytes of them at a time.

    :param keep_mark: whether a byte order mark at the beginning stays.
    :raises SourceError: a line is longer than any can be.
    """
    tail = stream.read(BYTES_PER_READ)
    if not keep_mark:
        tail = tail.removeprefix(BOM)
    while tail:
        lines = tail.split(b"\n")
        tail = lines.pop()
        yield lines
        if len(tail) > MAX_LINE_BYTES:
            raise SourceError(
                f"{source} has a line of more than {MAX_LINE_BYTES // 1_000_000} MB: it is no JSONL. Nothing was sent."
            )
        pieces = [tail]
        # A long line is gathered piece by piece and joined once.
        while chunk := stream.read(BYTES_PER_READ):
            pieces.append(chunk)
            if b"\n" in chunk or sum(map(len, pieces)) > MAX_LINE_BYTES:
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
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
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
            if len(rows) == ROWS_PER_BATCH or size >= BYTES_PER_BATCH:
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


def query_batches(rows: Iterable[Row], *, source: str) -> Iterator[RowBatch]:
    """Yield rows that come one by one and all have the same columns, as those of a query do."""
    first, rest = 1, iter(rows)
    while batch := list(islice(rest, ROWS_PER_BATCH)):
        yield RowBatch(source=source, unit="row", first=first, rows=batch, columns=tuple(batch[0]))
        first += len(batch)


def checked_batches(
    batches: Iterable[RowBatch], check: Callable[[Sequence[str], str], None]
) -> Iterator[RowBatch]:
    """Yield *batches* once *check* (of columns, of a source) has passed for each source.

    Where rows may leave columns out, the columns are those of the first 1,000 rows taken together.
    """
    source = None
    held: list[RowBatch] = []
    for batch in batches:
        if batch.columns is not None:
            if batch.source != source:
                source = batch.source
                check(batch.columns, source)
            yield batch
        elif source is not None:
            yield batch
        else:
            held.append(batch)
            if sum(len(one.rows) for one in held) >= ROWS_FOR_COLUMNS:
                source = _check_held(held, check)
                yield from held
                held = []
    if held:
        _check_held(held, check)
        yield from held


def _check_held(held: Sequence[RowBatch], check: Callable[[Sequence[str], str], None]) -> str:
    columns = dict.fromkeys(name for batch in held for row in batch.rows for name in row)
    check(tuple(columns), held[0].source)
    return held[0].source
