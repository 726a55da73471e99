"""Changing a JSON value at one place, as JSON_SET and JSON_ARRAY_APPEND do.

Source: GoogleSQL reference, "JSON functions".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from .jsontext import of_value

_NOTHING = object()


def replaced(text: str, path: str, value: str) -> str:
    """Return the JSON *text* with *value* at a path (steps as a JSON list), which is made where it is missing."""
    new = orjson.loads(value)
    return of_value(_changed(orjson.loads(text), orjson.loads(path), lambda _: new))


def appended(text: str, path: str, value: str) -> str:
    """Return the JSON *text* with *value* at the end of the array at a path; unchanged where there is no array."""
    new = orjson.loads(value)

    def longer(found: object) -> object:
        return [*found, new] if isinstance(found, list) else [new] if found is None else found

    whole, steps = orjson.loads(text), orjson.loads(path)
    return of_value(_changed(whole, steps, longer) if _there(whole, steps) else whole)


def _there(value: Any, steps: Sequence[str | int]) -> bool:
    for step in steps:
        value = _member(value, step)
        if value is _NOTHING:
            return False
    return True


def _member(value: Any, step: str | int) -> Any:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step, _NOTHING)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _NOTHING


def _changed(value: Any, steps: Sequence[str | int], change: Callable[[Any], Any]) -> Any:
    """Follow *steps*; a null on the way becomes what the step needs, anything else of the wrong kind stays."""
    if not steps:
        return change(None if value is _NOTHING else value)
    step, left = steps[0], steps[1:]
    missing = value is _NOTHING or value is None
    if isinstance(step, str):
        if not (missing or isinstance(value, dict)):
            return value
        members = {} if missing else dict(value)
        members[step] = _changed(members.get(step, _NOTHING), left, change)
        return members
    if not (missing or isinstance(value, list)):
        return value
    items = [] if missing else list(value)
    items += [_NOTHING] * (step + 1 - len(items))
    items[step] = _changed(items[step], left, change)
    return [None if item is _NOTHING else item for item in items]
