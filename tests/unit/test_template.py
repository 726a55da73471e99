"""Placeholders become holes; everything else of a request is compiled to bytes once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.template import (
    Column,
    FilePart,
    Fixed,
    Text,
    check_columns,
    columns_of,
    compile_request,
    parse_text,
)
from airflow_batch_gemini.exceptions import TemplateError


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", ("plain",)),
        ("{a}", (Column("a"),)),
        ("Hi {name}, {{x}} {a b}!", ("Hi ", Column("name"), ", {x} ", Column("a b"), "!")),
        ("{{{a}}}", ("{", Column("a"), "}")),
        ("{a}{a}", (Column("a"), Column("a"))),
        ("{{}}", ("{}",)),
        ("{\"`'\\}", (Column("\"`'\\"),)),
    ],
)
def test_a_placeholder_is_a_name_in_braces(text: str, pieces: tuple[Any, ...]) -> None:
    """Doubled braces are literal."""
    assert parse_text(text, where="prompt") == Text(pieces)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("secret { words", "character 8"),
        ("secret }", "character 8"),
        ("{}", "character 1"),
        ("{a{b}", "character 1"),
        ('{\n "secret": 1}', "character 1"),
        ("half \ud800", "character 6"),
        ("", "not empty"),
        (None, "not empty"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_by_place_never_by_quote(text: Any, place: str) -> None:
    """A prompt does not belong into a log."""
    with pytest.raises(TemplateError, match=place) as caught:
        parse_text(text, where="prompt")
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(codec="utf-8")))
def test_doubled_braces_make_any_text_literal(text: str) -> None:
    """Whatever it holds."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert parse_text(f"x{doubled}", where="prompt") == Text((f"x{text}",))


def test_a_request_compiles_to_few_segments() -> None:
    """All that is fixed lies together."""
    text = Text(("Hi ", Column("a")))
    parts: list[Any] = [{"text": text}, FilePart("b", None), FilePart("c", "image/png")]
    request = {"contents": [{"parts": parts}], "x": {}, "y": [1, True, None, 0.5, "é"]}
    segments = compile_request(request)
    assert segments == (
        Fixed('{"contents":[{"parts":[{"text":'),
        text,
        Fixed("}"),
        FilePart("b", None),
        FilePart("c", "image/png"),
        Fixed(']}],"x":{},"y":[1,true,null,0.5,"é"]}'),
    )
    assert columns_of(segments) == ("a", "b", "c")
    assert compile_request({"a": Text(("x", "y"))}) == (Fixed('{"a":"xy"}'),)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, 2**70, object(), {1: 2}, "\ud800"])
def test_what_is_no_json_is_no_template(value: Any) -> None:
    """Nothing is bent into shape."""
    with pytest.raises(TemplateError, match="The template holds"):
        compile_request({"a": [value]})


def test_a_column_that_is_missing_is_named_with_those_that_are_there() -> None:
    """The key column as well as placeholders and media."""
    segments = compile_request({"a": Text((Column("nmae"),)), "b": [FilePart("uri", None)]})
    check_columns(segments, key_column="key", available=["uri", "nmae", "key"], source="s")
    with pytest.raises(
        TemplateError, match=r"'nmae' is no column of gs://b/x\. Its columns: key, name and 1 more"
    ):
        check_columns(segments, key_column="key", available=["key", "name", "\x00"], source="gs://b/x")
    # The first row of a CSV file without a header is taken for one.
    with pytest.raises(TemplateError, match=r"Its columns: 17 and 1 more") as caught:
        check_columns(segments, key_column="key", available=["17", "a secret of somebody"], source="s")
    assert "secret" not in str(caught.value)
    with pytest.raises(TemplateError, match="key_column 'id'"):
        check_columns(segments, key_column="id", available=["nmae", "uri"], source="s")
    with pytest.raises(TemplateError, match="'uri'"):
        check_columns(segments, key_column="key", available=["nmae", "key"], source="s")


def test_a_name_that_may_be_a_piece_of_the_prompt_is_not_shown() -> None:
    """Braces of JSON in a prompt look like a placeholder with a very odd name."""
    segments = compile_request({"a": parse_text('{"secret": 1}', where="prompt")})
    with pytest.raises(TemplateError, match="not one word") as caught:
        check_columns(segments, key_column="key", available=["key"], source="s")
    assert "secret" not in str(caught.value)
