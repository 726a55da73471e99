"""One row: whatever the request holds, the row ends in one of three ways and nothing else fails."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_gemini.local.knobs import Knobs
from airflow_batch_gemini.local.vertex.answers import fit_schema
from airflow_batch_gemini.local.vertex.rows import Desk, RowResult, answer_row

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PART = st.dictionaries(
    st.sampled_from(["text", "fileData", "inline_data", "functionCall", "thought"]), VALUES, max_size=2
)
CONTENT = st.fixed_dictionaries(
    {}, optional={"role": VALUES | st.just("user"), "parts": st.lists(PART) | PART | VALUES}
)
CONFIG_FIELDS = {"maxOutputTokens", "candidate_count", "responseSchema", "responseJsonSchema"} | {
    "responseMimeType",
    "thinkingConfig",
    "nope",
}
CONFIG = st.dictionaries(
    st.sampled_from(sorted(CONFIG_FIELDS)),
    VALUES
    | st.just("application/json")
    | st.dictionaries(st.sampled_from(["type", "items", "properties", "enum", "thinkingBudget"]), VALUES),
    max_size=3,
)
REQUEST = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "contents": st.lists(CONTENT, max_size=2) | CONTENT | VALUES,
        "systemInstruction": CONTENT | VALUES,
        "generation_config": CONFIG | VALUES,
        "content": CONTENT | VALUES,
        "embed_content_config": VALUES | st.just({"output_dimensionality": 2}),
    },
)


def desk(**changes: Any) -> Desk:
    usual: dict[str, Any] = {
        "job": "1",
        "model": "gemini-2.5-flash",
        "embeds": False,
        "seed": 7,
        "knobs": Knobs(),
        "source": fit_schema,
        "siblings": {},
        "normalise": True,
        "rows": 1,
    }
    return Desk(**(usual | changes))


def answer(row: dict[str, Any], **changes: Any) -> tuple[RowResult, dict[str, Any]]:
    result = answer_row(desk(**changes), 0, lambda _row: json.dumps(row).encode())
    return result, json.loads(result.lines)


@settings(max_examples=400, deadline=None)
@given(request_=REQUEST, embeds=st.booleans(), normalise=st.booleans())
def test_any_request_ends_in_one_line_with_its_key(request_: Any, *, embeds: bool, normalise: bool) -> None:
    """Succeeded and billed, or failed with a status and no response."""
    row = {"key": "k", "request": request_}
    result, line = answer(row, embeds=embeds, normalise=normalise)
    assert line["key"] == "k"
    if result.outcome == "succeeded":
        assert (line["status"], result.billed) == ("", 1)
    else:
        assert (line["response"], result.billed) == ({}, 0)
        prefix, _, error = line["status"].partition(": ")
        assert prefix == "Bad Request"
        assert json.loads(error)["error"]["code"] == 400


@pytest.mark.parametrize("text", ["{", "[" * 2000 + "]" * 2000, "nonsense", ""])
def test_a_string_column_without_a_request_in_it_fails_its_row(text: str) -> None:
    """Deep nesting too: an opaque column is not held to the importer's 15 levels."""
    result, line = answer({"request": text}, normalise=False)
    assert result.outcome == "failed"
    assert "Invalid JSON payload" in line["status"]


def test_a_string_column_is_answered_and_echoed_as_json() -> None:
    """The echo is what the column held, field names as they were."""
    held = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generation_config": {"top_p": 1}}
    result, line = answer({"request": json.dumps(held)}, normalise=False)
    assert result.outcome == "succeeded"
    assert line["request"] == held
