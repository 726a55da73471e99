"""The one rule by which a row ends: what Vertex AI wrote for a key becomes exactly one outcome with a reason.

The rule runs as SQL (``sql/judging.py``), where the rows are. This is the same rule in Python: the reference that the
SQL is tested against, and the vocabulary that both share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_batch_gemini.batch.columns import NO_COLUMNS, Typed
from airflow_batch_gemini.batch.echo import is_echo_of
from airflow_batch_gemini.batch.fitting import misfit, no_values, values
from airflow_batch_gemini.batch.json_values import NOTHING, at, parsed, scalar
from airflow_batch_gemini.batch.response import (
    Tokens,
    calls_of,
    finish_reason,
    message_of,
    row_error,
    text_of,
    tokens_of,
)
from airflow_batch_gemini.batch.schema import Shape


class Outcome(StrEnum):
    """How a row ended. Of two lines with one key the outcome named first wins."""

    SUCCEEDED = "succeeded"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    BLOCKED = "blocked"
    FAILED = "failed"
    MISMATCHED = "mismatched"
    """The line repeats another request than was sent for its key: whose answer it is, nobody can say."""
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
class Line:
    """One output line as it was landed. ``response`` and ``echo`` are parsed JSON."""

    key: str
    status: str | None = None
    processed_time: str = ""
    response: Any = None
    echo: Any = None
    """The request as the line repeats it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Our reading of what came back for one key."""

    outcome: Outcome
    reason: str | None = None
    path: str | None = None
    """JSON path of the first value of the answer that does not fit the schema."""
    verified: bool | None = None
    """Whether the line repeats the request that was sent for its key; ``None``: it repeats none, so only the key says
    whose answer it is."""
    code: int | None = None
    status: str | None = None
    message: str | None = None
    retryable: bool = False
    text: str | None = None
    answer: Any = None
    values: Mapping[str, Any] = field(default_factory=dict)
    """What stands in the typed columns, by name."""
    finish_reason: str | None = None
    model_version: str | None = None
    tokens: Tokens = field(default_factory=Tokens)


MISSING = Reading(outcome=Outcome.MISSING, reason="NO_LINE", retryable=True)
"""No line came back for the key."""


def read_line(line: Line, shape: Shape, request: Any = None, columns: Typed = NO_COLUMNS) -> Reading:
    """Judge one output line.

    :param request: what was sent for its key.
    :param columns: what the response schema promises.
    """
    response, status = line.response, line.status or ""
    text, error = text_of(response), row_error(status)
    said = _said(response, text, shape, nullable=columns.nullable)
    wrong = _misfit(response, said, columns)
    fits = (said is None and columns.nullable) or _is(said, shape)
    outcome, reason = (
        _judge_vector(response) if shape is Shape.VECTOR else _judge(response, said, shape, wrong, fits=fits)
    )
    verified = is_echo_of(line.echo, request)
    if status:
        outcome, reason = Outcome.FAILED, error.status or "ROW_ERROR"
    if verified is False:
        outcome, reason = Outcome.MISMATCHED, "OTHER_REQUEST"
    good = outcome is Outcome.SUCCEEDED
    return Reading(
        outcome=outcome,
        reason=reason,
        path=wrong[1] if wrong and outcome is Outcome.INVALID else None,
        verified=verified,
        code=error.code,
        status=error.status,
        message=error.message if status else message_of(response),
        retryable=_retryable(outcome, error.code),
        text=text,
        answer=said if good and said is not NOTHING else None,
        values=values(said, columns)
        if good and said is not None and not calls_of(response)
        else no_values(columns),
        finish_reason=finish_reason(response),
        model_version=scalar(response, "modelVersion"),
        tokens=tokens_of(response, shape),
    )


def classify(
    keys: Sequence[str],
    lines: Iterable[Line],
    shape: Shape,
    requests: Mapping[str, Any] | None = None,
    columns: Typed = NO_COLUMNS,
) -> dict[str, Reading]:
    """Give every key exactly one reading; lines of other keys are left out.

    :param requests: by key, what was sent.
    """
    best: dict[str, tuple[tuple[Any, ...], Reading]] = {}
    for line in lines:
        reading = read_line(line, shape, (requests or {}).get(line.key), columns)
        rank = (-list(Outcome).index(reading.outcome), line.processed_time, reading.text or "")
        if line.key not in best or rank > best[line.key][0]:
            best[line.key] = (rank, reading)
    return {key: best[key][1] if key in best else MISSING for key in keys}


def _judge(
    response: Any, said: Any, shape: Shape, wrong: tuple[str, str] | None, *, fits: bool
) -> tuple[Outcome, str | None]:
    """Judge a response by the first case that is true.

    :param fits: whether what it says is of the right shape.
    """
    block = scalar(response, "promptFeedback", "blockReason") or None
    finish = finish_reason(response)
    cases: list[tuple[bool, Outcome, str | None]] = [
        (block is not None, Outcome.BLOCKED, block),
        (not isinstance(response, dict), Outcome.FAILED, "NO_RESPONSE"),
        (not isinstance(at(response, "candidates", 0), dict), Outcome.FAILED, "NO_CANDIDATES"),
        (finish == "MAX_TOKENS", Outcome.TRUNCATED, finish),
        (finish in BLOCKED_REASONS, Outcome.BLOCKED, finish),
        (finish != "STOP", Outcome.FAILED, finish or "NO_FINISH_REASON"),
        (text_of(response) is None, Outcome.FAILED, "NO_CONTENT"),
        (shape is Shape.TEXT or bool(calls_of(response)), Outcome.SUCCEEDED, None),
        (said is NOTHING, Outcome.INVALID, "NOT_JSON"),
        (not fits, Outcome.INVALID, f"NOT_{shape.name}"),
        (wrong is not None, Outcome.INVALID, wrong and wrong[0]),
        (True, Outcome.SUCCEEDED, None),
    ]
    return next((outcome, reason) for true, outcome, reason in cases if true)


def _judge_vector(response: Any) -> tuple[Outcome, str | None]:
    """Judge the response of an embedding model: a vector is a list of numbers."""
    values = at(response, "embedding", "values")
    if not isinstance(response, dict):
        return Outcome.FAILED, "NO_RESPONSE"
    if not isinstance(values, list) or not values:
        return Outcome.FAILED, "NO_EMBEDDING"
    if any(type(value) not in (int, float) for value in values):
        return Outcome.INVALID, "NOT_NUMBERS"
    return Outcome.SUCCEEDED, None


def _retryable(outcome: Outcome, code: int | None) -> bool:
    if outcome is Outcome.MISMATCHED:
        return True
    return outcome is Outcome.FAILED and (code is None or code in RETRYABLE_CODES)


_TYPES: Mapping[Shape, tuple[type, ...]] = {
    Shape.ANY: (object,),
    Shape.OBJECT: (dict,),
    Shape.ARRAY: (list,),
    Shape.NUMBER: (int, float),
    Shape.BOOLEAN: (bool,),
    Shape.STRING: (str,),
}


def _is(value: Any, shape: Shape) -> bool:
    return isinstance(value, _TYPES.get(shape, ())) and (
        shape is not Shape.NUMBER or not isinstance(value, bool)
    )


def _said(response: Any, text: str | None, shape: Shape, *, nullable: bool) -> Any:
    """Return what a response says as JSON: a vector, the functions to call, or what the text is.

    An enum's bare word is a string, ``null`` where it may be none. Who calls functions does not answer by the schema.
    """
    if shape is Shape.VECTOR:
        return at(response, "embedding", "values")
    if calls := calls_of(response):
        return calls
    value = NOTHING if shape is Shape.TEXT else parsed(text)
    if shape is not Shape.STRING or isinstance(value, str) or (value is None and nullable):
        return value
    return text


def _misfit(response: Any, said: Any, columns: Typed) -> tuple[str, str] | None:
    """Only what is of the right shape is looked into."""
    if said is NOTHING or calls_of(response) or not (columns.alone or isinstance(said, dict)):
        return None
    if said is None and columns.nullable:
        return None
    return misfit(said, columns)
