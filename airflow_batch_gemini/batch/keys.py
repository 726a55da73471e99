"""Whether any key is used twice, in eight bytes a row.

Keys are remembered as 64-bit hashes only. Equal hashes are a suspicion; a second look at the keys themselves, in the
order they came, decides it and says which rows they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

_BUCKETS = 256


@dataclass(frozen=True)
class Duplicate:
    """A key and the first two rows that have it, counted from 0."""

    key: str
    first: int
    second: int


class KeyMemory:
    """What is kept of the keys seen so far. Its hashes mean nothing to another process."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, keys: Iterable[str]) -> None:
        """Remember *keys*."""
        self._hashes.fromlist(list(map(hash, keys)))

    def suspects(self) -> frozenset[int]:
        """Return the hashes that occurred twice: with ever so little luck, of one key used twice."""
        buckets = [array("q") for _ in range(_BUCKETS)]
        appends = [bucket.append for bucket in buckets]
        for value in self._hashes:
            appends[value & (_BUCKETS - 1)](value)
        return frozenset().union(*(_twice(bucket) for bucket in buckets))


def first_duplicate(keys: Iterable[str], suspects: frozenset[int]) -> Duplicate | None:
    """Return the first key of *keys*, in order, that occurred before; only *suspects* can.

    ``None`` when different keys merely had one hash.
    """
    seen: dict[str, int] = {}
    for row, key in enumerate(keys):
        if hash(key) in suspects:
            if key in seen:
                return Duplicate(key, seen[key], row)
            seen[key] = row
    return None


def _twice(hashes: array[int]) -> set[int]:
    unique = set(hashes)
    if len(unique) == len(hashes):
        return set()
    again: set[int] = set()
    for value in hashes:
        if value in unique:
            unique.discard(value)
        else:
            again.add(value)
    return again
