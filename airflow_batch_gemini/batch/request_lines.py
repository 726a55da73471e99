"""Request lines on their way from the rows to a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self, overload


class RequestLines(Sequence[bytes]):
    """Lines that follow each other, joined once; a line alone is joined again where somebody wants to see it.

    :param pieces: what the lines are made of, one line after the other, each of as many pieces.
    :param count: how many lines they make.
    """

    __slots__ = ("_count", "_pieces", "_width", "data")

    def __init__(self, pieces: Sequence[bytes], *, count: int) -> None:
        self.data = b"".join(pieces)
        self._pieces = pieces
        self._count = count
        self._width = len(pieces) // (count or 1)

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Self:
        """Return whole lines, each a piece."""
        return cls(lines, count=len(lines))

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return map(self._line, range(self._count))

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> RequestLines: ...

    def __getitem__(self, index: int | slice) -> bytes | RequestLines:
        places = range(self._count)[index]
        return self._line(places) if isinstance(places, int) else self.of([*map(self._line, places)])

    def _line(self, index: int) -> bytes:
        return b"".join(self._pieces[index * self._width : (index + 1) * self._width])
