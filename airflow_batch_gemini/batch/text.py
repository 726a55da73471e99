"""How a value is written as text: once, so that Python and BigQuery put the same characters into a prompt.

The rule is GoogleSQL's ``CAST(value AS STRING)`` for scalars and ``TO_JSON_STRING`` for arrays and structs
(GoogleSQL reference, "Conversion functions" and "JSON encodings"). Columns of type JSON come as what they hold; inside
them BigQuery keeps ``1.0`` where a FLOAT64 is written ``1``.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

_SAFE_INTEGER = 2**53
_LINE_SEPARATORS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})


class NoTextError(ValueError):
    """A value has no text: its type is none of BigQuery's, its bytes are not UTF-8, or it is beyond all bounds."""


def text_of(value: Any) -> str:
    """Return the text of *value* as it stands in a prompt or a key.

    :raises NoTextError: for a type that has none; the message names the type only.
    """
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, (Mapping, list, tuple)):
            return json_text(value)
        if isinstance(value, bytes):
            return _decoded(value)
        if isinstance(value, dt.datetime):
            return _moment(value, " ", "+00")
        return _scalar_text(value)
    except NoTextError:
        raise
    except (ValueError, OverflowError, RecursionError):  # Python's own limits, in words that name no row
        raise NoTextError(
            f"a value of type {type(value).__name__} that is too long, too deep or out of range has no text"
        ) from None


def key_text(value: Any) -> str:
    """Return the text of *value* as a key: of a number only where no other number has the same one.

    A JSON reader rounds a whole number beyond 64 bits to a double; the row would come back under another key.

    :raises NoTextError: also for a double beyond 2^53.
    """
    if isinstance(value, float) and abs(value) > _SAFE_INTEGER:
        raise NoTextError("a number so large is rounded where it is read; as a key it has to be a text")
    return text_of(value)


def json_text(value: Any) -> str:
    """Return compact JSON of *value* as ``TO_JSON_STRING`` writes it.

    Integers beyond 2^53 and decimals with a fraction are strings, so that no reader rounds them.
    """
    if isinstance(value, Mapping):
        members = (f"{_quoted(_name(key))}:{json_text(member)}" for key, member in value.items())
        return f"{{{','.join(members)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(json_text, value))}]"
    if value is None:
        return "null"
    if isinstance(value, (str, bytes)):
        return _quoted(value if isinstance(value, str) else base64.b64encode(value).decode())
    if isinstance(value, dt.datetime):
        return _quoted(_moment(value, "T", "Z"))
    text = _scalar_text(value)
    return text if _is_bare(value) else _quoted(_NOT_FINITE.get(text, text))


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _scalar_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Decimal):
        return _decimal_text(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dt.time):
        return value.replace(microsecond=0, tzinfo=None).isoformat() + _fraction(value.microsecond)
    raise NoTextError(f"a value of type {type(value).__name__} has no text")


def _is_bare(value: Any) -> bool:
    """Whether JSON writes *value* without quotes: nothing a reader would round."""
    if isinstance(value, (bool, float)):
        return isinstance(value, bool) or math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= _SAFE_INTEGER
    return isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) <= _SAFE_INTEGER


def _float_text(value: float) -> str:
    short = f"{value + 0.0 if value else 0.0:.15g}"
    return short if float(short) == value or math.isnan(value) else f"{value:.17g}"


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise NoTextError("a decimal that is not finite has no text")
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def _moment(value: dt.datetime, between: str, zone: str) -> str:
    """A time with a zone is a TIMESTAMP and written in UTC; one without is a DATETIME."""
    moment = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
    whole = moment.isoformat(between, timespec="seconds")
    return whole + _fraction(moment.microsecond) + (zone if value.tzinfo else "")


def _fraction(microseconds: int) -> str:
    if not microseconds:
        return ""
    return f".{microseconds // 1000:03d}" if microseconds % 1000 == 0 else f".{microseconds:06d}"


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise NoTextError("bytes that are not UTF-8 have no text") from None


def _name(key: object) -> str:
    if isinstance(key, str):
        return key
    raise NoTextError(f"an object whose member name is of type {type(key).__name__} has no text")


def _quoted(text: str) -> str:
    try:
        return orjson.dumps(text).decode().translate(_LINE_SEPARATORS)
    except TypeError:
        raise NoTextError("text with a lone surrogate is not Unicode") from None
