"""A request file as it lies there, line by line: what would keep it from being imported, or a row from its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from airflow_batch_gemini.batch.lint import (
    MAX_KEY_BYTES,
    MAX_LINE_BYTES,
    OUTPUT_NAMES,
    RULES,
    Finding,
    key_rule,
)
from airflow_batch_gemini.batch.lint_file import FileLinter
from airflow_batch_gemini.batch.lint_shape import Frame
from airflow_batch_gemini.batch.parts import MAX_BYTES, MAX_EMBEDDING_ROWS, MAX_ROWS
from airflow_batch_gemini.batch.reuse import RowSet
from airflow_batch_gemini.batch.row_files import BOM

_PLAIN_KEY = MAX_KEY_BYTES // 4
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
"""How gzip, bzip2, xz and Zstandard begin."""
_PACKED_SAID = "it looks compressed; unpack the file"
_ODD = re.compile(r"^[0-9+.-]|[\x00-\x1f\x7f]")
"""What a key has that may break a rule."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


@dataclass
class LineLinter:
    """Judges a file given line by line; memory stays flat, some twenty bytes a row for the keys aside."""

    rows: int = 0
    size: int = 0
    embeddings: bool = False
    """Whether the first request is one for a vector."""
    _file: FileLinter = field(default_factory=FileLinter)
    _keys: RowSet = field(default_factory=RowSet)
    _number: int = 0
    _blank: int = 0

    def take(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Yield what is wrong with these lines, which follow the earlier ones."""
        for given in lines:
            self._number += 1
            self.size += len(given) + 1
            for frame in self._file.frames:
                if (texts := frame.texts(given)) is not None and self._is_good(frame, texts, given):
                    break
            else:
                yield from self._odd_line(given)
                continue
            self.rows += 1

    def finish(self) -> Iterator[Finding]:
        """Yield what is wrong with the file as a whole."""
        most = MAX_EMBEDDING_ROWS if self.embeddings else MAX_ROWS
        if not self.rows:
            yield Finding(rule=RULES["GB138"], row="file")
        if self.rows > most:
            yield Finding(rule=RULES["GB137"], row="file", detail=f"{self.rows:,} rows where {most:,} fit")
        if self.size > MAX_BYTES:
            detail = f"{self.size:,} bytes where {MAX_BYTES:,} fit"
            yield Finding(rule=RULES["GB137"], row="file", detail=detail)

    def _odd_line(self, given: bytes) -> Iterator[Finding]:
        """Yield what is wrong with a line that has to be looked at."""
        row = f"line {self._number}"
        line = given.removeprefix(BOM) if self._number == 1 else given
        if line is not given and len(line) < len(given):
            yield Finding(rule=RULES["GB134"], row=row)
        if not line.strip():
            self._blank = self._blank or self._number
            return
        if self._blank:
            yield Finding(rule=RULES["GB132"], row=f"line {self._blank}")
            self._blank = 0
        self.rows += 1
        yield from self._line(line, row)

    def _is_good(self, frame: Frame, texts: Sequence[str], line: bytes) -> bool:
        """Whether a line that fits *frame* breaks no rule, for all that the frame does not say; learn its key then."""
        at = frame.siblings.get("key")
        if at is None or self._blank or len(line) > MAX_LINE_BYTES:
            return False
        key = texts[at]
        if not key or len(key) > _PLAIN_KEY or _ODD.search(key):
            return False
        return self._keys.add(_number_of(key))

    def _line(self, line: bytes, row: str) -> Iterator[Finding]:
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            place = f"at character {error.pos + 1}"
            yield Finding(
                rule=RULES["GB131"], row=row, detail=_PACKED_SAID if line.startswith(_PACKED) else place
            )
            return
        if not isinstance(document, dict):
            yield Finding(rule=RULES["GB131"], row=row, detail=f"a JSON {type(document).__name__}")
            return
        key = document.get("key")
        named: dict[str, Any] = {"row": row, "key": key if isinstance(key, str) else None}
        if len(line) > MAX_LINE_BYTES:
            detail = f"{len(line):,} bytes where {MAX_LINE_BYTES:,} fit"
            yield Finding(rule=RULES["GB108"], detail=detail, **named)
        request = _request_of(document)
        if request is None:
            yield Finding(rule=RULES["GB133"], **named)
            return
        if self.rows == 1:
            self.embeddings = "content" in request
        if request is document:
            yield Finding(rule=RULES["GB139"], **named)
        else:
            yield from self._beside(document, named)
        whole = None if request is document else document
        for found in self._file.findings(line, request, line=whole):
            yield replace(found, **named)

    def _beside(self, document: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[Finding]:
        """Yield what is wrong with the members beside a request."""
        for name in sorted(OUTPUT_NAMES.intersection(document)):
            yield Finding(rule=RULES["GB135"], path=name, **named)
        if "key" not in document:
            return
        key = document["key"]
        if not isinstance(key, str):
            yield Finding(rule=RULES["GB136" if type(key) in {int, float} else "GB121"], path="key", **named)
        elif rule := key_rule(key):
            yield Finding(rule=RULES[rule], path="key", **named)
        else:
            if _NUMBER.fullmatch(key):
                yield Finding(rule=RULES["GB136"], path="key", **named)
            if not self._keys.add(_number_of(key)):
                yield Finding(rule=RULES["GB122"], path="key", **named)


def _number_of(key: str) -> int:
    """Return what *key* is remembered by, in this process."""
    value = hash(key) & 0xFFFF_FFFF_FFFF_FFFF
    return value | (value & 0xFFFF) << 64


def _request_of(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the request of a line, which may be the line."""
    if "request" not in document:
        return document if "contents" in document or "content" in document else None
    request = document["request"]
    return request if isinstance(request, dict) else None
