"""Answers and the schemas they answer: what the typed columns are judged on."""

from __future__ import annotations

from typing import Any

LINE_ITEM = {
    "type": "OBJECT",
    "properties": {
        "sku": {"type": "STRING"},
        "price": {"type": "NUMBER"},
        "tags": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["new", "used"]}},
    },
    "required": ["sku"],
}
INVOICE: dict[str, Any] = {
    "type": "OBJECT",
    "properties": {
        "text": {"type": "STRING", "description": 'What it\'s "about"'},
        "count": {"type": "INTEGER"},
        "total": {"type": "NUMBER", "nullable": True},
        "paid": {"type": "BOOLEAN"},
        "tone": {"type": "STRING", "enum": ["good", "bad", "it's"]},
        "stars": {"type": "INTEGER", "format": "enum", "enum": ["1", "2", "3"]},
        "day": {"type": "STRING", "format": "date"},
        "moment": {"type": "STRING", "format": "date-time"},
        "order": {
            "type": "OBJECT",
            "properties": {
                "select": {"type": "STRING"},
                "days": {"type": "ARRAY", "items": {"type": "STRING", "format": "date"}},
                "of": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]},
            },
            "required": ["select"],
            "description": "nested",
        },
        "lines": {"type": "ARRAY", "items": LINE_ITEM},
        "either": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
        "matrix": {"type": "ARRAY", "items": {"type": "ARRAY", "items": {"type": "NUMBER"}}},
        "gaps": {"type": "ARRAY", "items": {"type": "INTEGER", "nullable": True}},
        "free": {"type": "OBJECT"},
        "Kept": {"type": "STRING", "nullable": True},
    },
    "required": ["count", "total", "either"],
    "propertyOrdering": ["text", "count", "total"],
}
GOOD: dict[str, Any] = {
    "text": "žluťoučký '\"\\ \n",
    "count": 3,
    "total": 1.5,
    "paid": True,
    "tone": "it's",
    "stars": 2,
    "day": "2026-02-28",
    "moment": "2026-02-28T10:00:00Z",
    "order": {"select": "x", "days": ["2026-01-01", "2026-01-02"], "of": {"n": -1}},
    "lines": [{"sku": "a", "price": 1, "tags": ["new", "used"]}, {"sku": "b"}],
    "either": 5,
    "matrix": [[1, 2], []],
    "gaps": [1, None],
    "free": {"any": {"thing": [None]}},
    "Kept": None,
    "unasked": {"more": 1},
}
LEAST = {"count": 0, "total": None, "either": "x"}


def but(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


_OF_EVERY_TYPE: dict[str, Any] = {
    "null": None, "text": "x", "digits": "3", "empty": "", "zero": 0, "float": 1.5, "whole_float": 2.0, "true": True,
    "list": [1], "no_list": [], "object": {"a": 1}, "big": 2**63, "least": -(2**63), "huge": 10**30, "tiny": 1e-300,
}  # fmt: skip
_TIMES = [
    "2026-02-28T10:00:00", "2026-02-28 10:00:00Z", "2026-02-28T10:00:00.5+02:00", "2026-02-28T10:00:00.123456789Z",
    "2026-02-28T10:00:00-14:00", "2026-02-28T10:00:00+14:00", "2026-02-28T10:00:00+14:30", "2026-02-28T24:00:00Z",
    "2026-02-28T10:00:60Z", "2026-02-28", "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+01:00", "10:00:00",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00", "2026-02-28T10:00Z", "2026-02-28t10:00:00z",
    "0000-01-01T00:00:00Z", "2026-02-28T10:00:00Z\n", " 2026-02-28T10:00:00Z", "2026-2-28T10:00:00Z", "now",
]  # fmt: skip
_DAYS = [
    "2026-2-1",
    "2026-02-30",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "20260228",
    " 2026-02-28",
    "2026-02-28\n",
]

INVOICES: dict[str, Any] = {
    "good": GOOD,
    "least": LEAST,
    **{f"without_{name}": without(name) for name in GOOD},
    **{
        f"{name}_{kind}": but(**{name: value})
        for name in (
            "text",
            "count",
            "total",
            "paid",
            "tone",
            "stars",
            "day",
            "order",
            "lines",
            "either",
            "Kept",
        )
        for kind, value in _OF_EVERY_TYPE.items()
    },
    **{f"moment_{place}": but(moment=text) for place, text in enumerate(_TIMES)},
    **{f"day_{place}": but(day=text) for place, text in enumerate(_DAYS)},
    "nested_required": but(order={"days": []}),
    "nested_type": but(order={"select": 5}),
    "nested_day": but(order={"select": "x", "days": ["2026-01-01", "tomorrow"]}),
    "nested_null_day": but(order={"select": "x", "days": [None]}),
    "nested_null": but(order={"select": "x", "days": None, "of": None}),
    "nested_deeper": but(order={"select": "x", "of": {}}),
    "nested_deepest": but(order={"select": "x", "of": {"n": "1"}}),
    "line_null": but(lines=[{"sku": "a"}, None]),
    "line_text": but(lines=["a"]),
    "line_required": but(lines=[{"sku": "a"}, {"price": 1}]),
    "line_price": but(lines=[{"sku": "a"}, {"sku": "b"}, {"sku": "c", "price": "1"}]),
    "line_tag": but(lines=[{"sku": "a", "tags": ["new"]}, {"sku": "b", "tags": ["new", "broken"]}]),
    "line_tag_null": but(lines=[{"sku": "a", "tags": ["new", None]}]),
    "lines_many": but(lines=[{"sku": str(n), "price": n / 3} for n in range(12)]),
    "two_wrong": but(count="x", lines=[None]),
    "float_digits": but(total=0.1234567890123456789),
    "negative_zero": but(total=-0.0),
    "count_exponent": but(count=1e3),
    "count_beyond": but(count=1e300),
    "hostile": but(text="'); DROP TABLE results; -- {{ x }}"),
}
OF_SCHEMAS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "enum": ({"type": "STRING", "enum": ["good", "bad"]}, ["good", "bad", "ugly", "", "null", 5, None]),
    "day": ({"type": "STRING", "format": "date"}, ["2026-01-01", "soon", 5]),
    "integer": ({"type": "INTEGER"}, [1, 1.0, 1.5, 2**63, "1", None, True]),
    "number": ({"type": "NUMBER"}, [1, 1.5, "1", None]),
    "boolean": ({"type": "BOOLEAN"}, [True, False, 1, "true", None]),
    "list": ({"type": "ARRAY", "items": {"type": "INTEGER"}}, [[], [1, 2], [1, "2"], [None], {}, "x", None]),
    "objects": ({"type": "ARRAY", "items": LINE_ITEM}, [[], [{"sku": "a"}], [{}], [{"sku": "a", "tags": [1]}], {}]),
    "lists": ({"type": "ARRAY", "items": {"type": "ARRAY"}}, [[], [[1]], 1]),
    "free": ({"type": "OBJECT"}, [{}, {"a": 1}, []]),
    **{
        f"{name}_or_none": ({**schema, "nullable": True}, [None, "null", good, []])
        for name, schema, good in [
            ("word", {"type": "STRING", "enum": ["good", "bad"]}, "good"),
            ("text", {"type": "STRING"}, "x"),
            ("number", {"type": "INTEGER"}, 5),
            ("list", {"type": "ARRAY", "items": {"type": "INTEGER"}}, [1]),
            ("object", LINE_ITEM, {"sku": "a"}),
            ("free", {"type": "OBJECT"}, {"a": 1}),
        ]
    },
    "anything": (
        {
            "type": "OBJECT",
            "properties": {
                "any": {"description": "of any type"},
                "either": {"anyOf": [{"type": "STRING", "nullable": True}, {"type": "INTEGER"}]},
            },
            "required": ["any", "either"],
        },
        [{"any": None, "either": None}, {"any": 1, "either": "x"}, {"any": 1}, {}],
    ),
    "any": ({"anyOf": [{"type": "STRING"}, {"type": "OBJECT"}]}, [{}, "x", 1]),
    "odd_names": (
        {
            "type": "OBJECT",
            "properties": {
                "first name": {"type": "STRING"},
                "a.b": {"type": "INTEGER"},
                "Größe": {"type": "NUMBER"},
                "1st": {"type": "STRING"},
                "Key": {"type": "STRING"},
                "answer_key": {"type": "STRING"},
                "value": {"type": "STRING"},
                "dup": {"type": "STRING"},
                "DUP": {"type": "STRING"},
                "_PARTITIONTIME": {"type": "STRING"},
                'quo"te': {"type": "STRING"},
            },
            "required": ["first name"],
        },
        [
            {"first name": "x", "a.b": 1, "Größe": 1.5, "1st": "f", "Key": "k", "answer_key": "a", "value": "v",
             "dup": "d", "DUP": "D", "_PARTITIONTIME": "p", 'quo"te': "q"},
            {"first name": 5},
            {"a.b": "x", "first name": "y"},
            {},
        ],
    ),
}  # fmt: skip
