"""JSON text as BigQuery's JSON type writes it: keys sorted, first duplicate kept, numbers in one spelling.

A JSON column holds this text, so that reading a value back costs nothing and two spellings of one value are one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import orjson

# Digits become 0: what a double may not hold exactly then shows as an exponent or as a long run.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS = b"0" * 15
_MAX_UINT64 = 2**64 - 1
_MIN_INT64 = -(2**63)
MAX_DEPTH = 500
"""Levels that a JSON value may have. Source: the limitations of BigQuery's JSON type."""
_LEVELS = 200
"""Levels that are written at once: orjson writes no more than 254."""


def float_text(value: float) -> str:
    """Spell a finite float as BigQuery's JSON does: the shortest digits, an exponent from 1e15 and below 1e-4."""
    if value == 0:
        return "-0.0" if str(value).startswith("-") else "0.0"
    mantissa, _, exponent = f"{value!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    point = len(whole) + int(exponent or 0) - leading
    digits = digits.rstrip("0") or "0"
    if -4 < point <= 15:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        padded = digits.ljust(point, "0")
        return f"{sign}{padded[:point]}.{padded[point:] or '0'}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+03d}"


def _exact_float(text: str) -> orjson.Fragment:
    value = float(text)
    if math.isfinite(value):
        for spelled in (float_text(value), f"{value:.17g}"):
            if _significant(spelled) == _significant(text):
                return orjson.Fragment(spelled)
    raise ValueError(f"Input number: {text} cannot round-trip through string representation")


def _rounded_float(text: str) -> orjson.Fragment:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"Input number: {text} cannot be represented as a double")
    return orjson.Fragment(float_text(value))


def _significant(text: str) -> tuple[str, int]:
    """Reduce a decimal number to its digits and their place, so that spellings of one number are equal."""
    mantissa, _, exponent = text.lower().lstrip("-+").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits.rstrip("0"):
        return "", 0
    return digits.rstrip("0"), len(digits) - len(fraction) + int(exponent or 0)


def _integer(text: str, *, exact: bool) -> object:
    value = int(text)
    if _MIN_INT64 <= value <= _MAX_UINT64:
        return value
    return _exact_float(text) if exact else _rounded_float(text)


def _refuse_constant(text: str) -> object:
    raise ValueError(f"syntax error while parsing value - invalid literal; last read: '{text}'")


def _first_wins(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for key, value in pairs:
        kept.setdefault(key, value)
    return kept


def _carefully(text: str, *, exact: bool) -> bytes:
    value = json.loads(
        text,
        parse_float=_exact_float if exact else _rounded_float,
        parse_int=lambda digits: _integer(digits, exact=exact),
        parse_constant=_refuse_constant,
        object_pairs_hook=_first_wins,
    )
    return _written(value)


def _written(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return orjson.dumps(_folded(value, _LEVELS), option=orjson.OPT_SORT_KEYS)


def _folded(value: object, levels: int) -> object:
    """Write what lies deeper first, to be put in as it is."""
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return orjson.Fragment(_written(value))
    if isinstance(value, dict):
        return {key: _folded(item, levels - 1) for key, item in value.items()}
    return [_folded(item, levels - 1) for item in value]


def _check_depth(value: object, brackets: int) -> None:
    """Raise for a value of too many levels; one with fewer *brackets* needs no look."""
    level, left = [value], MAX_DEPTH if brackets > MAX_DEPTH else 0
    while left and level:
        nested = [
            part.values() if isinstance(part, dict) else part
            for part in level
            if isinstance(part, dict | list)
        ]
        level, left = [item for items in nested for item in items], left - 1
    if brackets > MAX_DEPTH and any(isinstance(part, dict | list) for part in level):
        raise ValueError(f"the value has more than {MAX_DEPTH} levels")


def _may_be_inexact(text: str) -> bool:
    digits = text.encode().translate(_DIGITS)
    return _MANY_DIGITS in digits or b"0e" in digits


def _has_unusual_float(value: object) -> bool:
    """Look for a float that the fast path spells otherwise than BigQuery: one that takes an exponent."""
    todo: list[object] = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)
        elif isinstance(part, float) and (part >= 1e15 or part <= -1e15 or -1e-4 < part < 1e-4) and part != 0:
            return True
    return False


def canonical(text: str, *, exact: bool = True) -> str:
    """Return the text BigQuery would keep for this JSON; ValueError when it is not JSON.

    `exact` refuses a number that a double cannot hold; otherwise such a number is rounded.
    """
    value = orjson.loads(text)
    _check_depth(value, text.count("[") + text.count("{"))
    fast = _written(value)
    # A dropped duplicate key takes its quotes with it, so equal counts mean that no key was dropped.
    dropped = fast.count(b'"') != text.count('"')
    if dropped or _has_unusual_float(value) or (exact and _may_be_inexact(text)):
        fast = _carefully(text, exact=exact)
    return fast.decode()


def of_value(value: object) -> str:
    """Return the canonical text of a value that a JSON parser made; ValueError when it has too many levels."""
    text = _written(value)
    _check_depth(value, text.count(b"[") + text.count(b"{"))
    return (_carefully(text.decode(), exact=False) if _has_unusual_float(value) else text).decode()


class _RawNumber(float):
    """A number that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> _RawNumber:
        number = super().__new__(cls, text)
        number.text = text
        return number


def lookup(text: str, path: str, *, scalar: bool) -> str | None:
    """Follow a path (steps as a JSON list) in JSON kept as a STRING, as JSON_VALUE and JSON_QUERY do.

    Text that is not JSON and a JSON null both give None; a number keeps its own spelling.
    """
    steps = orjson.loads(path)
    try:
        value = _follow(orjson.loads(text), steps)
        if isinstance(value, float | dict | list):
            value = _follow(json.loads(text, parse_float=_RawNumber, object_pairs_hook=_first_wins), steps)
    except ValueError:
        return None
    if value is None or (scalar and isinstance(value, dict | list)):
        return None
    if scalar and isinstance(value, str):
        return value
    return _raw_text(value)


def elements(text: str, path: str, *, scalar: bool) -> list[str | None] | None:
    """Split the array at a path of JSON kept as a STRING, as JSON_VALUE_ARRAY and JSON_QUERY_ARRAY do."""
    try:
        value = _follow(
            json.loads(text, parse_float=_RawNumber, object_pairs_hook=_first_wins), orjson.loads(path)
        )
    except ValueError:
        return None
    if not isinstance(value, list):
        return None
    if not scalar:
        return [_raw_text(item) for item in value]
    if any(isinstance(item, dict | list) for item in value):
        return None
    return [item if isinstance(item, str) else None if item is None else _raw_text(item) for item in value]


def _follow(value: object, steps: Sequence[str | int]) -> object:
    for step in steps:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return None
            value = value[step]
        else:
            if not isinstance(value, list) or step >= len(value):
                return None
            value = value[step]
    return value


def _raw_text(value: object) -> str:
    if isinstance(value, _RawNumber):
        return value.text
    if isinstance(value, dict):
        pairs = (f"{orjson.dumps(key).decode()}:{_raw_text(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_raw_text(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
