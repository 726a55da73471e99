"""The list filter: a small parser and a test over one job.

The grammar is the one of Google's list filters (AIP-160) as far as batch prediction jobs use it: AND, OR,
NOT, ``-``, parentheses, comparisons. OR binds tighter than AND; a blank between two terms means AND.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from airflow_batch_gemini.local.errors import invalid

Test = Callable[[Mapping[str, Any]], bool]
"""Takes a job as its REST resource, or as much of it as ``records.filterable`` keeps."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()])|(?P<op><=|>=|!=|=|<|>|:)|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<word>[^\s()<>=!:"']+(?::(?=\d)[^\s()<>=!"']+)*))"""
)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_FIELDS = {
    "displayName": "displayName", "display_name": "displayName",
    "modelDisplayName": "modelDisplayName", "model_display_name": "modelDisplayName",
    "state": "state", "createTime": "createTime", "create_time": "createTime",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse_filter(text: str) -> Test:
    """Return the test a filter stands for; an empty filter takes every job.

    :raises CloudError: 400 naming what is not understood.
    """
    tokens = _tokens(text)
    if not tokens:
        return lambda _job: True
    parser = _Parser(tokens, text)
    test = parser.sequence()
    parser.end()
    return test


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise _refusal(text, f"{stripped[at:].strip()[:20]!r} is not understood")
        kind = str(match.lastgroup)
        value = match[kind]
        found.append(_Token(kind, re.sub(r"\\(.)", r"\1", value[1:-1]) if kind == "quoted" else value))
        at = match.end()
    return found


def _refusal(text: str, why: str) -> Exception:
    return invalid(f"Invalid list filter {text!r}: {why}.")


class _Parser:
    def __init__(self, tokens: list[_Token], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> _Token:
        token = self._peek()
        if token is None:
            raise _refusal(self._text, "it ends too early")
        self._at += 1
        return token

    def _taken(self, kind: str, text: str) -> bool:
        if self._peek() == _Token(kind, text):
            self._at += 1
            return True
        return False

    def end(self) -> None:
        token = self._peek()
        if token is not None:
            raise _refusal(self._text, f"{token.text!r} stands where nothing was expected")

    def sequence(self) -> Test:
        terms = [self._any_of()]
        while self._peek() not in (None, _Token("mark", ")")):
            self._taken("word", "AND")
            terms.append(self._any_of())
        return terms[0] if len(terms) == 1 else lambda job: all(term(job) for term in terms)

    def _any_of(self) -> Test:
        terms = [self._term()]
        while self._taken("word", "OR"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else lambda job: any(term(job) for term in terms)

    def _term(self) -> Test:
        if self._taken("word", "NOT"):
            inner = self._term()
            return lambda job: not inner(job)
        token = self._next()
        if token == _Token("mark", "("):
            inner = self.sequence()
            if not self._taken("mark", ")"):
                raise _refusal(self._text, "a parenthesis is not closed")
            return inner
        if token.kind != "word":
            raise _refusal(self._text, f"{token.text!r} is not a field")
        if token.text.startswith("-"):
            inner = self._comparison(token.text[1:])
            return lambda job: not inner(job)
        return self._comparison(token.text)

    def _comparison(self, field: str) -> Test:
        if field == "labels." and self._peek() is not None:
            field += self._next().text
        if self._peek() is None or self._tokens[self._at].kind != "op":
            raise _refusal(self._text, f"{field!r} stands alone, without a comparison")
        op = self._next().text
        value = self._next()
        if value.kind not in ("word", "quoted"):
            raise _refusal(self._text, f"{value.text!r} is not a value")
        if field.startswith("labels."):
            return self._label(field.removeprefix("labels."), op, value.text)
        name = _FIELDS.get(field)
        if name is None:
            raise _refusal(self._text, f"there is no field {field!r} to filter on")
        if name == "createTime":
            return self._time(op, value.text)
        return self._word(name, op, value.text)

    def _label(self, key: str, op: str, value: str) -> Test:
        if op == ":":
            if value == "*":
                return lambda job: key in job.get("labels", {})
            return lambda job: fnmatchcase(job.get("labels", {}).get(key, "\0"), _pattern(value))
        if op not in ("=", "!="):
            raise _refusal(self._text, f"labels take = != and :, not {op}")
        compare = _ORDER[op]
        return lambda job: compare(job.get("labels", {}).get(key), value)

    def _time(self, op: str, value: str) -> Test:
        moment = _moment(value)
        if moment is None or op == ":":
            raise _refusal(self._text, f"createTime {op} {value} is not a comparison with an RFC 3339 time")
        compare = _ORDER[op]
        return lambda job: compare(datetime.fromisoformat(job["createTime"]), moment)

    def _word(self, name: str, op: str, value: str) -> Test:
        if op == ":":
            return lambda job: fnmatchcase(job.get(name, ""), _pattern(value))
        if op not in ("=", "!="):
            raise _refusal(self._text, f"{name} takes = != and :, not {op}")
        compare = _ORDER[op]
        return lambda job: compare(job.get(name, ""), value)


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _pattern(value: str) -> str:
    """Leave ``*`` as the only wildcard."""
    return re.sub(r"([?\[])", r"[\1]", value)
