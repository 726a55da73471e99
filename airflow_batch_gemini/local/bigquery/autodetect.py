"""Guess a schema from the first rows of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from . import coercion
from .datatypes import BOOL, DATE, FLOAT64, INT64, STRING, TIMESTAMP, Field, Type, array, struct
from .errors import invalid
from .files import header

SAMPLE = 500
_TEXTS: Sequence[tuple[Type, re.Pattern[str]]] = (
    (BOOL, re.compile(r"true|false", re.IGNORECASE)),
    (INT64, re.compile(r"[+-]?\d{1,18}")),
    (FLOAT64, re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")),
    (DATE, re.compile(r"\d{4}-\d{1,2}-\d{1,2}")),
    (
        TIMESTAMP,
        re.compile(
            r"\d{4}-\d{1,2}-\d{1,2}[ Tt]\d{1,2}:\d{1,2}:\d{1,2}(\.\d+)?\s*(Z|UTC|[+-]\d{1,2}(:?\d{2})?)?"
        ),
    ),
)


def of_objects(rows: Iterable[Any]) -> list[Field]:
    """Guess the schema of JSON objects; fields in the order in which they first occur."""
    found: dict[str, Type | None] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise invalid("Error while reading data, error message: JSON parsing error: a row is no object")
        _merge_object(found, row)
    return [Field(name, type_ or STRING) for name, type_ in found.items()]


def _merge_object(found: dict[str, Type | None], row: dict[str, Any]) -> None:
    for name, value in row.items():
        seen = _type(value)
        found[name] = _common(found.get(name), seen)


def _type(value: Any) -> Type | None:
    if value is None or value == []:
        return None
    if isinstance(value, str):
        return _text_type(value, numbers=False)
    if isinstance(value, list):
        items = None
        for part in value:
            items = _common(items, _type(part))
        return array(items or STRING)
    if isinstance(value, dict):
        inner: dict[str, Type | None] = {}
        _merge_object(inner, value)
        return struct([Field(name, type_ or STRING) for name, type_ in inner.items()]) if inner else None
    return BOOL if isinstance(value, bool) else INT64 if isinstance(value, int) else FLOAT64


def _text_type(text: str, *, numbers: bool) -> Type:
    for type_, pattern in _TEXTS:
        if (numbers or type_ in {DATE, TIMESTAMP}) and pattern.fullmatch(text.strip()) is not None:
            try:
                coercion.cell_reader(type_)(text)
            except coercion.BadValueError:
                continue
            return type_
    return STRING


def _common(left: Type | None, right: Type | None) -> Type | None:
    if left is None or right is None or left == right:
        return left or right
    kinds = {left.kind, right.kind}
    if kinds == {"INT64", "FLOAT64"}:
        return FLOAT64
    if kinds == {"DATE", "TIMESTAMP"}:
        return TIMESTAMP
    if kinds == {"ARRAY"}:
        return array(_common(left.item, right.item) or STRING)
    if kinds == {"STRUCT"}:
        fields: dict[str, Type | None] = {field.name: field.type for field in left.fields}
        for field in right.fields:
            fields[field.name] = _common(fields.get(field.name), field.type)
        return struct([Field(name, type_ or STRING) for name, type_ in fields.items()])
    if kinds & {"ARRAY", "STRUCT"}:
        raise invalid(
            f"Error while reading data, error message: JSON table has both {left} and {right} in one field"
        )
    return STRING


def of_cells(rows: Sequence[Sequence[tuple[str, bool]]], *, skipped: int) -> tuple[list[Field], int]:
    """Guess the schema of CSV records, and how many of them are a head (none when one was skipped already)."""
    if not rows:
        raise invalid(
            "Error while reading data, error message: the CSV file is empty, no schema can be detected"
        )
    width = max(len(row) for row in rows)
    body = list(rows[1:])
    types = [_column_type(body, place) for place in range(width)]
    first = [_text_type(text, numbers=True) for text, _ in rows[0]]
    is_head = (
        not skipped
        and len(rows[0]) == width
        and all(t == STRING for t in first)
        and any(t != STRING for t in types)
    )
    if is_head:
        return [Field(n, t) for n, t in zip(header(rows[0]), types, strict=True)], 1
    types = [_column_type(rows, place) for place in range(width)]
    return [Field(f"{_WORDS.get(t.kind, t.kind.lower())}_field_{i}", t) for i, t in enumerate(types)], 0


_WORDS = {"INT64": "int64", "FLOAT64": "double"}


def _column_type(rows: Iterable[Sequence[tuple[str, bool]]], place: int) -> Type:
    found: Type | None = None
    for row in rows:
        if place < len(row) and row[place][0]:
            found = _common(found, _text_type(row[place][0], numbers=True))
    return found or STRING
