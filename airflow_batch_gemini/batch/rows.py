"""Rows as they are read: in batches that know where each row stands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

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


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """Some rows that follow each other in one source."""

    source: str
    """The file's URI, or what else the rows come from."""
    unit: Literal["line", "row"]
    first: int
    """The number of the first row, counted from 1 in its source."""
    rows: Sequence[Row]
    before: int = 0
    """Rows of the batches before it, over all sources."""
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
