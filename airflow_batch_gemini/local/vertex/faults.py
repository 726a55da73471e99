"""Which troubles one row meets; drawn from the seed, the job and the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.local.dice import draw
from airflow_batch_gemini.local.errors import STATUS_OF
from airflow_batch_gemini.local.knobs import Knobs
from airflow_batch_gemini.local.vertex.requests import RowError

_TEXTS = {
    429: "Resource exhausted. Please try again later.",
    499: "The operation was cancelled.",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
    504: "The request timed out. Please try again.",
}
_RATES = {
    "error": "row_error_rate",
    "truncated": "truncate_rate",
    "missing": "missing_rate",
    "duplicated": "duplicate_rate",
    "swapped": "swap_echo_rate",
    "broken_json": "invalid_json_rate",
    "separated": "line_separator_rate",
    "thoughtful": "thought_rate",
    "cached": "cached_rate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFaults:
    """The troubles of one row."""

    error: bool = False
    truncated: bool = False
    blocked: bool = False
    missing: bool = False
    duplicated: bool = False
    swapped: bool = False
    broken_json: bool = False
    separated: bool = False
    length: int = 0
    """Bytes that the answer has at least."""
    thoughtful: bool = False
    cached: bool = False


NO_FAULTS = RowFaults()


def row_faults(knobs: Knobs, *, seed: int, job: str, row: int, request: bytes) -> RowFaults:
    """Draw the troubles of a row.

    Being blocked depends on the request alone, so that it is blocked again in every repair; all others
    depend on the job as well, so that another job may do better.
    """
    met: dict[str, Any] = {
        trouble: True
        for trouble, knob in _RATES.items()
        if (rate := getattr(knobs, knob)) and draw(seed, job, row, trouble) < rate
    }
    if knobs.blocked_rate and draw(seed, "blocked", request) < knobs.blocked_rate:
        met["blocked"] = True
    if knobs.long_answer_bytes and row == 0:
        met["length"] = knobs.long_answer_bytes
    return RowFaults(**met) if met else NO_FAULTS


def row_error(code: int) -> RowError:
    """Return the error of a row that another try may answer."""
    return RowError(_TEXTS.get(code, STATUS_OF.get(code, "Unknown error.")), code=code)
