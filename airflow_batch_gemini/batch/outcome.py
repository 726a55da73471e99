"""The one rule by which a row ends: what Vertex AI wrote for a key becomes exactly one outcome with a reason.

The rule runs as SQL (``sql/results.py``), where the rows are. This is the same rule in Python: the reference that the
SQL is tested against, and the vocabulary that both share. Where a response is read, ``JSON_VALUE`` is meant: text,
numbers and booleans come out as text, anything else as nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_batch_gemini.batch.schema import Shape


class Outcome(StrEnum):
    """How a row ended. Of two lines with one key the outcome named first wins."""

    SUCCEEDED = "succeeded"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    BLOCKED = "blocked"
    FAILED = "failed"
    MISSING = "missing"
    REJECTED = "rejected"
    """Never sent: a rule said beforehand that it would fail, or fail all the others with it."""


BLOCKED_REASONS = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
    "JAILBREAK",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
)
"""Finish reasons of an answer that a policy stopped. Source: ``FinishReason`` of the GenerateContent reference."""

RETRYABLE_CODES = (1, 4, 8, 10, 13, 14, 408, 409, 429, 499, 500, 502, 503, 504)
"""Row errors that may pass when the same request is sent again; HTTP codes, and gRPC's for the same things."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token counts of one response, ``None`` where it does not say."""

    prompt: int | None = None
    cached: int | None = None
    output: int | None = None
    thoughts: int | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One output line as it was landed. ``response`` is parsed JSON."""

    key: str
    status: str | None = None
    processed_time: str = ""
    response: Any = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Our reading of what came back for one key."""

    outcome: Outcome
    reason: str | None = None
    code: int | None = None
    status: str | None = None
    message: str | None = None
    retryable: bool = False
    text: str | None = None
    answer: Any = None
    finish_reason: str | None = None
    model_version: str | None = None
    tokens: Tokens = Tokens()


MISSING = Reading(outcome=Outcome.MISSING, reason="NO_LINE", retryable=True)
"""No line came back for the key."""


def read_line(line: Line, shape: Shape) -> Reading:
    """Judge one output line."""
    response, status = line.response, line.status or ""
    text, error = _text(response), _row_error(status)
    judge = _judge_vector if shape is Shape.VECTOR else _judge
    outcome, reason = judge(response, text, shape)
    if status:
        outcome, reason = Outcome.FAILED, error.status or "ROW_ERROR"
    return Reading(
        outcome=outcome,
        reason=reason,
        code=error.code,
        status=error.status,
        message=error.message if status else _answer_message(response),
        retryable=_retryable(outcome, error.code),
        text=text,
        answer=_answer(response, text, shape) if outcome is Outcome.SUCCEEDED else None,
        finish_reason=_finish(response),
        model_version=_value(response, "modelVersion"),
        tokens=_tokens(response, shape),
    )


def classify(keys: Sequence[str], lines: Iterable[Line], shape: Shape) -> dict[str, Reading]:
    """Give every key exactly one reading; lines of other keys are left out."""
    best: dict[str, tuple[tuple[Any, ...], Reading]] = {}
    for line in lines:
        reading = read_line(line, shape)
        rank = (-list(Outcome).index(reading.outcome), line.processed_time, reading.text or "")
        if line.key not in best or rank > best[line.key][0]:
            best[line.key] = (rank, reading)
    return {key: best[key][1] if key in best else MISSING for key in keys}


def _judge(response: Any, text: str | None, shape: Shape) -> tuple[Outcome, str | None]:
    """Judge a response by the first case that is true."""
    block = _value(response, "promptFeedback", "blockReason") or None
    finish = _finish(response)
    value = _NOTHING if shape is Shape.TEXT else _parsed(text)
    cases: list[tuple[bool, Outcome, str | None]] = [
        (block is not None, Outcome.BLOCKED, block),
        (not isinstance(response, dict), Outcome.FAILED, "NO_RESPONSE"),
        (not isinstance(_at(response, "candidates", 0), dict), Outcome.FAILED, "NO_CANDIDATES"),
        (finish == "MAX_TOKENS", Outcome.TRUNCATED, finish),
        (finish in BLOCKED_REASONS, Outcome.BLOCKED, finish),
        (finish != "STOP", Outcome.FAILED, finish or "NO_FINISH_REASON"),
        (text is None, Outcome.FAILED, "NO_CONTENT"),
        (shape in _LENIENT, Outcome.SUCCEEDED, None),
        (value is _NOTHING, Outcome.INVALID, "NOT_JSON"),
        (not _is(value, shape), Outcome.INVALID, f"NOT_{shape.name}"),
        (True, Outcome.SUCCEEDED, None),
    ]
    return next((outcome, reason) for true, outcome, reason in cases if true)


def _judge_vector(response: Any, _text: str | None, _shape: Shape) -> tuple[Outcome, str | None]:
    """Judge the response of an embedding model: a vector is a list of numbers."""
    values = _at(response, "embedding", "values")
    if not isinstance(response, dict):
        return Outcome.FAILED, "NO_RESPONSE"
    if not isinstance(values, list) or not values:
        return Outcome.FAILED, "NO_EMBEDDING"
    if any(type(value) not in (int, float) for value in values):
        return Outcome.INVALID, "NOT_NUMBERS"
    return Outcome.SUCCEEDED, None


def _retryable(outcome: Outcome, code: int | None) -> bool:
    return outcome is Outcome.FAILED and (code is None or code in RETRYABLE_CODES)


@dataclass(frozen=True)
class _RowError:
    code: int | None
    status: str | None
    message: str | None


def _row_error(status: str) -> _RowError:
    """Take a status text apart: ``Bad Request: {"error": {"code": 400, "message": …, "status": …}}``."""
    found = _parsed(status[status.find("{") :]) if "{" in status else _NOTHING
    code = _value(found, "error", "code")
    return _RowError(
        _int(code),
        _value(found, "error", "status") or _value(found, "error", "type") or None,
        (_value(found, "error", "message") or status) if status else None,
    )


def _answer_message(response: Any) -> str | None:
    finish_message = _value(response, "candidates", 0, "finishMessage")
    return _value(response, "promptFeedback", "blockReasonMessage") or finish_message or None


def _text(response: Any) -> str | None:
    """All parts but the model's thoughts, joined in order; ``None`` when there is none."""
    parts = _at(response, "candidates", 0, "content", "parts")
    if not isinstance(parts, list):
        return None
    said = [_value(part, "text") or "" for part in parts if _value(part, "thought") != "true"]
    return "".join(said) if said else None


_NOTHING = object()


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOTHING


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_LENIENT = (Shape.TEXT, Shape.STRING)
_TYPES: Mapping[Shape, tuple[type, ...]] = {
    Shape.ANY: (object,),
    Shape.OBJECT: (dict,),
    Shape.ARRAY: (list,),
    Shape.NUMBER: (int, float),
    Shape.BOOLEAN: (bool,),
}


def _is(value: Any, shape: Shape) -> bool:
    return isinstance(value, _TYPES.get(shape, ())) and (
        shape is not Shape.NUMBER or not isinstance(value, bool)
    )


def _answer(response: Any, text: str | None, shape: Shape) -> Any:
    """Return what a succeeded *text* says as JSON; an enum's bare word is a string. A vector is one by itself."""
    if shape is Shape.VECTOR:
        return _at(response, "embedding", "values")
    if shape is Shape.TEXT:
        return None
    value = _parsed(text)
    return text if shape is Shape.STRING and not isinstance(value, str) else value


def _finish(response: Any) -> str | None:
    return _value(response, "candidates", 0, "finishReason") or None


def _at(value: Any, *path: str | int) -> Any:
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _value(value: Any, *path: str | int) -> str | None:
    found = _at(value, *path)
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, (str, int, float)) else None


def _tokens(response: Any, shape: Shape) -> Tokens:
    """Return the counts; an embedding model says one, beside the vector."""
    whole = _int(_value(response, "tokenCount")) if shape is Shape.VECTOR else None
    prompt, total = _count(response, "promptTokenCount"), _count(response, "totalTokenCount")
    return Tokens(
        prompt=whole if prompt is None else prompt,
        cached=_count(response, "cachedContentTokenCount"),
        output=_count(response, "candidatesTokenCount"),
        thoughts=_count(response, "thoughtsTokenCount"),
        total=whole if total is None else total,
    )


def _count(response: Any, name: str) -> int | None:
    return _int(_value(response, "usageMetadata", name))


def _int(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
