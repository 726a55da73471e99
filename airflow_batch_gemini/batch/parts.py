"""How many requests one job may hold, and the slicing of a stream of request lines into as few parts as that allows.

Source: page "Batch inference", section on limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.exceptions import ConfigurationError

MAX_ROWS = 200_000
MAX_EMBEDDING_ROWS = 1_000_000
MAX_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What fits into one part; at most what Vertex AI takes in one job.

    :param most_rows: rows that a job of this kind takes.
    """

    rows: int = MAX_ROWS
    size: int = MAX_BYTES
    most_rows: int = MAX_ROWS

    def __post_init__(self) -> None:
        for name, value, most in [("rows", self.rows, self.most_rows), ("bytes", self.size, MAX_BYTES)]:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
                raise ConfigurationError(
                    f"max_{name}_per_part must be a whole number from 1 to {most:,}: a job takes no more. "
                    "Nothing was sent."
                )


@dataclass(frozen=True)
class Slice:
    """Lines that follow each other in one part; ``opens`` says that they are the first of it."""

    opens: bool
    lines: RequestLines


def slices(batches: Iterable[RequestLines], limits: Limits) -> Iterator[Slice]:
    """Cut batches of lines where the next line would not fit into the part any more.

    A line that is larger than a whole part would get one of its own: the linter lets none come so far.
    """
    rows, size, opens = 0, 0, True
    for lines in batches:
        if rows + len(lines) <= limits.rows and size + lines.size <= limits.size:
            rows, size = rows + len(lines), size + lines.size
            if lines:
                yield Slice(opens, lines)
                opens = False
            continue
        start = 0
        for end, line in enumerate(lines):
            if rows and (rows == limits.rows or size + len(line) > limits.size):
                if end > start:
                    yield Slice(opens, lines[start:end])
                rows, size, opens, start = 0, 0, True, end
            rows, size = rows + 1, size + len(line)
        yield Slice(opens, lines[start:])
        opens = False
