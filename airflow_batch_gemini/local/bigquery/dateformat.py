"""Format strings of FORMAT_TIMESTAMP and PARSE_TIMESTAMP and their relatives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import cache

from .datatypes import literal
from .errors import unsupported

_ELEMENT = re.compile(r"%(E[*#\d]?[A-Za-z]|.)", re.DOTALL)
# Elements that DuckDB's strftime spells as BigQuery does.
_NATIVE = frozenset("YmdHMSyjBbAaIpUuwVG")
_EXPANDED = {
    "F": "%Y-%m-%d",
    "T": "%H:%M:%S",
    "R": "%H:%M",
    "D": "%m/%d/%y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "h": "%b",
}
_SPECIAL = {
    "E*S": "strftime({x}, '%S') || rtrim(rtrim(strftime({x}, '.%f'), '0'), '.')",
    "E4Y": "strftime({x}, '%Y')",
    "s": "CAST(CAST(floor(epoch_us({x}) / 1000000) AS BIGINT) AS VARCHAR)",
    "e": "lpad(CAST(day({x}) AS VARCHAR), 2, ' ')",
    "k": "lpad(CAST(hour({x}) AS VARCHAR), 2, ' ')",
    "Q": "CAST(quarter({x}) AS VARCHAR)",
    "C": "left(strftime({x}, '%Y'), 2)",
    "z": "'+0000'",
    "Ez": "'+00:00'",
    "Z": "'UTC'",
    "P": "lower(strftime({x}, '%p'))",
    "n": "chr(10)",
    "t": "chr(9)",
    "%": "'%'",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PATTERNS = {
    "Y": r"(?P<Y>[+-]?\d{1,4})",
    "E4Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "e": r"\s*(?P<d>\d{1,2})",
    "j": r"(?P<j>\d{1,3})",
    "H": r"(?P<H>\d{1,2})",
    "k": r"\s*(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "p": r"(?P<p>[AaPp][Mm])",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "E*S": r"(?P<S>\d{1,2})(?:\.(?P<f>\d+))?",
    "s": r"(?P<s>-?\d+)",
    "z": r"(?P<z>[Zz]|[+-]\d{2}:?\d{2})",
    "Ez": r"(?P<z>[Zz]|[+-]\d{2}:?\d{2})",
    "Z": r"(?P<Z>UTC)",
    "b": r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    "B": r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*",
    "a": r"[a-z]{3}",
    "A": r"[a-z]+day",
    "n": r"\s*",
    "t": r"\s*",
    "%": "%",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _pieces(pattern: str) -> Iterator[tuple[bool, str]]:
    """Split a format into elements (True) and the text between them (False)."""
    place = 0
    for element in _ELEMENT.finditer(pattern):
        if element.start() > place:
            yield False, pattern[place : element.start()]
        if element.group(1) in _EXPANDED:
            yield from _pieces(_EXPANDED[element.group(1)])
        else:
            yield True, element.group(1)
        place = element.end()
    if place < len(pattern):
        yield False, pattern[place:]


def format_sql(pattern: str, value: str) -> str:
    """Translate FORMAT_TIMESTAMP and its relatives for one constant format string."""
    parts: list[str] = []
    for element, text in _pieces(pattern):
        if not element:
            parts.append(literal(text))
        elif text in _NATIVE:
            parts.append(f"strftime({value}, '%{text}')")
        elif text in _SPECIAL:
            parts.append(_SPECIAL[text].format(x=value))
        elif (digits := re.fullmatch(r"E([1-6])S", text)) is not None:
            parts.append(f"left(strftime({value}, '%S.%f'), {3 + int(digits[1])})")
        else:
            raise unsupported(f"the format element %{text}")
    return "(" + " || ".join(parts or ["''"]) + ")"


@cache
def _matcher(pattern: str) -> re.Pattern[str]:
    parts, seen = [], set()
    for element, text in _pieces(pattern):
        if not element:
            parts.append(re.sub(r"(\\\s|\s)+", r"\\s*", re.escape(text)))
            continue
        known = _PATTERNS.get(text) or (_PATTERNS["E*S"] if re.fullmatch(r"E[0-9]S", text) else None)
        if known is None:
            raise unsupported(f"the format element %{text}")
        for name in re.findall(r"\?P<(\w)>", known):
            if name in seen:
                raise unsupported(f"the format element %{text} twice in one format")
            seen.add(name)
        parts.append(known)
    return re.compile(r"\s*" + "".join(parts) + r"\s*", re.IGNORECASE)


def check(pattern: str) -> None:
    """Refuse a format string for parsing before any row is read."""
    _matcher(pattern)


def parse(pattern: str, text: str) -> int:
    """Read a timestamp by a format string; returns microseconds since 1970 in UTC."""
    found = _matcher(pattern).fullmatch(text)
    if found is None:
        raise ValueError(f'Failed to parse input string "{text}"')
    try:
        return _micros(found.groupdict())
    except (ValueError, OverflowError) as error:
        raise ValueError(f'Failed to parse input string "{text}"') from error


def _micros(read: dict[str, str | None]) -> int:
    if read.get("s"):
        return int(read["s"] or 0) * 1_000_000
    moment = datetime(
        _year(read), _month(read), int(read.get("d") or 1), _hour(read), int(read.get("M") or 0), tzinfo=UTC
    )
    if read.get("j"):
        moment = moment.replace(month=1, day=1) + timedelta(days=int(read["j"] or 1) - 1)
    seconds = int(read.get("S") or 0)
    if seconds > 60:
        raise ValueError(seconds)
    fraction = int((read.get("f") or "0")[:6].ljust(6, "0"))
    moment += timedelta(seconds=seconds, microseconds=fraction) - _offset(read.get("z"))
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _year(read: dict[str, str | None]) -> int:
    if read.get("y"):
        short = int(read["y"] or 0)
        return short + (2000 if short < 69 else 1900)
    return int(read.get("Y") or 1970)


def _month(read: dict[str, str | None]) -> int:
    named = read.get("b")
    return _MONTHS.index(named.lower()) + 1 if named else int(read.get("m") or 1)


def _hour(read: dict[str, str | None]) -> int:
    if read.get("I"):
        hour = int(read["I"] or 0)
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        return hour % 12 + (12 if (read.get("p") or "").lower() == "pm" else 0)
    return int(read.get("H") or 0)


def _offset(zone: str | None) -> timedelta:
    if not zone or zone in "Zz":
        return timedelta(0)
    digits = zone[1:].replace(":", "")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -ahead if zone[0] == "-" else ahead


def numeric_divide(left: Decimal, right: Decimal) -> Decimal:
    """Divide two NUMERIC values as BigQuery does: nine places, half away from zero."""
    if right == 0:
        raise ValueError(f"division by zero: {left} / {right}")
    with localcontext() as context:
        context.prec = 60
        return (left / right).quantize(Decimal("1e-9"), rounding=ROUND_HALF_UP)
