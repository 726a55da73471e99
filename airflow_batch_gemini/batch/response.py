"""What one response says, whatever is made of it: text, functions to call, tokens, errors.

Where one is read, ``JSON_VALUE`` is meant: text, numbers and booleans come out as text, anything else as nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.batch.json_values import NOTHING, at, integer, parsed, scalar
from airflow_batch_gemini.batch.schema import Shape

COUNT = "[0-9]{1,8}"
"""What a count of tokens looks like. What no model can do, or is less than nothing, is no count: reckoning with it, one
line would keep all the others from being landed."""
COUNTS = f"(?:{COUNT}(?:,{COUNT})*)?"
PAID = ("cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
"""What is paid for beside the prompt. Where one of them is said and is no count, nobody knows what a response cost, and
so neither its prompt is told: a sum without the rest would look whole."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token counts of one response, ``None`` where it does not say."""

    prompt: int | None = None
    cached: int | None = None
    output: int | None = None
    thoughts: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class RowError:
    """What the status of a failed row tells, ``None`` where it does not say."""

    code: int | None
    status: str | None
    message: str | None


def row_error(status: str) -> RowError:
    """Take a status text apart: ``Bad Request: {"error": {"code": 400, "message": …, "status": …}}``."""
    found = parsed(status[status.find("{") :]) if "{" in status else NOTHING
    code = scalar(found, "error", "code")
    return RowError(
        integer(code),
        scalar(found, "error", "status") or scalar(found, "error", "type") or None,
        (scalar(found, "error", "message") or status) if status else None,
    )


def message_of(response: Any) -> str | None:
    """Return what is said of an answer that was stopped."""
    finish_message = scalar(response, "candidates", 0, "finishMessage")
    return scalar(response, "promptFeedback", "blockReasonMessage") or finish_message or None


def text_of(response: Any) -> str | None:
    """All parts but the model's thoughts, joined in order; ``None`` when there is none."""
    said = [scalar(part, "text") or "" for part in _parts(response)]
    return "".join(said) if said else None


def calls_of(response: Any) -> list[dict[str, Any]]:
    """The functions that the model wants called, in order."""
    calls = [at(part, "functionCall") for part in _parts(response)]
    return [call for call in calls if isinstance(call, dict)]


def _parts(response: Any) -> list[Any]:
    parts = at(response, "candidates", 0, "content", "parts")
    return [part for part in parts if scalar(part, "thought") != "true"] if isinstance(parts, list) else []


def finish_reason(response: Any) -> str | None:
    """Return why the model stopped."""
    return scalar(response, "candidates", 0, "finishReason") or None


def tokens_of(response: Any, shape: Shape) -> Tokens:
    """Return the counts; an embedding model says one, beside the vector."""
    only = _count(response, "tokenCount") if shape is Shape.VECTOR else None
    prompt, total = _used(response, "promptTokenCount"), _used(response, "totalTokenCount")
    said = (scalar(response, "usageMetadata", name) for name in PAID)
    if not re.fullmatch(COUNTS, ",".join(one for one in said if one is not None)):
        prompt = None
    return Tokens(
        prompt=only if prompt is None else prompt,
        cached=_used(response, "cachedContentTokenCount"),
        output=_used(response, "candidatesTokenCount"),
        thoughts=_used(response, "thoughtsTokenCount"),
        total=only if total is None else total,
    )


def _used(response: Any, name: str) -> int | None:
    return _count(response, "usageMetadata", name)


def _count(response: Any, *path: str) -> int | None:
    said = scalar(response, *path)
    return int(said) if said is not None and re.fullmatch(COUNT, said) else None
