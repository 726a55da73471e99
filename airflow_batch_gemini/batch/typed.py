"""What a row may bring into a field that is no text: whole numbers, numbers, booleans and words, read from their text.

Reading the text makes a CSV file, a Parquet file and a BigQuery column alike, whatever type each has. The patterns are
for Python's ``re`` and BigQuery's RE2 alike; ``sql/rendering.py`` follows the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from airflow_batch_gemini.batch.text import text_of

INT32 = (-(2**31), 2**31 - 1)


class Kind(StrEnum):
    """The type of a field; a path keeps one type over the whole file, or its import fails."""

    INTEGER = "a whole number of 32 bits"
    NUMBER = "a number"
    """Always written with a point or an exponent: ``1`` in one row and ``0.5`` in another would be two types."""
    BOOLEAN = "true or false"
    WORD = "one word"


PATTERNS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.INTEGER: r"-?(?:0|[1-9][0-9]{0,9})",
        Kind.NUMBER: r"-?(?:0|[1-9][0-9]{0,16})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?",
        Kind.BOOLEAN: "true|false",
        Kind.WORD: r"[A-Za-z][A-Za-z0-9_.+/-]{0,99}",
    }
)
"""What the text of a value must be."""

_COMPILED = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items()}


class MisfitError(ValueError):
    """A value is not of the kind that its field wants."""


def json_of(value: Any, kind: Kind) -> str | None:
    """Return *value* as JSON for a field of *kind*; ``None`` for NULL and for an empty text, as CSV has no NULL.

    :raises MisfitError: it is something else.
    :raises NoTextError: its type is none that a row can have.
    """
    if value is None or value == "":
        return None
    text = text_of(value)
    if kind is Kind.WORD and not isinstance(value, str):
        raise MisfitError  # a number that is not one is spelled like a word
    if not _COMPILED[kind].fullmatch(text):
        raise MisfitError
    match kind:
        case Kind.BOOLEAN:
            return text
        case Kind.WORD:
            return f'"{text}"'
        case Kind.NUMBER:
            number = text_of(float(text))
            return number if set(number) & {".", "e"} else f"{number}.0"
    if not INT32[0] <= int(text) <= INT32[1]:
        raise MisfitError
    return str(int(text))
