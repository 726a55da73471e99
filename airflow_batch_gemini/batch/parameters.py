"""Query parameters: their types, guessed or said, and their values as the REST API spells them.

A value never becomes part of a statement, and no message shows one. What Jinja renders is text, so a type that is said
also reads text: ``{"value": "{{ params.n }}", "type": "INT64"}``.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_batch_gemini.exceptions import ConfigurationError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ARRAY = re.compile(r"ARRAY\s*<\s*(\w+)\s*>")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A named parameter whose value fits its type."""

    name: str
    type: str
    """GoogleSQL's word; of the elements, where it is an array."""
    value: str | tuple[str, ...] | None
    """As the REST API spells it; a tuple is an array."""

    def to_rest(self) -> dict[str, Any]:
        """Return the ``QueryParameter`` of the REST API."""
        if isinstance(self.value, tuple):
            kind: dict[str, Any] = {"type": "ARRAY", "arrayType": {"type": self.type}}
            return {
                "name": self.name,
                "parameterType": kind,
                "parameterValue": {"arrayValues": [{"value": one} for one in self.value]},
            }
        return {
            "name": self.name,
            "parameterType": {"type": self.type},
            "parameterValue": {"value": self.value},
        }


def query_parameters(given: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Return the parameters that *given* means: by name a value, or ``{"value": …, "type": …}``.

    Types are guessed from text, numbers, booleans, dates, times, bytes and lists of one of these. NULL, an empty list
    and values that are text only because they were rendered need the type said: ``"DATE"``, ``"ARRAY<STRING>"``.

    :raises ConfigurationError: naming the parameter and its type, never its value.
    """
    return tuple(_parameter(name, value) for name, value in given.items())


def job_parameters(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a query job's configuration has to say for *given*; nothing for no parameters."""
    if not given:
        return {}
    return {
        "parameterMode": "NAMED",
        "queryParameters": [one.to_rest() for one in query_parameters(given)],
    }


def _parameter(name: object, value: Any) -> Parameter:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "The name of a query parameter is letters, digits and underscores. Nothing was sent; correct parameters=."
        )
    if isinstance(value, Mapping):
        if set(value) != {"value", "type"} or not isinstance(value["type"], str):
            raise _refused(name, 'an object is {"value": …, "type": "INT64"} and nothing else')
        return _said(name, value["type"].strip().upper(), value["value"])
    if isinstance(value, (list, tuple)):
        return _array(name, _common_type(name, value), value)
    kind = _guessed(value)
    if kind is None:
        raise _refused(
            name, f'a value of type {type(value).__name__} has no type here: say {{"value": …, "type": …}}'
        )
    return Parameter(name=name, type=kind, value=_text(name, kind, value))


def _said(name: str, kind: str, value: Any) -> Parameter:
    if array := _ARRAY.fullmatch(kind):
        _check_type(name, array[1])
        return _array(name, array[1], _listed(name, value))
    _check_type(name, kind)
    return Parameter(name=name, type=kind, value=None if value is None else _text(name, kind, value))


def _check_type(name: str, kind: str) -> None:
    if kind not in _READERS:
        raise _refused(name, f"its type is none of {', '.join(_READERS)}, or ARRAY<…> of one")


def _array(name: str, kind: str, values: Sequence[Any]) -> Parameter:
    if any(one is None for one in values):
        raise _refused(name, "a list holds no NULL")
    return Parameter(name=name, type=kind, value=tuple(_text(name, kind, one) for one in values))


def _listed(name: str, value: Any) -> Sequence[Any]:
    """Read a list, also one that was rendered with ``| tojson``."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise _refused(name, "its text is no JSON list: render it with | tojson") from None
    if isinstance(value, (list, tuple)):
        return value
    raise _refused(name, f"a value of type {type(value).__name__} is no list")


def _common_type(name: str, values: Sequence[Any]) -> str:
    kinds = {_guessed(one) for one in values if one is not None}
    if kinds == {"INT64", "FLOAT64"}:
        return "FLOAT64"
    if kinds == {"NUMERIC", "BIGNUMERIC"}:
        return "BIGNUMERIC"
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise _refused(
            name, 'the type of its elements is not plain: say {"value": …, "type": "ARRAY<STRING>"}'
        )
    return kind


def _guessed(value: object) -> str | None:
    if isinstance(value, Decimal):
        return "NUMERIC" if _is_numeric(value) else "BIGNUMERIC"
    if isinstance(value, dt.datetime):
        return "TIMESTAMP" if value.tzinfo else "DATETIME"
    return next((kind for python, kind in _GUESSES if isinstance(value, python)), None)


_GUESSES: tuple[tuple[type, str], ...] = (
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (str, "STRING"),
    (bytes, "BYTES"),
    (dt.date, "DATE"),
    (dt.time, "TIME"),
)


def _is_numeric(value: Decimal, *, before: int = 29, after: int = 9) -> bool:
    """Whether NUMERIC holds *value*: so many digits *before* the point and *after* it."""
    digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -after and len(digits) + exponent <= before


def _text(name: str, kind: str, value: Any) -> str:
    try:
        return _READERS[kind](value)
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        raise _refused(name, f"its value, of type {type(value).__name__}, is no {kind}") from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half a character is none
    return value


def _int64(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError
    if not -(2**63) <= (number := int(value)) < 2**63:
        raise ValueError
    return str(number)


def _float64(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    return repr(float(value))


def _decimal(*, numeric: bool) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
            raise TypeError
        number = Decimal(value)
        if not (_is_numeric(number) if numeric else _is_numeric(number, before=38, after=38)):
            raise ValueError
        return f"{number:f}"

    return read


def _bool(value: Any) -> str:
    text = value.strip().lower() if isinstance(value, str) else str(value).lower()
    if not isinstance(value, (bool, str)) or text not in {"true", "false"}:
        raise ValueError
    return text


def _bytes(value: Any) -> str:
    if not isinstance(value, bytes):
        raise TypeError
    return base64.b64encode(value).decode()


def _date(value: Any) -> str:
    found = dt.date.fromisoformat(value.strip()) if isinstance(value, str) else value
    if isinstance(found, dt.datetime) or not isinstance(found, dt.date):
        raise TypeError
    return found.isoformat()


def _time(value: Any) -> str:
    found = dt.time.fromisoformat(value.strip()) if isinstance(value, str) else value
    if not isinstance(found, dt.time) or found.tzinfo:
        raise TypeError
    return found.isoformat()


def _moment(*, zone: bool) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        found = dt.datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if not isinstance(found, dt.datetime) or (found.tzinfo is not None) is not zone:
            raise TypeError
        return (found.astimezone(dt.UTC) if zone else found).isoformat(" ")

    return read


def _json(value: Any) -> str:
    if isinstance(value, str):
        json.loads(value, parse_constant=_no_constant)
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _no_constant(_: str) -> None:
    raise ValueError


_READERS: Mapping[str, Callable[[Any], str]] = {
    "STRING": _string,
    "INT64": _int64,
    "FLOAT64": _float64,
    "BOOL": _bool,
    "NUMERIC": _decimal(numeric=True),
    "BIGNUMERIC": _decimal(numeric=False),
    "BYTES": _bytes,
    "DATE": _date,
    "TIME": _time,
    "DATETIME": _moment(zone=False),
    "TIMESTAMP": _moment(zone=True),
    "JSON": _json,
}


def _refused(name: str, fact: str) -> ConfigurationError:
    return ConfigurationError(f"Query parameter {name!r}: {fact}. Nothing was sent; correct parameters=.")
