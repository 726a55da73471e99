r"""Requests that are ready-made: taken byte for byte, checked, and given a key.

A line of a file is ``{"request": {…}}``, with the key beside it or without, or the request alone; a row of anything
else has a column ``request`` that holds an object or its JSON. A key that is given is kept. Where *key_column* is left
at ``key``, a row may leave it out: then it is called by its place in the batch, ``row-0000000001`` and so on, which is
the same whenever the same files are read. Other members are not sent, as columns that a template does not name are not.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.lint_file import FileLinter
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.rows import Row, RowBatch
from airflow_batch_gemini.batch.text import NoTextError, key_text
from airflow_batch_gemini.exceptions import SourceError

REQUEST = "request"
DEFAULT_KEY = "key"
FINGERPRINT = "ready-made"
"""Stands for a template's: what a ready-made batch asks is told by the checksums of its parts alone."""

_KEY = b'{"key":"' + WIRE_KEY_PREFIX.encode()
_BEFORE = re.compile(
    rb'\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[^\s,\[\]{}"]+)\s*,\s*)?"request"\s*:'
)
"""The beginning of a line up to its request, with at most the key before it."""
_LINE_ENDS = re.compile(rb"[\r\n]")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class ReadyMade:
    """Makes request lines of requests, as a :class:`~airflow_batch_gemini.batch.render.Renderer` does of rows.

    :param key_column: the member or column that holds the key.
    :param max_line_bytes: the longest line that fits into a part.
    :param positions: whether rows have places that say something: those of a query come in any order.
    :param strict: whether a request that breaks a rule is refused; otherwise it is only counted.
    """

    def __init__(
        self,
        *,
        key_column: str,
        max_line_bytes: int = lint.MAX_LINE_BYTES,
        positions: bool = True,
        strict: bool = True,
    ) -> None:
        self._key_column = key_column
        self._max_line = min(max_line_bytes, lint.MAX_LINE_BYTES)
        self._positions = positions and key_column == DEFAULT_KEY
        self._strict = strict
        self._linter = FileLinter()
        self.found: Counter[str] = Counter()
        """Rules that were broken and did not refuse a row: how often."""

    def make(self, batch: RowBatch) -> tuple[list[str], RequestLines]:
        """Return the key and the line of every row. Whether a key is used twice is not seen here.

        :raises SourceError: for a row that is no request.
        :raises RowError: for a key or a request that would break the job; both name the row, never what is in it.
        """
        keys, lines, found = [], [], Counter[str]()
        raw: Sequence[bytes | None] = batch.lines or [None] * len(batch.rows)
        for index, (row, line) in enumerate(zip(batch.rows, raw, strict=True)):
            place = batch.place(index)
            key = self._key(row, place, batch.before + index + 1)
            if rule := lint.key_rule(key):
                lint.refuse_row(rule, row=place, key=key or None)
            keys.append(key)
            lines.append(self._line(key, row, line, place, found))
        self.found += found
        return keys, RequestLines.of(lines)

    def _line(self, key: str, row: Row, line: bytes | None, place: str, found: Counter[str]) -> bytes:
        if REQUEST not in row and {"contents", self._key_column} <= row.keys():
            raise SourceError(
                f"{place} has its key, {self._key_column!r}, among the fields of its request, which has none of that "
                'name. Nothing was sent; give {"key": …, "request": {…}}, or the request without a key.'
            )
        data, request = _taken(row, line, place)
        made = b"".join((_KEY, _escaped(key, place), b'","request":', data, b"}\n"))
        too_large = len(made) > self._max_line
        # A request that is not sent says nothing of the shape of the others.
        linter = FileLinter() if too_large else self._linter
        for finding in (*linter.findings(data, request), *_vector_wanted(request)):
            if self._strict and finding.rule.severity == "error":
                lint.refuse_row(finding.rule.id, row=place, key=key, path=finding.path, detail=finding.detail)
            found[finding.rule.id] += 1
        if too_large:
            detail = f"{len(made):,} bytes where {self._max_line:,} fit"
            lint.refuse_row("GB108", row=place, key=key, detail=detail)
        return made

    def _key(self, row: Row, place: str, number: int) -> str:
        value = row.get(self._key_column)
        if type(value) is str:
            return value
        if value is None:
            if self._positions and self._key_column not in row:
                return f"row-{number:010d}"
            lint.refuse_row("GB121", row=place, path=f"column {self._key_column!r}")
        try:
            return key_text(value)
        except NoTextError as error:
            lint.refuse_row("GB125", row=place, path="key", detail=str(error))


def _vector_wanted(request: Mapping[str, Any]) -> Sequence[lint.Finding]:
    """A request for a vector is sound, but a model that takes ready-made requests answers none."""
    if "contents" in request or "content" not in request:
        return ()
    return (lint.Finding(rule=lint.RULES["GB106"], path="request.contents", detail="content alone"),)


def _escaped(key: str, place: str) -> bytes:
    try:
        return orjson.dumps(key)[1:-1]
    except TypeError:
        lint.refuse_row("GB125", row=place, path="key", detail="half a character, a lone surrogate")


def check_ready_columns(columns: Sequence[str], source: str) -> None:
    """Refuse rows that all have *columns* and none of them a request."""
    if REQUEST not in columns:
        raise SourceError(
            f"{source} has no column {REQUEST!r}, which ready-made requests (template=None) are read from. Nothing was "
            "sent; name it so, or give template=."
        )
    if found := sorted(lint.OUTPUT_NAMES.intersection(columns)):
        raise _of_output(source, found[0])


def _of_output(place: str, name: str) -> SourceError:
    return SourceError(
        f"{place} has {name!r} beside its request: that is the output of a job, or a name that Vertex AI reserves. "
        "Nothing was sent; give only key and request."
    )


def _taken(row: Row, line: bytes | None, place: str) -> tuple[bytes, Mapping[str, Any]]:
    """Return the request of a row, as it will be written and as it was read."""
    if REQUEST not in row:
        if "contents" not in row:
            raise SourceError(
                f"{place} has neither 'request' nor 'contents': it is no request. Nothing was sent; rows that are to "
                "become requests need template=."
            )
        return _taken_whole(row, line, place)
    if len(row) > 1 and (found := lint.OUTPUT_NAMES.intersection(row)):
        raise _of_output(place, min(found))
    value = row[REQUEST]
    if isinstance(value, str):
        return _of_text(value, place)
    if not isinstance(value, Mapping):
        raise _no_object(place)
    if line is not None:
        return _one_line(_member(line)), value
    data = _dumped(value, place)
    return data, orjson.loads(data)


def _taken_whole(row: Row, line: bytes | None, place: str) -> tuple[bytes, Mapping[str, Any]]:
    if line is not None:
        return _one_line(line.strip()), row
    data = _dumped(row, place)
    return data, orjson.loads(data)


def _of_text(text: str, place: str) -> tuple[bytes, Mapping[str, Any]]:
    try:
        data = text.encode().strip()
        request = orjson.loads(data)
    except ValueError:
        raise _no_object(place) from None
    if not isinstance(request, dict):
        raise _no_object(place)
    return _one_line(data), request


def _one_line(data: bytes) -> bytes:
    """Between the tokens of JSON, where alone a line end can stand, a space means the same."""
    return _LINE_ENDS.sub(b" ", data) if b"\n" in data or b"\r" in data else data


def _no_object(place: str) -> SourceError:
    return SourceError(f"The request of {place} is no JSON object. Nothing was sent; correct the source.")


def _dumped(value: Mapping[str, Any], place: str) -> bytes:
    try:
        data = orjson.dumps(value)
    except TypeError:
        raise _no_object(place) from None
    # A number that is not finite is no JSON, and would be written as null.
    if b"null" in data and not _all_finite(value):
        raise _no_object(place)
    return data


def _all_finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_all_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _member(line: bytes) -> bytes:
    """Return the request of a line exactly as it stands there: mostly what is left of it up to the last brace."""
    if before := _BEFORE.match(line):
        rest = line[before.end() : line.rindex(b"}")].strip()
        try:
            orjson.loads(rest)
        except orjson.JSONDecodeError:
            return _scanned(line.decode())
        return rest
    return _scanned(line.decode())


def _scanned(text: str) -> bytes:
    """Go through the members of an object; of two with one name the last one counts, as it does for every parser."""
    at, value = text.index("{") + 1, ""
    while True:
        name, at = _DECODER.raw_decode(text, _beyond_space(text, at))
        start = _beyond_space(text, _beyond_space(text, at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        if name == REQUEST:
            value = text[start:at]
        at = _beyond_space(text, at) + 1
        if text[at - 1] == "}":
            return value.encode()


def _beyond_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
