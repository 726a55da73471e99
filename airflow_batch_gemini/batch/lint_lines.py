"""A request file as it lies there, line by line: what would keep it from being imported, or a row from its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from airflow_batch_gemini.batch.lint import MAX_LINE_BYTES, RULES, Finding, key_rule
from airflow_batch_gemini.batch.lint_file import FileLinter
from airflow_batch_gemini.batch.parts import MAX_BYTES, MAX_EMBEDDING_ROWS, MAX_ROWS
from airflow_batch_gemini.batch.reuse import RowSet, key_number

OUTPUT_NAMES = frozenset({"response", "status", "processed_time"})
"""What Vertex AI writes beside a request."""
_BOM = b"\xef\xbb\xbf"
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
            row = f"line {self._number}"
            line = given.removeprefix(_BOM) if self._number == 1 else given
            if line is not given and len(line) < len(given):
                yield Finding(rule=RULES["GB134"], row=row)
            if not line.strip():
                self._blank = self._blank or self._number
                continue
            if self._blank:
                yield Finding(rule=RULES["GB132"], row=f"line {self._blank}")
                self._blank = 0
            self.rows += 1
            yield from self._line(line, row)

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

    def _line(self, line: bytes, row: str) -> Iterator[Finding]:
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield Finding(rule=RULES["GB131"], row=row, detail=f"at character {error.pos + 1}")
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
            if not self._keys.add(key_number(key)):
                yield Finding(rule=RULES["GB122"], path="key", **named)


def _request_of(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the request of a line, which may be the line."""
    if "request" not in document:
        return document if "contents" in document or "content" in document else None
    request = document["request"]
    return request if isinstance(request, dict) else None
