"""The keys of rows that are not in the request files, kept on disk with the places of their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import IO


class Unsent:
    """Puts such keys back among the others, so that each is seen once and in the order of the rows."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def close(self) -> None:
        """Forget all of them."""
        if self._file is not None:
            self._file.close()

    def add(self, rows: Iterable[tuple[int, str]]) -> None:
        """Remember rows by their number, counted from 0, in rising order, and their keys."""
        lines = [f"{json.dumps(row)}\n" for row in rows]
        if lines and self._file is None:
            self._file = TemporaryFile("w+", encoding="ascii")  # noqa: SIM115  # until close
        if lines and self._file is not None:
            self._file.writelines(lines)
            self._rows += len(lines)

    def among(self, keys: Iterable[str]) -> Iterator[str]:
        """Yield the keys of all rows in order, *keys* being those that were sent."""
        number = 0
        sent = iter(keys)
        for place, unsent in self._remembered():
            while number < place:
                yield next(sent)
                number += 1
            yield unsent
            number += 1
        yield from sent

    def _remembered(self) -> Iterator[tuple[int, str]]:
        if self._file is not None:
            self._file.seek(0)
            yield from map(json.loads, self._file)
