"""Values on their way in: what JSON and CSV files hold, made to fit a column."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from . import jsontext
from .datatypes import Field, Type

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_INT64 = 2**63
_STAMP = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,9}))?)?"
    r"\s*(Z|z|UTC|[+-]\d{1,2}(?::?\d{2})?)?"
)
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})


class BadValueError(ValueError):
    """A value that does not fit its column."""


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise BadValueError("it is no string")


def _int64(value: Any) -> int:
    if isinstance(value, bool):
        raise BadValueError("it is no integer")
    try:
        number = (
            int(value) if isinstance(value, int | str) else int(value) if float(value).is_integer() else None
        )
    except (TypeError, ValueError):
        number = None
    if number is None or not -_MAX_INT64 <= number < _MAX_INT64:
        raise BadValueError("it is no integer")
    return number


def _float64(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadValueError("it is no number")
    try:
        return float(value)
    except ValueError:
        raise BadValueError("it is no number") from None


def _numeric(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadValueError("it is no number")
    try:
        number = Decimal(str(value).strip())
        rounded = number.quantize(Decimal("1e-9"))
    except InvalidOperation:
        raise BadValueError("it is no NUMERIC") from None
    if abs(rounded) >= Decimal(10) ** 29 or rounded != number:
        raise BadValueError("it is no NUMERIC")
    return rounded


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise BadValueError("it is no boolean")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_string(value), validate=True)
    except (binascii.Error, BadValueError):
        raise BadValueError("it is no base64") from None


def _date(value: Any) -> date:
    found = re.fullmatch(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})\s*", value) if isinstance(value, str) else None
    try:
        if found is not None:
            return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        pass
    raise BadValueError("it is no date")


def _time(value: Any) -> time:
    found = (
        re.fullmatch(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,6}))?", value)
        if isinstance(value, str)
        else None
    )
    try:
        if found is not None:
            micros = int((found[4] or "0").ljust(6, "0"))
            return time(int(found[1]), int(found[2]), int(found[3]), micros)
    except ValueError:
        pass
    raise BadValueError("it is no time")


def _stamp(value: Any) -> tuple[datetime, str]:
    found = _STAMP.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise BadValueError("it is no point in time")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError:
        raise BadValueError("it is no point in time") from None
    return moment + timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0"))), zone or ""


def _datetime(value: Any) -> datetime:
    moment, zone = _stamp(value)
    if zone:
        raise BadValueError("a DATETIME has no time zone")
    return moment.replace(tzinfo=None)


def _timestamp(value: Any) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _EPOCH + timedelta(seconds=value)
        except OverflowError:
            raise BadValueError("it is no point in time") from None
    moment, zone = _stamp(value)
    if zone in {"", "Z", "z", "UTC"}:
        return moment
    digits = zone[1:].replace(":", "")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return moment + ahead if zone[0] == "-" else moment - ahead


def _json(value: Any) -> str:
    try:
        return jsontext.of_value(value)
    except ValueError as error:
        raise BadValueError(f"it cannot be kept as JSON: {error}") from None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "STRING": _string, "INT64": _int64, "FLOAT64": _float64, "NUMERIC": _numeric, "BOOL": _bool, "BYTES": _bytes,
    "DATE": _date, "TIME": _time, "DATETIME": _datetime, "TIMESTAMP": _timestamp, "JSON": _json,
}  # fmt: skip


def _json_text(value: Any) -> str:
    if not isinstance(value, str):
        return _json(value)
    try:
        return jsontext.canonical(value, exact=False)
    except ValueError as error:
        raise BadValueError(f"it is no JSON: {error}") from None


def reader(type_: Type, *, ignore_unknown: bool, json_as_text: bool = False) -> Callable[[Any], Any]:
    """Return the function that reads a value of this type out of parsed JSON.

    `json_as_text` takes a string for a JSON column as JSON text, not as a JSON string.
    """
    if type_.kind == "ARRAY":
        item = reader(type_.item, ignore_unknown=ignore_unknown, json_as_text=json_as_text)
        return _array_reader(item, is_json=type_.item.kind == "JSON")
    if type_.kind == "STRUCT":
        record = RecordReader(type_.fields, ignore_unknown=ignore_unknown, json_as_text=json_as_text)
        return lambda value: dict(zip(record.names, record.read(value), strict=True))
    if type_.kind == "JSON" and json_as_text:
        return _json_text
    return _READERS[type_.kind]


def _array_reader(item: Callable[[Any], Any], *, is_json: bool) -> Callable[[Any], Any]:
    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise BadValueError("it is no array")
        if not is_json and any(part is None for part in value):
            raise BadValueError("only optional fields can be set to NULL")
        return [item(part) for part in value]

    return read


class RecordReader:
    """Reads JSON objects as rows of one schema, or as one STRUCT."""

    def __init__(
        self, fields: Sequence[Field], *, ignore_unknown: bool = False, json_as_text: bool = False
    ) -> None:
        self.names = [field.name for field in fields]
        self._fields = fields
        self._readers = [
            reader(field.type, ignore_unknown=ignore_unknown, json_as_text=json_as_text) for field in fields
        ]
        self._places = {name: place for place, name in enumerate(self.names)}
        self._lowered = {name.lower(): place for place, name in enumerate(self.names)}
        self._ignore_unknown = ignore_unknown
        self._empty: list[Any] = [[] if field.type.kind == "ARRAY" else None for field in fields]
        self._required = [place for place, field in enumerate(fields) if field.required]

    def read(self, value: Any) -> list[Any]:
        """Return one value per field; raises BadValueError naming the field."""
        if not isinstance(value, dict):
            raise BadValueError("it is no object")
        row = list(self._empty)
        for key, part in value.items():
            place = self._places.get(key)
            if place is None:
                place = self._lowered.get(key.lower())
            if place is None:
                if not self._ignore_unknown:
                    raise BadValueError(f"No such field: {key}.")
                continue
            if part is None:
                continue
            try:
                row[place] = self._readers[place](part)
            except BadValueError as error:
                raise BadValueError(
                    f"Could not convert value to {self._fields[place].type}. Field: {key}; {error}"
                ) from None
        for place in self._required:
            if row[place] is None:
                raise BadValueError(f"Missing required field: {self.names[place]}.")
        return row


def cell_reader(type_: Type) -> Callable[[str], Any]:
    """Return the function that reads a CSV cell."""
    if type_.kind == "JSON":
        return lambda text: jsontext.canonical(text, exact=False)
    if type_.kind in {"ARRAY", "STRUCT"}:
        raise BadValueError(f"CSV cannot hold a {type_.kind}")
    return _READERS[type_.kind]
