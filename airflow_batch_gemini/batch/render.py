r"""Rows to request lines, by splicing bytes: what a template fixes is encoded once, what a row brings is escaped.

A line is ``{"key": "k_…", "request": {…}}\n`` (page "Batch inference from Cloud Storage"): siblings of ``request``
come back beside the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import orjson

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.media import is_media_uri, mime_type_of
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX, Template
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.rows import Row, RowBatch
from airflow_batch_gemini.batch.template import Column, FilePart, Fixed, Members, Segment, Value
from airflow_batch_gemini.batch.text import NoTextError, key_text, text_of
from airflow_batch_gemini.batch.typed import json_of

_KEY = b'{"key":"' + WIRE_KEY_PREFIX.encode()

_BETWEEN = "\x7f"
"""Seldom in a text, and where it is the texts are escaped one by one."""
_LINE_KEY = re.compile(rb'\{"key":("(?:[^"\\]|\\.)*")')

Filled = Callable[[Row], bytes]
"""What a hole that is no text becomes for a row."""
Hole = Column | Filled


class Renderer:
    """Makes request lines of rows.

    :param template: what to render.
    :param key_column: the column that holds the key.
    :param max_line_bytes: the longest line that fits into a part.
    """

    def __init__(
        self, template: Template, *, key_column: str, max_line_bytes: int = lint.MAX_LINE_BYTES
    ) -> None:
        self._key_column = key_column
        self._max_line = min(max_line_bytes, lint.MAX_LINE_BYTES)
        self._null = template.null_as
        fixed, holes = [b'","request":'], list[Hole]()
        for item in _flat(template.segments):
            if isinstance(item, bytes):
                fixed[-1] += item
            else:
                holes.append(item)
                fixed.append(b"")
        fixed[-1] += b"}\n"
        self._after_key, *after = fixed
        self._holes = list(zip(holes, after, strict=True))

    def make(self, batch: RowBatch) -> tuple[list[str], RequestLines]:
        """Return the key and the line of every row. Whether a key is used twice is not seen here.

        :raises RowError: naming the row, its key and the column, never what is in it.
        """
        keys = self._keys(batch)
        return keys, self._lines(batch, keys)

    def _keys(self, batch: RowBatch) -> list[str]:
        """Return the keys of the rows, checked one by one."""
        keys = _values(batch.rows, self._key_column)
        if set(map(type, keys)) == {str} and lint.keys_are_fine(keys):
            return keys
        keys = []
        for index, row in enumerate(batch.rows):
            value = row.get(self._key_column)
            if type(value) is not str:
                value = self._key_text(value, batch, index)
            if rule := lint.key_rule(value):
                lint.refuse_row(rule, row=batch.place(index), key=value or None)
            keys.append(value)
        return keys

    def _lines(self, batch: RowBatch, keys: Sequence[str]) -> RequestLines:
        try:
            lines = self._by_column(keys, batch.rows)
        except (_HoleError, NoTextError, TypeError):
            return self._by_row(batch, keys)  # which knows the row
        fit = lines.size <= self._max_line or max(map(len, lines)) <= self._max_line
        return lines if fit else self._by_row(batch, keys)

    def _by_column(self, keys: Sequence[str], rows: Sequence[Row]) -> RequestLines:
        """Make all lines at once: a column is escaped in one go, and all of them are joined in one."""
        count, columns = len(rows), [(_escaped_column(keys), self._after_key)]
        columns += [(self._column(hole, rows), fixed) for hole, fixed in self._holes]
        pieces = [_KEY] * (count * (2 * len(columns) + 1))
        for place, (column, fixed) in enumerate(columns):
            pieces[2 * place + 1 :: 2 * len(columns) + 1] = column
            pieces[2 * place + 2 :: 2 * len(columns) + 1] = [fixed] * count
        return RequestLines(pieces, count=count)

    def _column(self, hole: Hole, rows: Sequence[Row]) -> list[bytes]:
        if not isinstance(hole, Column):
            return [hole(row) for row in rows]
        values = _values(rows, hole.name)
        if set(map(type, values)) != {str}:
            values = [
                value if type(value) is str else self._null if value is None else text_of(value)
                for value in values
            ]
        return _escaped_column(values)

    def _by_row(self, batch: RowBatch, keys: Sequence[str]) -> RequestLines:
        lines = []
        for index, (key, row) in enumerate(zip(keys, batch.rows, strict=True)):
            try:
                line = self._line(key, row)
            except _HoleError as error:
                lint.refuse_row(
                    error.rule, row=batch.place(index), key=key, path=error.path, detail=error.detail
                )
            if len(line) > self._max_line:
                detail = f"{len(line):,} bytes where {self._max_line:,} fit"
                lint.refuse_row("GB108", row=batch.place(index), key=key, detail=detail)
            lines.append(line)
        return RequestLines.of(lines)

    def _line(self, key: str, row: Row) -> bytes:
        out = [_KEY, _hole_text(key, "key"), self._after_key]
        for hole, fixed in self._holes:
            if isinstance(hole, Column):
                value = row.get(hole.name)
                out.append(_hole_text(self._null if value is None else value, hole.name))
            else:
                out.append(hole(row))
            out.append(fixed)
        return b"".join(out)

    def _key_text(self, value: Any, batch: RowBatch, index: int) -> str:
        if value is None:
            lint.refuse_row("GB121", row=batch.place(index), path=f"column {self._key_column!r}")
        try:
            return key_text(value)
        except NoTextError as error:
            lint.refuse_row("GB125", row=batch.place(index), path="key", detail=str(error))


def key_of(line: bytes) -> str:
    """Return the key of a line that a :class:`Renderer` made, without its prefix."""
    match = _LINE_KEY.match(line)
    if match is None:
        raise ValueError("not a request line")
    return str(orjson.loads(match[1])).removeprefix(WIRE_KEY_PREFIX)


class _HoleError(Exception):
    """A value does not fit its hole."""

    def __init__(self, rule: str, column: str, detail: str = "", *, path: str = "") -> None:
        super().__init__(rule)
        self.rule, self.path, self.detail = rule, path or f"column {column!r}", detail


def _flat(segments: Sequence[Segment]) -> Iterator[bytes | Hole]:
    for segment in segments:
        if isinstance(segment, Fixed):
            yield segment.json.encode()
        elif isinstance(segment, FilePart):
            yield partial(_file_parts, segment)
        elif isinstance(segment, Members):
            yield partial(_present, _ready(segment, "request"))
        else:
            yield b'"'
            yield from (_escaped(one) if isinstance(one, str) else one for one in segment.pieces)
            yield b'"'


def _escaped(text: str) -> bytes:
    return orjson.dumps(text)[1:-1]


def _values(rows: Sequence[Row], column: str) -> list[Any]:
    """Return a column of *rows*; what a row leaves out is NULL."""
    try:
        return list(map(itemgetter(column), rows))
    except KeyError:
        return [row.get(column) for row in rows]


def _escaped_column(values: Sequence[str]) -> list[bytes]:
    """Escape many texts at once, a character between them that JSON leaves as it is."""
    pieces = orjson.dumps(_BETWEEN.join(values)).split(_BETWEEN.encode())
    if len(pieces) != len(values):
        return [_escaped(value) for value in values]
    pieces[0] = pieces[0][1:]  # the quotation marks around all of them
    pieces[-1] = pieces[-1][:-1]
    return pieces


def _hole_text(value: Any, column: str) -> bytes:
    try:
        return orjson.dumps(value if type(value) is str else text_of(value))[1:-1]
    except NoTextError as error:
        raise _HoleError("GB125", column, str(error)) from None
    except TypeError:
        raise _HoleError("GB125", column, "half a character, a lone surrogate") from None


def _file_parts(part: FilePart, row: Row) -> bytes:
    value = row.get(part.column)
    if isinstance(value, (list, tuple)):
        return b"".join([_file_part(part, one) for one in value])
    return _file_part(part, value)


def _file_part(part: FilePart, value: Any) -> bytes:
    if value is None or value == "":
        return b""
    if not isinstance(value, str) or not is_media_uri(value):
        raise _HoleError("GB109", part.column)
    mime_type = part.mime_type or mime_type_of(value)
    if mime_type is None:
        raise _HoleError("GB110", part.column)
    uri = _hole_text(value, part.column)
    file = b',{"fileData":{"fileUri":"' + uri + b'","mimeType":"' + mime_type.encode() + b'"}'
    return file + part.more.encode() + b"}"


@dataclass(frozen=True)
class _Ready:
    """Members with their names escaped and their places known."""

    begins: bytes
    fixed: list[bytes]
    values: list[tuple[bytes, str, Value]]
    inner: list[_Ready]


def _ready(members: Members, path: str) -> _Ready:
    path = f"{path}.{members.name}"
    return _Ready(
        b'"' + _escaped(members.name) + b'":{',
        [one.encode() for one in members.fixed],
        [(b'"' + _escaped(name) + b'":', f"{path}.{name}", one) for name, one in members.values],
        [_ready(one, path) for one in members.inner],
    )


def _present(members: _Ready, row: Row) -> bytes:
    """Return the object after a comma, or nothing."""
    found = _object(members, row)
    return b"," + found if found else found


def _object(members: _Ready, row: Row) -> bytes:
    found = members.fixed.copy()
    for name, path, value in members.values:
        try:
            text = json_of(row.get(value.column), value.kind)
        except ValueError:  # of another kind, or of a type that no row should have
            detail = f"column {value.column!r} wants {value.kind}"
            raise _HoleError("GB126", value.column, detail, path=path) from None
        if (text := text or value.default) is not None:
            found.append(name + text.encode())
    found += filter(None, [_object(one, row) for one in members.inner])
    return members.begins + b",".join(found) + b"}" if found else b""
