"""A value has one text, the one BigQuery's CAST gives it; ``test_sql_prepare`` asks GoogleSQL itself."""

from __future__ import annotations

import datetime as dt
import json
from collections import OrderedDict
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.text import NoTextError, json_text, text_of


def repr_of(value: Any) -> str:
    """Name a case; some are too long to be written."""
    return type(value).__name__


CEST = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is \n", "as it is \n"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-12345678901234567890, "-12345678901234567890"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1 / 3, "0.33333333333333331"),
        (1e15, "1e+15"),
        (100000.0, "100000"),
        (1e-5, "1e-05"),
        (5e-324, "4.94065645841247e-324"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Decimal("1.50"), "1.5"),
        (Decimal("100"), "100"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.00"), "0"),
        (dt.date(2014, 1, 2), "2014-01-02"),
        (dt.time(1, 2, 3), "01:02:03"),
        (dt.time(1, 2, 3, 100_000), "01:02:03.100"),
        (dt.datetime(1, 1, 2, 3, 4, 5, 6), "0001-01-02 03:04:05.000006"),  # noqa: DTZ001  # a DATETIME
        (dt.datetime(2014, 1, 1, 12, tzinfo=dt.UTC), "2014-01-01 12:00:00+00"),
        (dt.datetime(2014, 1, 1, 12, 0, 0, 120_000, tzinfo=CEST), "2014-01-01 10:00:00.120+00"),
        (b"abc\xc3\xa9", "abcé"),
        ([1, "a", None], '[1,"a",null]'),
        ({"b": 1, "a": (True,)}, '{"b":1,"a":[true]}'),
        (OrderedDict(x=[]), '{"x":[]}'),
    ],
)
def test_a_value_reads_as_bigquery_casts_it(value: Any, text: str) -> None:
    """One row for each type and each corner of it."""
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53, "9007199254740992"),
        (2**53 + 1, '"9007199254740993"'),
        (1.0, "1"),
        (1e20, "1e+20"),
        (float("nan"), '"NaN"'),
        (float("inf"), '"Infinity"'),
        (float("-inf"), '"-Infinity"'),
        (Decimal("1"), "1"),
        (Decimal("0.1"), '"0.1"'),
        (b"abc", '"YWJj"'),
        (dt.date(2014, 1, 2), '"2014-01-02"'),
        (dt.datetime(2014, 1, 1, 12, 0, 0, 100_000, tzinfo=dt.UTC), '"2014-01-01T12:00:00.100Z"'),
        ('"\u2028\x07é😀/', '"\\"\\u2028\\u0007é😀/"'),
        ("nan", '"nan"'),
    ],
)
def test_a_value_inside_an_array_reads_as_to_json_string_writes_it(value: Any, text: str) -> None:
    """What a reader of JSON would round is a string."""
    assert json_text([value]) == f"[{text}]"


@pytest.mark.parametrize(
    "value",
    [
        object(),
        dt.timedelta(1),
        1j,
        {1: 2},
        [object()],
        b"\xff",
        ["\ud800"],
        Decimal("NaN"),
        {"a": {"b": set()}},
        10**5000,
        dt.datetime(1, 1, 1, tzinfo=CEST),
        reduce(lambda inner, _: [inner], range(3000), []),
    ],
    ids=repr_of,
)
def test_what_has_no_text_is_refused_by_its_type(value: Any) -> None:
    """Never guessed, and never quoted."""
    with pytest.raises(NoTextError):
        text_of(value)


WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4) | st.dictionaries(WORDS, JSON, max_size=4))
def test_arrays_and_structs_are_valid_compact_json(value: Any) -> None:
    """It says what went in."""
    assert json.loads(text_of(value)) == value
    assert text_of(value).isprintable() or not text_of(value).isascii() or "\x7f" in text_of(value)


@given(st.floats(allow_nan=False))
def test_a_float_can_be_read_back_exactly(value: float) -> None:
    """Fifteen digits where they suffice, else seventeen."""
    assert float(text_of(value)) == value
