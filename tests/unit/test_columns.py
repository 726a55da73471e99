"""What of a response schema becomes a typed column; tests/unit/test_sql_typed.py judges the values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typed_corpus import GOOD, INVOICE, OF_SCHEMAS

from airflow_batch_gemini.batch.columns import MAX_DEPTH, Kind, Typed, column, typed
from airflow_batch_gemini.batch.fitting import misfit, no_values, values
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.response_schema import vertex_schema
from airflow_batch_gemini.sql.results import TAKEN


def columns(schema: Any) -> list[Column]:
    return [column(one) for one in typed(schema, taken=TAKEN).fields]


def property_of(schema: dict[str, Any]) -> Column:
    [found] = columns({"type": "OBJECT", "properties": {"p": schema}})
    return found


@pytest.mark.parametrize(
    ("schema", "kind", "mode"),
    [
        ({"type": "STRING"}, "STRING", "NULLABLE"),
        ({"type": "string"}, "STRING", "NULLABLE"),
        ({"type": "STRING", "enum": ["a"]}, "STRING", "NULLABLE"),
        ({"type": "STRING", "format": "uuid"}, "STRING", "NULLABLE"),
        ({"type": "STRING", "format": "date"}, "DATE", "NULLABLE"),
        ({"type": "STRING", "format": "date-time"}, "TIMESTAMP", "NULLABLE"),
        ({"type": "INTEGER", "format": "int32"}, "INT64", "NULLABLE"),
        ({"type": "NUMBER"}, "FLOAT64", "NULLABLE"),
        ({"type": "BOOLEAN", "nullable": True}, "BOOL", "NULLABLE"),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}, "STRUCT", "NULLABLE"),
        ({"type": "ARRAY", "items": {"type": "NUMBER"}}, "FLOAT64", "REPEATED"),
        (
            {"type": "ARRAY", "items": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
            "STRUCT",
            "REPEATED",
        ),
        ({"type": "ARRAY", "items": {"type": "NUMBER", "nullable": True}}, "JSON", "NULLABLE"),
        ({"type": "ARRAY", "items": {"type": "ARRAY", "items": {"type": "NUMBER"}}}, "JSON", "NULLABLE"),
        ({"type": "ARRAY"}, "JSON", "NULLABLE"),
        ({"type": "OBJECT"}, "JSON", "NULLABLE"),
        ({"type": "OBJECT", "properties": {}}, "JSON", "NULLABLE"),
        ({"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}, "JSON", "NULLABLE"),
        ({}, "JSON", "NULLABLE"),
    ],
    ids=str,
)
def test_a_property_has_the_type_that_bigquery_has_for_it(
    schema: dict[str, Any], kind: str, mode: str
) -> None:
    """And JSON where it has none."""
    found = property_of(schema)
    assert (found.name, found.type, found.mode) == ("p", kind, mode)


@pytest.mark.parametrize("schema", [None, {}, {"type": "OBJECT"}, {"anyOf": [{"type": "STRING"}]}])
def test_a_schema_that_promises_nothing_has_no_columns(schema: Any) -> None:
    """The text and the JSON are all there is."""
    assert typed(schema, taken=TAKEN) == Typed()


@pytest.mark.parametrize(
    ("schema", "kind", "mode"),
    [
        ({"type": "STRING", "enum": ["a"]}, "STRING", "NULLABLE"),
        ({"type": "ARRAY", "items": {"type": "INTEGER"}}, "INT64", "REPEATED"),
    ],
)
def test_what_is_no_object_is_a_column_of_its_own(schema: dict[str, Any], kind: str, mode: str) -> None:
    """Its name is always the same."""
    [found] = columns(schema)
    assert (found.name, found.type, found.mode) == ("value", kind, mode)


def test_the_names_of_our_own_columns_are_never_taken() -> None:
    """Nor those that others were given instead, in whatever order they come."""
    names = ["text", "answer_text", "answer_answer_text", "Model", "answer", "sentiment", "answer_sentiment"]
    wanted = {
        "text": "answer_text",
        "answer_text": "answer_answer_text",
        "answer_answer_text": "answer_answer_answer_text",
        "Model": "answer_Model",
        "answer": "answer_answer",
        "sentiment": "sentiment",
        "answer_sentiment": "answer_sentiment",
    }
    for order in (names, names[::-1]):
        for count in range(1, len(order) + 1):
            schema = {"type": "OBJECT", "properties": {name: {"type": "STRING"} for name in order[:count]}}
            found = {one.member: one.name for one in typed(schema, taken=TAKEN).fields}
            assert found == {name: wanted[name] for name in order[:count]}


NAMES = st.text(alphabet=st.sampled_from("aAbB_1. é\"\\'`"), min_size=1, max_size=4) | st.sampled_from(
    sorted(TAKEN)
)


@given(st.lists(NAMES, unique=True, max_size=12))
def test_whatever_properties_are_called_columns_have_legal_names_of_their_own(names: list[str]) -> None:
    """Case makes no difference to BigQuery."""
    schema = {"type": "OBJECT", "properties": {name: {"type": "STRING"} for name in names}}
    found = [one.name for one in columns(schema)]
    assert len({name.casefold() for name in found} | TAKEN) == len(found) + len(TAKEN)
    assert all(
        name.replace("_", "a").isalnum() and name.isascii() and not name[0].isdigit() for name in found
    )


def test_columns_come_in_the_order_of_the_schema_and_fields_in_that_of_their_names() -> None:
    """A STRUCT with its fields in another order is another type, so the order must not depend on the schema."""
    inner = {"type": "OBJECT", "properties": {"z": {"type": "STRING"}, "a": {"type": "STRING"}}}
    schema = {"type": "OBJECT", "properties": {"a": inner, "z": inner}, "propertyOrdering": ["z", "a"]}
    assert [one.name for one in columns(schema)] == ["z", "a"]
    assert [one.name for one in columns(schema)[0].fields] == ["a", "z"]


def test_an_object_too_deep_for_bigquery_is_json_where_it_gets_too_deep() -> None:
    """The levels above it are typed."""
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(30):
        schema = {"type": "OBJECT", "properties": {"p": schema}}
    [found], depth = columns(schema), 0
    while found.fields:
        [found], depth = found.fields, depth + 1
    assert (found.type, depth) == ("JSON", MAX_DEPTH)


def test_a_pydantic_class_becomes_typed_columns() -> None:
    """By way of the schema that is sent."""
    from datetime import date

    from pydantic import BaseModel, Field

    class Label(BaseModel):
        text: str = Field(description="the word")
        score: float | None
        on: date
        tags: list[str] = []

    found = {one.name: (one.type, one.mode, one.description) for one in columns(vertex_schema(Label))}
    assert found == {
        "answer_text": ("STRING", "NULLABLE", "the word"),
        "score": ("FLOAT64", "NULLABLE", ""),
        "on": ("DATE", "NULLABLE", ""),
        "tags": ("STRING", "REPEATED", ""),
    }


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"count": "3"}, "NOT_INTEGER", "$.count"),
        ({"count": None}, "REQUIRED", "$.count"),
        ({"tone": "ugly"}, "NOT_IN_ENUM", "$.tone"),
        ({"stars": 9}, "NOT_IN_ENUM", "$.stars"),
        ({"day": "tomorrow"}, "NOT_DATE", "$.day"),
        ({"moment": "2026-02-28"}, "NOT_TIMESTAMP", "$.moment"),
        ({"order": {}}, "REQUIRED", "$.order.select"),
        ({"order": {"select": "x", "days": ["2026-01-01", "x"]}}, "NOT_DATE", "$.order.days[1]"),
        ({"lines": [{"sku": "a"}, {"sku": "b", "tags": ["old"]}]}, "NOT_IN_ENUM", "$.lines[1].tags[0]"),
        ({"lines": [None]}, "NOT_OBJECT", "$.lines[0]"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(changes: dict[str, Any], reason: str, path: str) -> None:
    """The first such value, in the order of the columns."""
    assert misfit({**GOOD, **changes}, typed(INVOICE, taken=TAKEN)) == (reason, path)


def test_the_path_of_an_odd_name_is_quoted() -> None:
    """So that JSON_QUERY finds it."""
    schema, _ = OF_SCHEMAS["odd_names"]
    assert misfit({"first name": 5}, typed(schema, taken=TAKEN)) == ("NOT_STRING", '$."first name"')


def test_an_answer_that_fits_fills_every_column_and_no_answer_none() -> None:
    """BigQuery has no NULL list."""
    promised = typed(INVOICE, taken=TAKEN)
    assert misfit(GOOD, promised) is None
    found = values(GOOD, promised)
    assert (found["answer_text"], found["Kept"], found["order"]["of"]) == (GOOD["text"], None, {"n": -1})
    assert {name for name, value in no_values(promised).items() if value is not None} == {"lines"}
    assert Kind.JSON in {one.kind for one in promised.fields}
