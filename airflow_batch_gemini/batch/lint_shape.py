r"""What many lines have in common, so that what was found in one of them need not be looked for in the next.

Most lines of a file differ in their texts alone. Two lines have one *shape* when the bytes outside their strings are
the same, numbers aside, and so are the names of their members and the few values that rules look at. Where lines of one
shape also agree in most of their texts and numbers, a *frame* holds what they share: a line that fits into it is JSON
if the texts in its holes are, and it breaks what the others break. Neither ever guesses: what does not fit is parsed
and walked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import orjson

from airflow_batch_gemini.batch.lint import Finding

MAX_BYTES = 16 << 20
"""Remembered of lines, one for each shape; what has more shapes than that is walked line by line."""
MAX_LINE = 64 << 10
MAX_PIECES = 4000
MAX_DEPTH = 60
MAX_HOLES = 6
MAX_NUMBERS = 1000
"""Bytes between two texts in which numbers may differ."""
MAX_FRAMES = 8

Path = tuple[str, ...]
"""Names from the outside in, ``[]`` for an element of a list."""

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_RUN = re.compile(rb"(\d+)")
_LATER_DIGITS = re.compile(rb"(?:\.|[eE][+-]?)$")
"""What stands before digits that may begin with a zero: those of a fraction or an exponent."""
_MARKS = re.compile(rb"[{}\[\]]")
_WORD = re.compile(rb"[^\\\x01]*")
_ESCAPED = b"\x01\x01"
"""Stands for two bytes that are an escaped quotation mark or backslash: raw, it cannot stand in JSON."""


def pieces_of(line: bytes) -> list[bytes]:
    """Cut *line* at its quotation marks: what lies outside of strings and what lies inside take turns."""
    if b"\\" in line:
        line = line.replace(b"\\\\", _ESCAPED).replace(b'\\"', _ESCAPED)
    return line.split(b'"')


@dataclass(frozen=True, slots=True)
class Frame:
    """The bytes that lines of one shape share, and the holes between them."""

    head: bytes
    holes: tuple[tuple[re.Pattern[bytes] | None, bytes], ...]
    """What must stand in each, where it is no text, and what follows it."""
    tail: bytes
    siblings: Mapping[str, int]
    """The outermost members that are strings, and their places among the texts."""

    def texts(self, line: bytes) -> list[str] | None:
        """Return the texts in the holes; ``None`` when the line does not fit."""
        if not (line.endswith(self.tail) and line.startswith(self.head)):
            return None
        at, end, found = len(self.head), len(line) - len(self.tail), []
        for numbers, fixed in self.holes:
            stop = line.find(fixed, at, end) if fixed else end
            if stop < 0:
                return None
            if numbers is None:
                found.append(line[at - 1 : stop + 1])
            elif not numbers.fullmatch(line, at, stop):
                return None
            at = stop + len(fixed)
        try:
            return [*map(orjson.loads, found)]
        except orjson.JSONDecodeError:
            return None


@dataclass(slots=True)
class Shape:
    """Lines of one shape: what was found in the first of them, and in which of their pieces they differ."""

    findings: Sequence[Finding]
    line: bytes
    pieces: list[bytes]
    holes: set[int]
    siblings: dict[int, str]
    framed: bool = False

    def frame(self, pieces: list[bytes]) -> Frame | None:
        """Learn from another line what differs; return a frame when that made a new one."""
        known = len(self.holes)
        if self.findings or known > MAX_HOLES:
            return None
        self.holes.update(index for index, piece in enumerate(self.pieces) if piece != pieces[index])
        if self.framed and known == len(self.holes):
            return None
        self.framed = 0 < len(self.holes) <= MAX_HOLES and all(
            index % 2 or len(self.pieces[index]) <= MAX_NUMBERS for index in self.holes
        )
        return self._frame() if self.framed else None

    def _frame(self) -> Frame:
        holes, at, fixed, start = sorted(self.holes), 0, [], 0
        for index, piece in enumerate(self.pieces):
            if index in self.holes:
                fixed.append(self.line[start:at])
                start = at + len(piece)
            at += len(piece) + 1
        kinds = [None if index % 2 else _numbers(self.pieces[index]) for index in holes]
        texts = [index for index in holes if index % 2]
        named = {self.siblings[index]: place for place, index in enumerate(texts) if index in self.siblings}
        return Frame(fixed[0], tuple(zip(kinds, [*fixed[1:], b""], strict=True)), self.line[start:], named)


def _numbers(piece: bytes) -> re.Pattern[bytes]:
    """Return what fits where *piece* stood, outside of texts: the same with other digits, as JSON writes them.

    They are so few that no parser takes the number for too large.
    """
    parts = _RUN.split(piece)
    for at in range(1, len(parts), 2):
        parts[at] = rb"\d{1,2}" if _LATER_DIGITS.search(parts[at - 1]) else rb"(?:0|[1-9]\d{,17})"
    return re.compile(b"".join(part if at % 2 else re.escape(part) for at, part in enumerate(parts)))


@dataclass(slots=True)
class _Named:
    """Lines with the same structure and names."""

    watched: Callable[[list[bytes]], Any] | None
    shapes: dict[Any, Shape] = field(default_factory=dict)


@dataclass(slots=True)
class _Structure:
    """Lines with the same bytes outside of strings, numbers aside: in all of them names stand at the same places."""

    names: Callable[[list[bytes]], Any] | None
    named: dict[Any, _Named] = field(default_factory=dict)


class Shapes:
    """Remembers what was found in lines, by their shape. Memory is bounded, whatever the lines are.

    :param watched: says of a path whether rules look at the text or the number there.
    """

    def __init__(self, watched: Callable[[Path], bool]) -> None:
        self._watched = watched
        self._structures: dict[bytes, _Structure] = {}
        self._room = MAX_BYTES
        self._newest: list[Frame] = []
        self.frames: list[Frame] = []
        """Of late, those with the most holes first: what does not fit them lacks something, which is soon seen."""

    def find(self, pieces: list[bytes]) -> Shape | None:
        """Return the shape of a line that is JSON, given its pieces, if it is remembered."""
        outside = b'"'.join(pieces[::2])
        structure = self._structures.get(_without_digits(outside))
        if structure is None:
            return None
        named = structure.named.get(structure.names(pieces) if structure.names else None)
        if named is None:
            return None
        shape = named.shapes.get(named.watched(pieces) if named.watched else None)
        if shape is not None and (frame := shape.frame(pieces)) is not None:
            self._newest = [frame, *self._newest[: MAX_FRAMES - 1]]
            self.frames = sorted(self._newest, key=lambda one: len(one.holes), reverse=True)
        return shape

    def learn(self, line: bytes, pieces: list[bytes], findings: Sequence[Finding]) -> None:
        """Remember what was found in a line that is JSON, unless it is a very odd one."""
        if len(line) > min(MAX_LINE, self._room) or len(pieces) > MAX_PIECES:
            return
        names, watched, siblings = [], [], {}
        for index, path, is_name in strings(pieces):
            if len(path) > MAX_DEPTH or (is_name and not _WORD.fullmatch(pieces[index])):
                return  # what it is called may not be what it looks like
            if is_name:
                names.append(index)
            if self._watched(path):
                watched += [index, index + 1]  # a number follows its name, or a text of the same list
            elif len(path) == 1 and not is_name:
                siblings[index] = path[0]
        self._room -= len(line)
        outside = b'"'.join(pieces[::2])
        structure = self._structures.setdefault(_without_digits(outside), _Structure(_getter(names)))
        named = structure.named.setdefault(
            structure.names(pieces) if structure.names else None, _Named(_getter(watched))
        )
        named.shapes[named.watched(pieces) if named.watched else None] = Shape(
            findings, line, pieces, set(siblings), siblings
        )


def _without_digits(outside: bytes) -> bytes:
    """Let all whole numbers be one, and most others nearly so."""
    plain = outside.translate(_DIGITS)
    while b"00" in plain:
        plain = plain.replace(b"00", b"0")
    return plain


def strings(pieces: list[bytes]) -> Iterator[tuple[int, Path, bool]]:
    """Yield every string of a line that is JSON: its place among the pieces, its path, whether it is a name."""
    path: list[str] = []
    for index, piece in enumerate(pieces):
        if index % 2:
            is_name = pieces[index + 1].lstrip().startswith(b":")
            if is_name:
                path[-1] = piece.decode(errors="replace")
            yield index, tuple(path), is_name
            continue
        for mark in _MARKS.findall(piece):
            if mark in b"}]":
                path.pop()
            else:
                path.append("[]" if mark == b"[" else "")


def _getter(indexes: list[int]) -> Callable[[list[bytes]], Any] | None:
    return itemgetter(*indexes) if indexes else None
