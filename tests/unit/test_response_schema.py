"""Whatever a user calls a schema becomes the one Vertex AI knows, or is refused with the path that is wrong."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from airflow_batch_gemini.batch.response_schema import vertex_schema
from airflow_batch_gemini.exceptions import TemplateError


class Mood(enum.StrEnum):
    """An enum of words."""

    GOOD = "good"
    BAD = "bad"


class Person(BaseModel):
    """A class inside a class."""

    title: str = Field(description="Their title.")
    age: int | None = None


class Review(BaseModel):
    """A class with most of what people use."""

    model_config = ConfigDict(extra="forbid")

    mood: Mood
    language: Literal["de", "en"]
    kind: Literal["review"] = "review"
    score: Annotated[float, Field(ge=0, le=1)]
    author: Person
    others: list[Person] = Field(min_length=1)
    reply: Person | None = None
    counts: dict[str, int] = {}


class Stars(enum.IntEnum):
    """An enum of numbers."""

    ONE = 1
    TWO = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Literal[7, 9]


class Dog(BaseModel):
    kind: Literal["dog"]
    stars: Stars


class Owner(BaseModel):
    """Alternatives that a word tells apart."""

    animal: Annotated[Cat | Dog, Field(discriminator="kind")] | None
    born: dt.date


class Tree(BaseModel):
    """A class that holds itself."""

    children: list[Tree]


class Opaque(BaseModel):
    """A class that Pydantic cannot describe."""

    call: Callable[[], int]


PERSON = {
    "type": "OBJECT",
    "description": "A class inside a class.",
    "properties": {
        "title": {"type": "STRING", "description": "Their title."},
        "age": {"type": "INTEGER", "nullable": True},
    },
    "required": ["title"],
    "propertyOrdering": ["title", "age"],
}


def test_a_pydantic_class_becomes_one_flat_schema() -> None:
    """References inlined, null made nullable, order kept; a property called title is a property."""
    schema = vertex_schema(Review)
    assert schema["type"] == "OBJECT"
    assert schema["propertyOrdering"] == list(Review.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "mood": {"type": "STRING", "description": "An enum of words.", "enum": ["good", "bad"]},
        "language": {"type": "STRING", "enum": ["de", "en"]},
        "kind": {"type": "STRING", "enum": ["review"]},
        "score": {"type": "NUMBER", "minimum": 0, "maximum": 1},
        "author": PERSON,
        "others": {"type": "ARRAY", "items": PERSON, "minItems": 1},
        "reply": {**PERSON, "nullable": True},
        "counts": {"type": "OBJECT", "additionalProperties": {"type": "INTEGER"}},
    }


LIVES = {"type": "INTEGER", "format": "enum", "enum": ["7", "9"]}
STARS = {"type": "INTEGER", "format": "enum", "enum": ["1", "2"], "description": "An enum of numbers."}


def test_alternatives_with_a_discriminator_and_enums_of_numbers_are_what_google_documents() -> None:
    """The discriminator says nothing that the word in each of them does not."""
    assert vertex_schema(Owner)["properties"] == {
        "animal": {
            "anyOf": [
                {
                    "type": "OBJECT",
                    "properties": {"kind": {"type": "STRING", "enum": [word]}, name: schema},
                    "required": ["kind", name],
                    "propertyOrdering": ["kind", name],
                }
                for word, name, schema in (("cat", "lives", LIVES), ("dog", "stars", STARS))
            ],
            "nullable": True,
        },
        "born": {"type": "STRING", "format": "date"},
    }


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (list[Person], {"type": "ARRAY", "items": PERSON}),
        (Literal["a", "b"], {"type": "STRING", "enum": ["a", "b"]}),
        (Stars, STARS),
        (Mood, {"type": "STRING", "enum": ["good", "bad"], "description": "An enum of words."}),
        (dict[str, int], {"type": "OBJECT", "additionalProperties": {"type": "INTEGER"}}),
    ],
)
def test_a_type_that_is_no_class_is_what_pydantic_says_of_it(kind: Any, sent: dict[str, Any]) -> None:
    """A list of answers needs no class around it."""
    assert vertex_schema(kind) == sent


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"type": "string"}, {"type": "STRING"}),
        ({"type": "STRING", "max_length": 5}, {"type": "STRING", "maxLength": 5}),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        (
            {"type": ["string", "integer", "null"]},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
        ),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"enum": ["a", None], "type": ["string", "null"]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"type": "array", "items": {"type": "boolean"}}, {"type": "ARRAY", "items": {"type": "BOOLEAN"}}),
        (
            {"anyOf": [{"type": "string", "description": "inner"}, {"type": "null"}], "description": "outer"},
            {"type": "STRING", "description": "outer", "nullable": True},
        ),
        ({"allOf": [{"type": "string"}], "description": "x"}, {"type": "STRING", "description": "x"}),
        ({"type": "object", "additionalProperties": {}}, {"type": "OBJECT", "additionalProperties": True}),
        ({"type": "object", "required": []}, {"type": "OBJECT"}),
        (
            {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}},
             "property_ordering": ["a", "b"]},
            {"type": "OBJECT", "properties": {"b": {"type": "STRING"}, "a": {"type": "STRING"}},
             "propertyOrdering": ["a", "b"]},
        ),
        (
            {"$ref": "#/definitions/a~1b", "description": "mine", "definitions": {"a/b": {"$ref": "#/definitions/c"},
             "c": {"type": "string", "description": "theirs"}}},
            {"type": "STRING", "description": "mine"},
        ),
        (
            {"allOf": [{"$ref": "#/$defs/Base"}], "properties": {"b": {"type": "boolean"}}, "required": ["b"],
             "$defs": {"Base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}},
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "BOOLEAN"}},
             "required": ["a", "b"], "propertyOrdering": ["a", "b"]},
        ),
        (
            {"$ref": "#/$defs/Base", "required": ["a"],
             "$defs": {"Base": {"type": "object", "properties": {"a": {"type": "string"}}}}},
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
        ),
        ({"enum": [1, None, 2]}, {"type": "INTEGER", "format": "enum", "enum": ["1", "2"], "nullable": True}),
        ({"enum": [7], "type": "integer", "format": "int32"}, {"type": "INTEGER", "format": "enum", "enum": ["7"]}),
        ({"const": 1}, {"type": "INTEGER", "format": "enum", "enum": ["1"]}),
        ({"type": "string", "title": "T", "$schema": "x", "$comment": "y", "default": None}, {"type": "STRING"}),
    ],
)  # fmt: skip
def test_json_schema_is_translated(schema: dict[str, Any], sent: dict[str, Any]) -> None:
    """And what is sent already is taken as it is."""
    assert vertex_schema(schema) == sent
    assert vertex_schema(sent) == sent


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "object", "properties": {"x": {"oneOf": []}}}, r"response_schema\.properties\.x\.oneOf"),
        ({"type": "number", "exclusiveMinimum": 0}, r"exclusiveMinimum .*minimum"),
        ({"type": "array", "items": {"prefixItems": []}}, r"items\.prefixItems .*tuple"),
        ({"examples": [1]}, r"\.examples"),
        ({"type": "strange"}, r"\.type is not one of"),
        ({"type": "null"}, r"\.type is not one of"),
        ({"type": 3}, r"\.type"),
        ({"enum": [1, "a"]}, r"\.enum has neither strings nor whole numbers"),
        ({"enum": [0.5]}, r"\.enum has neither"),
        ({"enum": "a"}, r"\.enum is not a list"),
        ({"const": True}, r"\.const has neither"),
        ({"discriminator": {"propertyName": "kind"}}, r"\.discriminator"),
        ({"discriminator": {"propertyName": "kind"}, "oneOf": [], "anyOf": []}, r"\.anyOf is not"),
        ({"anyOf": []}, r"\.anyOf"),
        ({"anyOf": [{"type": "string"}, {"not": {}}]}, r"\.anyOf\[1\]\.not"),
        ({"allOf": [{}, {}]}, r"\.allOf"),
        ({"allOf": [3]}, r"response_schema is a int"),
        (
            {"allOf": [{"anyOf": [{"type": "string"}]}], "anyOf": [{"type": "integer"}]},
            r"\.anyOf stands in a schema and beside",
        ),
        ({"items": True}, r"\.items is a bool"),
        ({"properties": []}, r"\.properties"),
        ({"required": ["x"]}, r"\.required names"),
        ({"required": "x"}, r"\.required names"),
        ({"propertyOrdering": ["x"]}, r"\.propertyOrdering names"),
        ({"$ref": "#/$defs/x"}, r"\.\$ref refers to nothing"),
        ({"$ref": "https://example.com"}, r"\.\$ref is not a reference"),
        ({"$ref": 3}, r"\.\$ref is not a reference"),
        ({"$ref": "#"}, r"\.\$ref refers to itself"),
        ({"$ref": "#/x", "x": 3}, r"response_schema is a int"),
        ([], "response_schema is a list"),
        ("text", "response_schema is a str"),
        (Tree, "refers to itself"),
        (Opaque, "Pydantic cannot describe"),
        (Callable[[], int], "Pydantic cannot describe"),
        (list["Nowhere"], "Pydantic cannot describe"),  # type: ignore[name-defined]  # noqa: F821
        (tuple[int, str], r"response_schema\.prefixItems .*named properties"),
        (set[str], r"\.uniqueItems .*a list"),
    ],
)
def test_what_vertex_ai_does_not_know_is_refused_with_its_path(schema: Any, path: str) -> None:
    """Before any row is read."""
    with pytest.raises(TemplateError, match=path):
        vertex_schema(schema)


def test_a_small_schema_that_unfolds_without_end_is_refused() -> None:
    """References that double thirty times are a billion objects; nesting without end is another."""
    defs: dict[str, Any] = {"a0": {"type": "string"}}
    for i in range(1, 30):
        ref = {"$ref": f"#/$defs/a{i - 1}"}
        defs[f"a{i}"] = {"type": "object", "properties": {"x": ref, "y": ref}}
    with pytest.raises(TemplateError, match="too large"):
        vertex_schema({"$ref": "#/$defs/a29", "$defs": defs})
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        deep = {"type": "array", "items": deep}
    with pytest.raises(TemplateError, match="too large"):
        vertex_schema(deep)


KEYWORDS = st.sampled_from(
    ["type", "items", "properties", "anyOf", "allOf", "enum", "const", "$ref", "required", "nullable", "x"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["string", "object", "#", "#/items", "null"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)


@given(ANYTHING)
def test_no_schema_breaks_the_translation(schema: Any) -> None:
    """It is translated once and for all, or refused by our own error."""
    try:
        sent = vertex_schema(schema)
    except TemplateError:
        return
    assert vertex_schema(sent) == sent
