"""Looking into a large JSON value: what the engine's own JSON functions say, in the memory of one such value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from .jsontext import of_value

_NOTHING = object()
_WORDS = ((bool, "boolean"), (int | float, "number"), (str, "string"), (dict, "object"), (list, "array"))


def value_at(text: str, path: str) -> str | None:
    """Return the scalar at a path (steps as a JSON list) as text; None for anything else."""
    found = _at(text, path)
    if found is _NOTHING or found is None or isinstance(found, dict | list):
        return None
    return found if isinstance(found, str) else of_value(found)


def text_at(text: str, path: str) -> str | None:
    """Return the canonical text of what is at a path."""
    found = _at(text, path)
    return None if found is _NOTHING else of_value(found)


def items_at(text: str, path: str) -> list[str] | None:
    """Return the canonical texts of the elements of the array at a path."""
    found = _at(text, path)
    return [of_value(item) for item in found] if isinstance(found, list) else None


def type_at(text: str, path: str) -> str | None:
    """Return what kind of value is at a path, in BigQuery's words."""
    found = _at(text, path)
    if found is _NOTHING:
        return None
    return next((word for kind, word in _WORDS if isinstance(found, kind)), "null")


@lru_cache(maxsize=1)
def _parsed(text: str) -> Any:
    """Parse once what a statement looks into in twenty places, one after the other."""
    return orjson.loads(text)


def _at(text: str, path: str) -> object:
    steps: Sequence[str | int] = orjson.loads(path)
    value = _parsed(text)
    for step in steps:
        if isinstance(value, str):
            return _NOTHING
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return value
