"""Whether an answer fits the columns that its schema promises, and what stands in them then.

The rule runs as SQL (``sql/typed.py``); this is the same rule in Python, the reference that the SQL is tested against.
It is about types: lengths, ranges and patterns are the model's business. Nothing is coerced: ``"3"`` is no number. A
property that may be left out may also be ``null``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from airflow_batch_gemini.batch.columns import Field, Kind, Typed

DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
MOMENT = (
    f"{DATE}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{{1,9}})?"
    "(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)
"""RFC 3339; without a zone it is UTC. What is finer than a microsecond is cut off."""

NAMES = {
    Kind.STRING: "STRING",
    Kind.INT64: "INTEGER",
    Kind.FLOAT64: "NUMBER",
    Kind.BOOL: "BOOLEAN",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.STRUCT: "OBJECT",
    Kind.ARRAY: "ARRAY",
}
"""How a reason calls what a value is not: ``NOT_INTEGER``."""
_INT64 = 2**63
_NOTHING = object()


def misfit(answer: Any, columns: Typed) -> tuple[str, str] | None:
    """Return why *answer* does not fit and the JSON path of the first value that does not; ``None`` when all do."""
    found = _alone(answer, columns.fields, "$") if columns.alone else _members(answer, columns.fields, "$")
    return next(found, None)


def values(answer: Any, columns: Typed) -> dict[str, Any]:
    """Return what stands in the columns for an *answer* that fits; BigQuery's empty list is its NULL list."""
    if columns.alone:
        return {one.name: _value(answer, one) for one in columns.fields}
    return {one.name: _value(answer.get(one.member), one) for one in columns.fields}


def no_values(columns: Typed) -> dict[str, Any]:
    """Return what stands in the columns of a row whose answer is none by the schema."""
    return {one.name: _value(None, one) for one in columns.fields}


def _alone(answer: Any, fields: tuple[Field, ...], path: str) -> Iterator[tuple[str, str]]:
    for one in fields:
        yield from _misfits(answer, one, path)


def _members(answer: Any, fields: tuple[Field, ...], path: str) -> Iterator[tuple[str, str]]:
    for one in fields:
        value, where = answer.get(one.member, _NOTHING), path + one.step
        if value is _NOTHING or value is None:
            if one.required and not (one.nullable and value is None):
                yield "REQUIRED", where
        else:
            yield from _misfits(value, one, where)


def _misfits(value: Any, field: Field, path: str) -> Iterator[tuple[str, str]]:
    if not _is(value, field.kind):
        yield f"NOT_{NAMES[field.kind]}", path
    elif field.words and str(_value(value, field)) not in field.words:
        yield "NOT_IN_ENUM", path
    elif field.kind is Kind.STRUCT:
        yield from _members(value, field.fields, path)
    elif field.item is not None:
        for place, one in enumerate(value):
            yield from _misfits(one, field.item, f"{path}[{place}]")


def _is(value: Any, kind: Kind) -> bool:
    match kind:
        case Kind.JSON:
            return True
        case Kind.INT64:
            return _is_number(value) and value == int(value) and -_INT64 <= value < _INT64
        case Kind.FLOAT64:
            return _is_number(value)
        case Kind.BOOL:
            return isinstance(value, bool)
        case Kind.DATE | Kind.TIMESTAMP:
            return isinstance(value, str) and _time(value, kind) is not None
    return isinstance(value, {Kind.STRING: str, Kind.STRUCT: dict, Kind.ARRAY: list}[kind])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _time(text: str, kind: Kind) -> dt.date | None:
    try:
        if kind is Kind.DATE:
            return dt.date.fromisoformat(text) if re.fullmatch(DATE, text) else None
        if not re.fullmatch(MOMENT, text):
            return None
        moment = dt.datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _value(value: Any, field: Field) -> Any:
    if field.item is not None:
        return [_value(one, field.item) for one in value or ()]
    if value is None:
        return None
    if field.kind is Kind.STRUCT:
        return {one.name: _value(value.get(one.member), one) for one in field.fields}
    if field.kind in (Kind.DATE, Kind.TIMESTAMP):
        return _time(value, field.kind)
    return {Kind.INT64: int, Kind.FLOAT64: float}.get(field.kind, lambda same: same)(value)
