"""Chance that repeats: every draw follows from a seed and the words given, on any machine."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b, shake_128
from typing import TypeVar

T = TypeVar("T")
_SCALE = float(1 << 53)


def draw(*words: object) -> float:
    """Return a number in [0, 1) that depends on the words alone."""
    digest = blake2b("\x1f".join(map(str, words)).encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / _SCALE


def shuffled(count: int, *words: object) -> array[int]:
    """Return 0 … count-1 in an order that depends on the words alone (8 bytes of key per element)."""
    keys = array("Q", shake_128(repr(words).encode()).digest(8 * count))
    return array("L", sorted(range(count), key=keys.__getitem__))


class Dice:
    """A stream of draws from one key; cheap enough for one per row."""

    __slots__ = ("_key", "_turn")

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]
        self._turn = 0

    def _number(self) -> int:
        self._turn += 1
        digest = blake2b(self._turn.to_bytes(4, "big"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big")

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return (self._number() >> 11) / _SCALE

    def between(self, low: int, high: int) -> int:
        """Return a whole number in low … high, both included."""
        return low + self._number() % (high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[self._number() % len(choices)]
