"""The rule by which a row ends, in its Python form; tests/unit/test_sql_results.py holds the SQL to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_corpus import BLOCK_REASONS, CORPUS, FINISH_REASONS, candidate, error, line, response, said

from airflow_batch_gemini.batch.outcome import (
    BLOCKED_REASONS,
    MISSING,
    Line,
    Outcome,
    Reading,
    Tokens,
    classify,
    read_line,
)
from airflow_batch_gemini.batch.schema import Shape, shape_of


def read(found: dict[str, Any], shape: Shape = Shape.TEXT) -> Reading:
    time, status = found.get("processed_time", ""), found.get("status")
    return read_line(Line(key="a", status=status, processed_time=time, response=found.get("response")), shape)


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("answer_prose", "succeeded", None),
        ("parts_empty_text", "succeeded", None),
        ("parts_call", "succeeded", None),
        ("parts_thought_only", "failed", "NO_CONTENT"),
        ("parts_none", "failed", "NO_CONTENT"),
        ("content_absent", "failed", "NO_CONTENT"),
        ("content_role_only", "truncated", "MAX_TOKENS"),
        ("candidates_empty", "failed", "NO_CANDIDATES"),
        ("candidates_absent", "failed", "NO_CANDIDATES"),
        ("response_empty", "failed", "NO_CANDIDATES"),
        ("response_null", "failed", "NO_RESPONSE"),
        ("response_absent", "failed", "NO_RESPONSE"),
        ("finish_SAFETY", "blocked", "SAFETY"),
        ("finish_MAX_TOKENS", "truncated", "MAX_TOKENS"),
        ("finish_OTHER", "failed", "OTHER"),
        ("finish_SOMETHING_NEW", "failed", "SOMETHING_NEW"),
        ("finish_absent", "failed", "NO_FINISH_REASON"),
        ("block_SAFETY", "blocked", "SAFETY"),
        ("block_with_candidate", "blocked", "SAFETY"),
        ("block_none", "succeeded", None),
        ("error_role", "failed", "INVALID_ARGUMENT"),
        ("error_plain", "failed", "ROW_ERROR"),
        ("error_with_answer", "failed", "ROW_ERROR"),
        ("error_partner", "failed", "overloaded_error"),
    ],
)
def test_a_line_ends_in_one_outcome_with_a_reason(name: str, outcome: str, reason: str | None) -> None:
    """The table of cases that people ask about."""
    reading = read(CORPUS[name])
    assert (reading.outcome, reading.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (
            Shape.OBJECT,
            ["object", "object_spaced", "big"],
            ["array", "string", "number", "null", "cut", "fenced", "nan"],
        ),
        (Shape.ARRAY, ["array", "deep"], ["object", "prose", "empty"]),
        (Shape.NUMBER, ["number", "float"], ["true", "string", "word"]),
        (Shape.BOOLEAN, ["true"], ["upper", "number"]),
        (Shape.ANY, ["object", "null", "number", "string"], ["word", "two", "trailing", "single_quotes"]),
        (Shape.STRING, ["string", "word", "empty", "number"], []),
        (Shape.TEXT, ["object", "cut", "empty"], []),
    ],
)
def test_an_answer_that_does_not_fit_the_schema_is_invalid(
    shape: Shape, good: list[str], bad: list[str]
) -> None:
    """And its text is kept."""
    for name in good:
        assert read(CORPUS[f"answer_{name}"], shape).outcome is Outcome.SUCCEEDED, name
    for name in bad:
        reading = read(CORPUS[f"answer_{name}"], shape)
        assert reading.outcome is Outcome.INVALID, name
        assert reading.answer is None
        assert reading.text is not None


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("vector", "succeeded", None),
        ("vector_whole", "succeeded", None),
        ("vector_empty", "failed", "NO_EMBEDDING"),
        ("vector_text", "failed", "NO_EMBEDDING"),
        ("embedding_absent", "failed", "NO_EMBEDDING"),
        ("vector_of_null", "invalid", "NOT_NUMBERS"),
        ("vector_of_true", "invalid", "NOT_NUMBERS"),
        ("vector_of_lists", "invalid", "NOT_NUMBERS"),
        ("vector_failed", "failed", "ROW_ERROR"),
        ("answer_array", "failed", "NO_EMBEDDING"),
        ("response_null", "failed", "NO_RESPONSE"),
    ],
)
def test_of_an_embedding_model_only_a_vector_of_numbers_succeeds(
    name: str, outcome: str, reason: str | None
) -> None:
    """A text is no answer of it, and a vector none of another model."""
    reading = read(CORPUS[name], Shape.VECTOR)
    assert (reading.outcome, reading.reason) == (outcome, reason)
    assert reading.answer == (
        CORPUS[name]["response"]["embedding"]["values"] if outcome == "succeeded" else None
    )
    if name.startswith("vector"):
        assert read(CORPUS[name]).outcome is Outcome.FAILED


def test_an_embedding_model_says_one_count_of_tokens() -> None:
    """Beside the vector; should it say them as other models do, that is read."""
    assert read(CORPUS["vector"], Shape.VECTOR).tokens == Tokens(prompt=2, total=2)
    assert read(CORPUS["vector_tokens_twice"], Shape.VECTOR).tokens == Tokens(prompt=5, total=6)
    assert read(CORPUS["vector_alone"], Shape.VECTOR).tokens == Tokens()
    assert read(CORPUS["vector"]).tokens == Tokens()


def test_text_is_every_part_but_the_thoughts_joined_in_order() -> None:
    """parts[0] alone would be a part of the answer."""
    thought = {"text": "hm", "thought": True}
    assert read(line(response(candidate(thought, "a", "b", thought, "c")))).text == "abc"


def test_an_enum_answers_with_a_bare_word_or_a_json_string() -> None:
    """Both mean the same."""
    assert read(said("positive"), Shape.STRING).answer == "positive"
    assert read(said('"positive"'), Shape.STRING).answer == "positive"


def test_a_row_error_keeps_its_code_status_and_message() -> None:
    """They are parsed out of Google's own sample of a failed row."""
    reading = read(CORPUS["error_role"])
    assert (reading.code, reading.status) == (400, "INVALID_ARGUMENT")
    assert reading.message == "Please use a valid role: user, model."


@pytest.mark.parametrize(
    "status", ["Internal error", "Bad Request: {not json}", 'X: {"error": "plain"}', "{", " "]
)
def test_a_status_that_is_no_json_is_kept_whole_as_the_message(status: str) -> None:
    """Nothing of an unknown error is lost."""
    reading = read(line({}, status))
    assert (reading.outcome, reading.code, reading.message) == (Outcome.FAILED, None, status)


@pytest.mark.parametrize(
    ("code", "retryable"), [(400, False), (403, False), (404, False), (429, True), (503, True)]
)
def test_an_error_that_may_pass_is_retryable(code: int, retryable: bool) -> None:
    """By its code; one without a code may pass too."""
    assert read(error("X", code=code, message="m")).retryable is retryable
    assert read(line({}, "Internal error")).retryable
    assert not read(said("x", finish="SAFETY")).retryable


def test_all_token_counts_are_read_and_absent_ones_stay_unknown() -> None:
    """Numbers may come as text."""
    all_of_them = Tokens(prompt=1001, cached=333, output=77, thoughts=911, total=1989)
    assert read(CORPUS["tokens_all"]).tokens == all_of_them
    assert read(CORPUS["tokens_text"]).tokens == Tokens(prompt=7, total=9)
    assert read(CORPUS["tokens_word"]).tokens == read(CORPUS["tokens_absent"]).tokens == Tokens()


def test_every_known_finish_reason_has_a_place() -> None:
    """STOP is the only one that may succeed."""
    for reason in FINISH_REASONS:
        outcome = read(CORPUS[f"finish_{reason}"]).outcome
        assert (outcome is Outcome.SUCCEEDED) == (reason == "STOP")
        assert (outcome is Outcome.BLOCKED) == (reason in BLOCKED_REASONS)
    for reason in BLOCK_REASONS:
        assert read(CORPUS[f"block_{reason}"]).outcome is Outcome.BLOCKED


def test_every_key_gets_exactly_one_reading_and_strangers_are_left_out() -> None:
    """Missing rows are rows too."""
    lines = [Line(key="a", status="", response=response(candidate("x"))), Line(key="z", status="")]
    found = classify(["a", "b"], lines, Shape.TEXT)
    assert list(found) == ["a", "b"]
    assert found["b"] is MISSING


@given(st.permutations(["answer_object", "error_plain", "finish_MAX_TOKENS", "answer_cut", "block_SAFETY"]))
def test_success_wins_over_everything_in_any_order(names: list[str]) -> None:
    """A duplicate line cannot undo an answer that was paid for."""
    lines = [
        Line(key="a", status=CORPUS[name]["status"], response=CORPUS[name]["response"]) for name in names
    ]
    assert classify(["a"], lines, Shape.OBJECT)["a"].answer == {"category": "x", "n": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["candidates", "content", "parts", "text", "error"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(JSON, st.text(max_size=20), st.sampled_from(list(Shape)))
def test_no_response_and_no_status_breaks_the_rule(answer: Any, status: str, shape: Shape) -> None:
    """Whatever comes back, the row has an outcome, and a reason unless it succeeded."""
    reading = read_line(Line(key="a", status=status, response=answer), shape)
    assert (reading.reason is None) == (reading.outcome is Outcome.SUCCEEDED)


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        (None, Shape.TEXT),
        ({}, Shape.TEXT),
        ({"type": "OBJECT"}, Shape.OBJECT),
        ({"type": "object", "properties": {}}, Shape.OBJECT),
        ({"properties": {"a": {}}}, Shape.OBJECT),
        ({"type": "ARRAY", "items": {}}, Shape.ARRAY),
        ({"items": {}}, Shape.ARRAY),
        ({"type": "STRING", "enum": ["a"]}, Shape.STRING),
        ({"type": "integer"}, Shape.NUMBER),
        ({"type": "NUMBER"}, Shape.NUMBER),
        ({"type": "BOOLEAN"}, Shape.BOOLEAN),
        ({"type": ["object", "null"]}, Shape.ANY),
        ({"type": "TYPE_UNSPECIFIED"}, Shape.ANY),
        ({"anyOf": [{"type": "OBJECT"}]}, Shape.ANY),
    ],
)
def test_a_schema_promises_a_shape(schema: dict[str, Any] | None, shape: Shape) -> None:
    """Spelled as JSON Schema or as Gemini spells it."""
    assert shape_of(schema) is shape
