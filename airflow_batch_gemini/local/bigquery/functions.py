"""The few functions that need Python: exact JSON, date formats, FARM_FINGERPRINT. All are pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Literal

from . import dateformat, farm, jsonchange, jsontext, largejson


def _parse_json(text: str) -> str:
    return _parsed(text, exact=True)


def _parse_json_rounded(text: str) -> str:
    return _parsed(text, exact=False)


def _parsed(text: str, *, exact: bool) -> str:
    try:
        return jsontext.canonical(text, exact=exact)
    except ValueError as error:
        raise ValueError(f"Invalid input to PARSE_JSON: {error}") from error


def _parse_json_or_null(text: str) -> str | None:
    try:
        return jsontext.canonical(text)
    except ValueError:
        return None


def _parse_json_rounded_or_null(text: str) -> str | None:
    try:
        return jsontext.canonical(text, exact=False)
    except ValueError:
        return None


def _text_value(text: str, path: str) -> str | None:
    return jsontext.lookup(text, path, scalar=True)


def _text_query(text: str, path: str) -> str | None:
    return jsontext.lookup(text, path, scalar=False)


def _text_values(text: str, path: str) -> list[str | None] | None:
    return jsontext.elements(text, path, scalar=True)


def _text_queries(text: str, path: str) -> list[str | None] | None:
    return jsontext.elements(text, path, scalar=False)


def _normalize(text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> str:
    return unicodedata.normalize(form, text)


def _upper(text: str) -> str:
    return text.upper()


def _lower(text: str) -> str:
    return text.lower()


_FUNCTIONS: tuple[tuple[str, Callable[..., object], Sequence[str], str], ...] = (
    ("bq_parse_json", _parse_json, ["VARCHAR"], "VARCHAR"),
    ("bq_parse_json_rounded", _parse_json_rounded, ["VARCHAR"], "VARCHAR"),
    ("bq_parse_json_or_null", _parse_json_or_null, ["VARCHAR"], "VARCHAR"),
    ("bq_parse_json_rounded_or_null", _parse_json_rounded_or_null, ["VARCHAR"], "VARCHAR"),
    ("bq_float_spelled", jsontext.float_text, ["DOUBLE"], "VARCHAR"),
    ("bq_text_json_value", _text_value, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_text_json_query", _text_query, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_text_json_values", _text_values, ["VARCHAR", "VARCHAR"], "VARCHAR[]"),
    ("bq_text_json_queries", _text_queries, ["VARCHAR", "VARCHAR"], "VARCHAR[]"),
    ("bq_large_json_value", largejson.value_at, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_large_json_text", largejson.text_at, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_large_json_items", largejson.items_at, ["VARCHAR", "VARCHAR"], "VARCHAR[]"),
    ("bq_large_json_type", largejson.type_at, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_json_set", jsonchange.replaced, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_json_array_append", jsonchange.appended, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_parse_timestamp", dateformat.parse, ["VARCHAR", "VARCHAR"], "BIGINT"),
    ("bq_farm_fingerprint", farm.fingerprint, ["BLOB"], "BIGINT"),
    ("bq_normalize", _normalize, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_unicode_upper", _upper, ["VARCHAR"], "VARCHAR"),
    ("bq_unicode_lower", _lower, ["VARCHAR"], "VARCHAR"),
    ("bq_numeric_divide", dateformat.numeric_divide, ["DECIMAL(38,9)", "DECIMAL(38,9)"], "DECIMAL(38,9)"),
)


def register(connection: Any) -> None:
    """Make the functions known to a database; every cursor of it sees them."""
    for name, function, parameters, result in _FUNCTIONS:
        connection.create_function(
            name, _null_safe(function), list(parameters), result, null_handling="special"
        )


def _null_safe(function: Callable[..., object]) -> Callable[..., object]:
    """Give NULL for NULL, as every one of these functions does in BigQuery."""
    if function in _ONE_ARGUMENT:
        return lambda value: None if value is None else function(value)
    if function in _THREE_ARGUMENTS:
        return lambda one, two, three: None if None in (one, two, three) else function(one, two, three)
    return lambda first, second: None if first is None or second is None else function(first, second)


_ONE_ARGUMENT = frozenset(function for _, function, parameters, _ in _FUNCTIONS if len(parameters) == 1)
_THREE_ARGUMENTS = frozenset(function for _, function, parameters, _ in _FUNCTIONS if len(parameters) == 3)
