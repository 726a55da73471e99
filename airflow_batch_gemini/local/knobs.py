"""The knobs: how fast jobs go, where answers come from, and which troubles happen.

One table, ``Knobs``. A new trouble is a new field with its bounds, and the code that reads it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from airflow_batch_gemini.local.vertex.pace import Pace

ANSWERS = ("echo", "schema", "openai")
CANCEL_OUTCOMES = ("CANCELLED", "SUCCEEDED", "FAILED")
ROW_ERRORS = (429, 499, 500, 503, 504)


def _rate(says: str) -> Any:
    return field(default=0.0, metadata={"says": says, "low": 0.0, "high": 1.0})


def _count(says: str, default: int = 0, *, low: int = 0) -> Any:
    return field(default=default, metadata={"says": says, "low": low, "high": 10**12})


def _seconds(says: str, default: float = 0.0) -> Any:
    return field(default=default, metadata={"says": says, "low": 0.0, "high": 1e6})


def _switch(says: str) -> Any:
    return field(default=False, metadata={"says": says})


def _word(says: str, default: str, *, one_of: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"says": says, "one_of": one_of})


def _pattern(says: str, default: str) -> Any:
    says = f"regular expression over 'METHOD /path': {says}"
    return field(default=default, metadata={"says": says, "pattern": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """All knobs at one moment. Rates are shares of rows (or of HTTP calls), drawn from the seed."""

    pace: str = _word("immediate, looks:N (each state lasts N gets or lists) or seconds:N", "immediate")
    answers: str = _word("where answers come from", "schema", one_of=ANSWERS)

    row_error_rate: float = _rate("rows that fail with row_error_code; another job may answer them")
    row_error_code: int = _count("HTTP code of those rows: 429, 499, 500, 503 or 504", 429)
    truncate_rate: float = _rate("rows cut off in the middle, finishReason MAX_TOKENS")
    blocked_rate: float = _rate("rows blocked for safety; the same request is blocked in every job")
    missing_rate: float = _rate("rows no line comes back for; not billed, counted as incomplete")
    duplicate_rate: float = _rate("rows whose line comes back twice; billed once")
    swap_echo_rate: float = _rate("rows that come back with another row's request and response")
    invalid_json_rate: float = _rate("JSON answers that do not parse")
    line_separator_rate: float = _rate("answers with U+2028, U+2029 and U+0085 in their text")
    long_answer_bytes: int = _count("length of the answer to the first row of a job; 0 leaves it as it comes")
    thought_rate: float = _rate("answers that start with thought parts and count thinking tokens")
    cached_rate: float = _rate("rows with an implicit cache hit over half of their prompt")

    http_429_rate: float = _rate("HTTP calls refused with 429 before anything happens")
    http_503_rate: float = _rate("HTTP calls refused with 503 before anything happens")
    reset_rate: float = _rate("HTTP calls whose connection is reset before anything happens")
    retry_after_seconds: int = _count("Retry-After of refused calls; 0 sends no such header", 1)
    answer_lost_after_commit: int = _count(
        "so many next calls to lost_answer_routes take effect, their answers are lost"
    )
    lost_answer_routes: str = _pattern(
        "calls whose answers are lost: job creations, unless it says otherwise",
        "^POST .*/batchPredictionJobs$",
    )
    slow_answer_seconds: float = _seconds("HTTP answers are held back this long after taking effect")
    fault_routes: str = _pattern("calls that the HTTP troubles apply to", "batchPredictionJobs|publishers/")
    late_creates: int = _count(
        "so many next job creations take effect only late_create_seconds after they came"
    )
    late_create_seconds: float = _seconds("how long late job creations are held back", 5.0)

    die_before_commit: int = _count(
        "the next call to die_routes (1), the one after it (2), … kills the process before its effect"
    )
    die_after_commit: int = _count(
        "the next call to die_routes (1), the one after it (2), … kills the process after its effect"
    )
    die_routes: str = _pattern(
        "calls that may kill the process: job creations and uploads, unless it says otherwise",
        "^POST .*/(batchPredictionJobs|jobs)$|^(POST|PUT) /(upload|resumable)/",
    )

    listing_lag_seconds: float = _seconds("a new job is missing from listings for so long")
    stuck_pending: bool = _switch("jobs never leave PENDING")
    expire: bool = _switch("jobs leave PENDING for EXPIRED")
    fail_after_rows: int = _count("a job FAILS after so many rows, which are exported and billed; 0 never")
    partial_after_rows: int = _count(
        "a job ends PARTIALLY_SUCCEEDED after so many rows, which are exported and billed; 0 never"
    )
    expire_after_rows: int = _count(
        "a job ends EXPIRED after so many rows, which are exported and billed; 0 never"
    )
    unfinished_lines: bool = _switch(
        "a job that ends early also writes the rows it did not come to, without a response"
    )
    rerun_finished: bool = _switch(
        "a job that reads the output of an earlier one runs, and bills, the finished rows again too"
    )
    cancel_outcome: str = _word(
        "what a job that is being cancelled ends in", "CANCELLED", one_of=CANCEL_OUTCOMES
    )
    late_cancels: int = _count("so many next cancels come when the job has just SUCCEEDED, and are refused")
    continuous_export: bool = _switch("incremental_predictions files appear while a job runs")
    output_shards: int = _count("number of prediction files; 1 is predictions.jsonl", 1, low=1)
    lost_shards: int = _count("so many of the prediction files, the last ones, never appear")
    empty_output: bool = _switch("the output holds no line, whatever the job says it answered")
    cut_last_line: bool = _switch("the last line of the last prediction file ends in the middle")
    corrupt_line_rate: float = _rate("lines of prediction files that are cut in the middle: no JSON")
    invalid_utf8_rate: float = _rate("lines of prediction files with bytes that are no UTF-8")
    unknown_key_rate: float = _rate("lines that are followed by one with a key that nobody sent")

    max_input_rows: int = _count("rows one job may have", 200_000, low=1)
    max_embedding_rows: int = _count("rows one embedding job may have", 1_000_000, low=1)
    max_input_bytes: int = _count("bytes the input files of one job may have together", 1_000_000_000, low=1)
    access_token: str = _word("the token that everybody who asks gets", "local")
    extra_models: str = _word(
        "comma-separated model ids, or full names, that exist beside the known ones", ""
    )

    def turned(self, changes: Mapping[str, object]) -> Knobs:
        """Return these knobs with the changes applied.

        Values may come as text (from a command line). Raise ``ValueError`` naming the knob that does not
        exist or whose value is out of bounds; then nothing has changed.
        """
        table = {item.name: item for item in fields(self)}
        unknown = sorted(set(changes) - set(table))
        if unknown:
            raise ValueError(f"no knob named {', '.join(unknown)}; there are {', '.join(sorted(table))}")
        values: dict[str, Any] = {
            name: _value(name, value, type(getattr(Knobs(), name)), table[name].metadata)
            for name, value in changes.items()
        }
        return replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """Return name → value."""
        return asdict(self)


def _value(name: str, value: object, kind: type, metadata: Mapping[str, Any]) -> object:
    converted = _converted(name, value, kind)
    if "low" in metadata and not metadata["low"] <= converted <= metadata["high"]:
        raise ValueError(f"knob {name}: {value!r} is not between {metadata['low']} and {metadata['high']}")
    if metadata.get("one_of") and converted not in metadata["one_of"]:
        raise ValueError(f"knob {name}: {value!r} is not one of {', '.join(metadata['one_of'])}")
    if name == "row_error_code" and converted not in ROW_ERRORS:
        raise ValueError(f"knob {name}: {value!r} is not one of {ROW_ERRORS}")
    if name == "pace":
        Pace.parse(str(converted))
    if "pattern" in metadata:
        _check_pattern(name, str(converted))
    return converted


def _check_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"knob {name}: {pattern!r} is not a regular expression: {error}") from None


def _converted(name: str, value: object, kind: type) -> Any:
    if kind is bool and not isinstance(value, bool):
        words = {
            "true": True,
            "1": True,
            "on": True,
            "yes": True,
            "false": False,
            "0": False,
            "off": False,
            "no": False,
        }
        if str(value).lower() not in words:
            raise ValueError(f"knob {name}: {value!r} is neither true nor false")
        return words[str(value).lower()]
    if kind is not bool and isinstance(value, bool):
        raise ValueError(f"knob {name}: {value!r} is not a {kind.__name__}")
    if kind is str:
        if not isinstance(value, str):
            raise ValueError(f"knob {name}: {value!r} is not text")
        return value
    try:
        number = kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"knob {name}: {value!r} is not a {kind.__name__}") from None
    if kind is int and isinstance(value, float) and value != number:
        raise ValueError(f"knob {name}: {value!r} is not a whole number")
    return number


class KnobBoard:
    """The knobs as they stand now; read by every thread, turned over the admin endpoint.

    :param mortal: whether the knobs that kill may kill this process, which then is a local cloud and nothing else.
    """

    def __init__(self, knobs: Knobs, *, mortal: bool = False) -> None:
        self._lock = threading.Lock()
        self._mortal = mortal
        self._knobs = self._survivable(knobs)
        self._listeners: list[Callable[[], None]] = []

    @property
    def now(self) -> Knobs:
        """Return the knobs as they stand."""
        return self._knobs

    def turn(self, changes: Mapping[str, object]) -> Knobs:
        """Apply the changes, all or none, and tell the listeners."""
        with self._lock:
            self._knobs = self._survivable(self._knobs.turned(changes))
        for listener in self._listeners:
            listener()
        return self._knobs

    def take(self, name: str) -> bool:
        """Use up one of a knob that counts the next so many calls; False when none is left."""
        with self._lock:
            left = int(getattr(self._knobs, name))
            if left <= 0:
                return False
            self._knobs = self._knobs.turned({name: left - 1})
            return True

    def count_down(self, name: str) -> bool:
        """Use up one of a knob that waits for a call to come; True when this is the one."""
        return self.take(name) and getattr(self._knobs, name) == 0

    def _survivable(self, knobs: Knobs) -> Knobs:
        if (knobs.die_before_commit or knobs.die_after_commit) and not self._mortal:
            raise ValueError(
                "knobs that kill the process are for `gemini-batch local`, not for one in a process"
            )
        return knobs

    def when_turned(self, listener: Callable[[], None]) -> None:
        """Call the listener after each turn."""
        self._listeners.append(listener)
