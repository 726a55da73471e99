"""Reading parsed JSON as GoogleSQL reads it: what ``JSON_VALUE`` and ``SAFE.PARSE_JSON`` say of the same document."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

NOTHING = object()
"""No JSON at all, which ``null`` is not."""
MAX_DEPTH = 500
"""Levels that a JSON value may have. Source: the limitations of BigQuery's JSON type."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape for half of a character, a surrogate. Alone it is no text, and no JSON to BigQuery."""


def parsed(text: str | None) -> Any:
    """Return what *text* says as JSON; :data:`NOTHING` when it is none."""
    text = text or ""
    try:
        value = json.loads(
            text,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_rounded,
            object_pairs_hook=_first_wins,
        )
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # fails unless every half has its other half
    except (ValueError, RecursionError):
        return NOTHING
    return NOTHING if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value) else value


def at(value: Any, *path: str | int) -> Any:
    """Follow members and places; ``None`` where there is nothing."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def scalar(document: Any, *path: str | int) -> str | None:
    """Return a scalar as text, as ``JSON_VALUE`` does; ``None`` for anything else."""
    found = at(document, *path)
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, (str, int, float)) else None


def integer(text: str | None) -> int | None:
    """Return the whole number that *text* is."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _first_wins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Of members with one name BigQuery keeps the first."""
    return dict(reversed(pairs))


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        nested = [
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))
        ]
        level = [one for members in nested for one in members]
    return any(isinstance(one, (dict, list)) for one in level)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _rounded(digits: str) -> int | float:
    """BigQuery keeps whole numbers of 64 bits, with a sign or without; wider ones become doubles."""
    try:
        number = int(digits)
    except ValueError:  # thousands of digits
        return _finite(digits)
    return number if -(2**63) <= number < 2**64 else _finite(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return number
