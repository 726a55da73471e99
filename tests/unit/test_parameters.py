"""Query parameters: a type for every value, and no value in any message."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from airflow_batch_gemini.batch.parameters import job_parameters, query_parameters
from airflow_batch_gemini.exceptions import ConfigurationError

ZONE = dt.timezone(dt.timedelta(hours=2))

GUESSED = [
    ("it's; -- @n", "STRING", "it's; -- @n"),
    ("", "STRING", ""),
    (True, "BOOL", "true"),
    (7, "INT64", "7"),
    (-(2**63), "INT64", "-9223372036854775808"),
    (1.5, "FLOAT64", "1.5"),
    (float("inf"), "FLOAT64", "inf"),
    (Decimal("1.25"), "NUMERIC", "1.25"),
    (Decimal("1E+3"), "NUMERIC", "1000"),
    (Decimal("1e-10"), "BIGNUMERIC", "0.0000000001"),
    (b"\x00\xff", "BYTES", "AP8="),
    (dt.date(2026, 1, 2), "DATE", "2026-01-02"),
    (dt.time(1, 2, 3, 4), "TIME", "01:02:03.000004"),
    (dt.datetime.fromisoformat("2026-01-02T03"), "DATETIME", "2026-01-02 03:00:00"),
    (dt.datetime(2026, 1, 2, 3, tzinfo=ZONE), "TIMESTAMP", "2026-01-02 01:00:00+00:00"),
    (["a", "b"], "STRING", ("a", "b")),
    ((1, 2.5), "FLOAT64", ("1.0", "2.5")),
    ([Decimal(1), Decimal("1e-10")], "BIGNUMERIC", ("1", "0.0000000001")),
]


@pytest.mark.parametrize(("value", "kind", "text"), GUESSED)
def test_the_type_of_a_value_is_guessed(value: Any, kind: str, text: Any) -> None:
    """From Python's types; a list has the one of its elements."""
    [found] = query_parameters({"x": value})
    assert (found.name, found.type, found.value) == ("x", kind, text)


SAID = [
    ("DATE", None, None),
    ("DATE", "2026-01-02", "2026-01-02"),
    (" int64 ", " 5 ", "5"),
    ("FLOAT64", "1e3", "1000.0"),
    ("NUMERIC", "0.1", "0.1"),
    ("BIGNUMERIC", "1e-10", "0.0000000001"),
    ("BOOL", "True", "true"),
    ("TIME", "01:02", "01:02:00"),
    ("DATETIME", "2026-01-02T03:00:00", "2026-01-02 03:00:00"),
    ("TIMESTAMP", "2026-01-02T03:00:00+02:00", "2026-01-02 01:00:00+00:00"),
    ("TIMESTAMP", "2026-01-02T03:00:00Z", "2026-01-02 03:00:00+00:00"),
    ("STRING", "7", "7"),
    ("JSON", {"a": ["é", None]}, '{"a": ["é", null]}'),
    ("JSON", '{"a":1}', '{"a":1}'),
    ("ARRAY<STRING>", [], ()),
    ("array < int64 >", ["1", 2], ("1", "2")),
    ("ARRAY<STRING>", '["a", "b"]', ("a", "b")),
]


@pytest.mark.parametrize(("kind", "value", "text"), SAID)
def test_a_type_that_is_said_also_reads_text(kind: str, value: Any, text: Any) -> None:
    """Because what Jinja renders is text; a list is rendered with ``| tojson``."""
    [found] = query_parameters({"x": {"value": value, "type": kind}})
    assert found.value == text


REFUSED = [
    None,
    [],
    ["secret", 1],
    ["secret", None],
    [["secret"]],
    {"secret": 1},
    {"value": "secret"},
    {"value": "secret", "type": "DATE", "more": 1},
    {"value": "secret", "type": 5},
    {"value": "secret", "type": "STRUCT<a STRING>"},
    {"value": "secret", "type": "ARRAY<ARRAY<STRING>>"},
    {"value": "secret", "type": "ARRAY<STRING>"},
    {"value": '"secret"', "type": "ARRAY<STRING>"},
    {"value": None, "type": "ARRAY<STRING>"},
    {"value": "secret", "type": "INT64"},
    {"value": True, "type": "INT64"},
    {"value": 2**63, "type": "INT64"},
    {"value": "secret", "type": "FLOAT64"},
    {"value": 10**400, "type": "FLOAT64"},
    {"value": True, "type": "FLOAT64"},
    {"value": 0.5, "type": "NUMERIC"},
    {"value": 5, "type": "TIME"},
    {"value": 5, "type": "ARRAY<INT64>"},
    {"value": "1e-10", "type": "NUMERIC"},
    {"value": "1e999999", "type": "BIGNUMERIC"},
    {"value": "nan", "type": "NUMERIC"},
    {"value": "secret", "type": "BOOL"},
    {"value": 1, "type": "BOOL"},
    {"value": "secret", "type": "BYTES"},
    {"value": "secret", "type": "DATE"},
    {"value": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "type": "DATE"},
    {"value": "secret", "type": "TIME"},
    {"value": "2026-01-02T03:00:00", "type": "TIMESTAMP"},
    {"value": "2026-01-02T03:00:00Z", "type": "DATETIME"},
    {"value": 5, "type": "STRING"},
    {"value": "secret", "type": "JSON"},
    {"value": "NaN", "type": "JSON"},
    {"value": object(), "type": "JSON"},
    "half \ud800",
    2**63,
    object(),
]


@pytest.mark.parametrize("value", REFUSED)
def test_a_value_that_does_not_fit_is_told_by_its_parameter(value: Any) -> None:
    """Its name, its type, never itself; NULL and empty lists have no type of their own."""
    with pytest.raises(ConfigurationError, match=r"Query parameter 'x': .*Nothing was sent") as caught:
        query_parameters({"x": value})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["", "1a", "a b", "a;--", 5])
def test_a_name_that_no_statement_can_hold_is_refused(name: Any) -> None:
    """Before it is sent."""
    with pytest.raises(ConfigurationError, match="name of a query parameter"):
        query_parameters({name: 1})


def test_a_job_says_its_parameters_as_the_rest_api_does() -> None:
    """And without any it says nothing, so that its name stays what it was."""
    assert job_parameters(None) == job_parameters({}) == {}
    assert job_parameters({"a": 1, "b": ["x"]}) == {
        "parameterMode": "NAMED",
        "queryParameters": [
            {"name": "a", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}},
            {
                "name": "b",
                "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
                "parameterValue": {"arrayValues": [{"value": "x"}]},
            },
        ],
    }
