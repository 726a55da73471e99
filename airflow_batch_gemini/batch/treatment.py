"""What a repair makes of a request; ``sql/treatment.py`` makes the same of one in a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from airflow_batch_gemini.batch.json_values import at
from airflow_batch_gemini.batch.repair import Action, Treatment
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX

LEAST_THINKING = 512
"""Tokens below which no thinking budget is lowered: no model refuses as many."""

_CONFIGS = ("generationConfig", "generation_config")
TOKENS = tuple((config, tokens) for config in _CONFIGS for tokens in ("maxOutputTokens", "max_output_tokens"))
"""Where a request says how many tokens its answer may have; both spellings mean the same."""
_THINKINGS = tuple(
    (config, thinking) for config in _CONFIGS for thinking in ("thinkingConfig", "thinking_config")
)
BUDGETS = tuple((*place, budget) for place in _THINKINGS for budget in ("thinkingBudget", "thinking_budget"))
"""Where it says how many of them may be thoughts."""
LEVELS = tuple((*place, level) for place in _THINKINGS for level in ("thinkingLevel", "thinking_level"))
"""Where it says in a word how much the model may think; newer models take that instead."""
HIGH_LEVELS = ("HIGH", "MEDIUM")
"""Levels that are lowered, in any case of letters, as Google's clients take them."""
LOW_LEVEL = "LOW"
"""The lowest level that every model takes which takes levels. Source: Vertex AI, *Thinking*, the table of levels."""
SYSTEMS = ("systemInstruction", "system_instruction")
CORRECTION = {
    "text": "Answer with nothing but JSON that fits the response schema: every required property, each value of its "
    "type, no text around it."
}
"""What a request says besides whose answer did not fit. Nothing of that answer is in it."""

_LINE = re.compile(
    rb'(\{"key":"'
    + WIRE_KEY_PREFIX.encode()
    + rb'(?:[^"\\]|\\.)*"(?:,"fingerprint":"([0-9a-f]*)")?,"request":)'
    rb"(.*)\}\s*",
    re.DOTALL,
)


def treated(request: Mapping[str, Any], treatment: Treatment) -> Mapping[str, Any] | None:
    """Return the request that is to be sent instead of *request*.

    ``None``: another try would ask the same of a row that needs something else, such as more tokens where the model
    has no more to give, or where the round before had as many. Such a row is given up.
    """
    match treatment.action:
        case Action.SAME:
            return request
        case Action.MORE_TOKENS:
            made, earlier = _more_tokens(request, treatment), treatment.earlier
            return None if earlier and made == _more_tokens(request, earlier) else made
        case Action.CORRECT:
            return _corrected(request)
        case Action.GIVE_UP:
            return None


def treated_line(line: bytes, treatment: Treatment) -> bytes | None:
    """Return the request line to send instead of *line*; its key and its fingerprint stay.

    The fingerprint is that of the first request: whoever asks the same again finds the answer that came in the end.
    """
    head, request = _taken_apart(line)
    if treatment.action is Action.SAME:
        return head + request + b"}\n"
    made = treated(orjson.loads(request), treatment)
    return None if made is None else head + orjson.dumps(made) + b"}\n"


def fingerprint_of(line: bytes) -> str | None:
    """Return the fingerprint that a request line carries."""
    match = _LINE.fullmatch(line)
    return None if match is None or match[2] is None else match[2].decode()


def _taken_apart(line: bytes) -> tuple[bytes, bytes]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not a request line")
    return match[1], match[3]


def _more_tokens(request: Mapping[str, Any], treatment: Treatment) -> Mapping[str, Any] | None:
    for path in TOKENS:
        tokens = _whole(at(request, *path))
        if tokens is not None and 0 < tokens < treatment.most_tokens:
            return _with(request, path, min(tokens * treatment.times, treatment.most_tokens))
    for place in BUDGETS:
        budget = _whole(at(request, *place))
        if budget is not None and budget > LEAST_THINKING:
            return _with(request, place, max(budget // treatment.times, LEAST_THINKING))
    for place in LEVELS:
        level = at(request, *place)
        if isinstance(level, str) and level.upper() in HIGH_LEVELS:
            return _with(request, place, LOW_LEVEL)
    return None


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _corrected(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if request.get("contents") is None:
        return None  # what is asked for a vector cannot be told anything
    for name in SYSTEMS:
        if isinstance(parts := at(request, name, "parts"), list):
            return _with(request, (name, "parts"), [*parts, CORRECTION])
    # A null stays: in one file a member that is null in a line and an object in another fails the whole job.
    if not any(name in request for name in SYSTEMS):
        return {**request, SYSTEMS[0]: {"parts": [CORRECTION]}}
    return None


def _with(document: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    name, inner = path[0], path[1:]
    return {**document, name: _with(document[name], inner, value) if inner else value}
