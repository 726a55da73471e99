"""What a request weighs before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from request_corpus import requests, snake

from airflow_batch_gemini.batch.weighing import MODEL_LIMIT, Weight, countable, weigh

MODEL = "gemini-3.5-flash"
TURN = {"role": "user", "parts": [{"text": "ä" * 10}]}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"contents": [TURN]}, 20),
        ({"contents": TURN}, 20),
        ({"contents": [TURN, TURN], "system_instruction": {"parts": {"text": "abc"}}}, 43),
        ({"contents": [TURN], "tools": [{"googleSearch": {}}]}, 20 + len('[{"googleSearch":{}}]')),
        (
            {"contents": [TURN], "generationConfig": {"responseSchema": {"type": "STRING"}}},
            20 + len('{"type":"STRING"}'),
        ),
        ({"contents": [{"parts": [{"functionCall": {"name": "f"}}]}]}, len('{"functionCall":{"name":"f"}}')),
        ({"content": {"parts": [{"text": "abcd"}]}}, 4),
        ({}, 0),
        ({"contents": "x", "generationConfig": 5, "systemInstruction": [1]}, 0),
    ],
)
def test_everything_the_model_reads_is_weighed(request_: dict[str, Any], text: int) -> None:
    """In bytes of UTF-8, since tokens of other scripts have fewer characters."""
    assert weigh(request_, model=MODEL).text == text


@pytest.mark.parametrize(
    ("config", "limit", "most"),
    [
        ({}, None, MODEL_LIMIT),
        ({"maxOutputTokens": 100}, 100, 100),
        ({"max_output_tokens": 100, "candidate_count": 3}, 300, 300),
        ({"candidateCount": 2}, None, 2 * MODEL_LIMIT),
        ({"maxOutputTokens": 100, "thinkingConfig": {"thinkingBudget": 5000}}, 100, 100),
        ({"maxOutputTokens": "many"}, None, MODEL_LIMIT),
        ({"maxOutputTokens": True}, None, MODEL_LIMIT),
    ],
)
def test_the_longest_answer_is_what_the_request_lets_through(
    config: dict[str, Any], limit: int | None, most: int
) -> None:
    """Thoughts are output and within the limit."""
    weight = weigh({"contents": [TURN], "generationConfig": config}, model=MODEL)
    assert (weight.limit, weight.most_output) == (limit, most)


def test_files_are_weighed_by_their_rules_and_not_as_text() -> None:
    """A resolution of the whole request holds for each of them."""
    image = {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/o"}}
    audio = {"fileData": {"mimeType": "audio/mp3", "fileUri": "gs://b/o"}}
    request = {
        "contents": [{"parts": [{"text": "four"}, image, audio]}],
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"},
    }
    weight = weigh(request, model=MODEL)
    assert (weight.text, weight.media.expected, weight.assumed) == (4, 280 + 1920, frozenset({"audio"}))


def test_counting_is_asked_only_for_what_is_read() -> None:
    """A vector's content becomes a turn; labels and safety settings stay at home."""
    request = {"contents": [TURN], "labels": {"a": "b"}, "safety_settings": [], "system_instruction": TURN}
    assert countable(request) == {"contents": [TURN], "systemInstruction": TURN}
    assert countable({"content": TURN, "embed_content_config": {}}) == {"contents": [TURN]}


@pytest.mark.parametrize("request_", requests().values(), ids=requests())
def test_every_valid_request_can_be_weighed(request_: dict[str, Any]) -> None:
    """All part kinds, tools and schemas; in the other spelling it weighs the same."""
    weight = weigh(request_, model=MODEL)
    assert weight != Weight(text=0)
    other = weigh(snake(request_), model=MODEL)
    assert (other.media, other.limit, other.assumed) == (weight.media, weight.limit, weight.assumed)


NAMES = st.sampled_from(
    [
        "contents",
        "parts",
        "text",
        "fileData",
        "inline_data",
        "mimeType",
        "data",
        "videoMetadata",
        "fps",
        "endOffset",
        "generationConfig",
        "maxOutputTokens",
        "candidateCount",
        "systemInstruction",
        "tools",
        "mediaResolution",
    ]
)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["image/png", "video/mp4", "application/pdf", "1s", "AAAA"])
)  # fmt: skip
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5)
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, ANY, max_size=5), st.sampled_from(["gemini-2.5-pro", MODEL, "x"]))
def test_whatever_a_line_holds_it_can_be_weighed(request_: dict[str, Any], model: str) -> None:
    """With on_lint="ignore" anything may come here."""
    weight = weigh(request_, model=model)
    assert weight.text >= 0
    assert 0 <= weight.media.low <= weight.media.expected <= weight.media.high < float("inf")
    assert weight.most_output >= 0
    countable(request_)


def test_what_is_nested_without_end_weighs_nothing() -> None:
    """No job would import it."""
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}
    assert weigh({"contents": [{"parts": [{"functionCall": deep}]}]}, model=MODEL).text == 0
