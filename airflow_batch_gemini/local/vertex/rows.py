"""One row of a job: an input line in, output lines and counts out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

import orjson

from airflow_batch_gemini.local.errors import error_body
from airflow_batch_gemini.local.knobs import Knobs
from airflow_batch_gemini.local.vertex.answers import Source, compose
from airflow_batch_gemini.local.vertex.casing import camelled
from airflow_batch_gemini.local.vertex.embeddings import embed
from airflow_batch_gemini.local.vertex.faults import RowFaults, row_error, row_faults
from airflow_batch_gemini.local.vertex.importer import SiblingType, coerced, is_output_line
from airflow_batch_gemini.local.vertex.media import Read, no_file
from airflow_batch_gemini.local.vertex.records import Tokens
from airflow_batch_gemini.local.vertex.requests import RowError, check_request, echoed

ReadLine = Callable[[int], bytes]
_OWN = ("request", "response", "status", "processed_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What became of a row. ``lines`` end in line feeds; an empty one means that no line comes back."""

    outcome: Literal["succeeded", "failed", "missing"]
    lines: bytes = b""
    billed: int = 0
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What answering the rows of one job takes."""

    job: str
    model: str
    embeds: bool
    seed: int
    knobs: Knobs
    source: Source
    siblings: Mapping[str, SiblingType]
    normalise: bool
    rows: int
    read: Read = no_file
    """Reads the files that requests point to."""


def answer_row(desk: Desk, row: int, read: ReadLine) -> RowResult:
    """Answer one row; the same desk, row and line give the same answer, but for the times in it.

    :param read: returns the line of a row; asked for another row's line when echoes are swapped.
    """
    line = orjson.loads(read(row))
    siblings = _siblings_of(desk, line)
    if not desk.knobs.rerun_finished and (finished := _finished(line, siblings)):
        return RowResult(outcome="succeeded", lines=finished)
    raw, request, problem = _request_of(line)
    # Rows are told apart by their place in the input, which stays the same over a restart.
    faults = row_faults(
        desk.knobs, seed=desk.seed, job=desk.job, row=row, request=_content_key(desk, request)
    )
    if faults.missing:
        return RowResult(outcome="missing")
    if faults.swapped and desk.rows > 1 and problem is None:
        raw, request, problem = _request_of(orjson.loads(read((row + 1) % desk.rows)))
    echo = echoed(request) if desk.normalise else raw
    try:
        if problem is not None:
            raise problem
        response, billed, tokens = _respond(desk, request, faults)
    except RowError as error:
        head = {"status": status_text(error), "processed_time": _now(), "request": echo, "response": {}}
        return RowResult(outcome="failed", lines=_line(head | siblings))
    head = {"status": "", "processed_time": _now(), "request": echo, "response": response}
    copies = 2 if faults.duplicated else 1
    return RowResult(outcome="succeeded", lines=_line(head | siblings) * copies, billed=billed, tokens=tokens)


def unfinished_line(desk: Desk, row: int, read: ReadLine) -> bytes:
    """Return the line of a row that its job did not come to: as it was when that job goes on with an earlier one.

    The service does not say what such a line looks like; without it nobody could go on with the job.
    """
    line = orjson.loads(read(row))
    siblings = _siblings_of(desk, line)
    if finished := _finished(line, siblings):
        return finished
    raw, request, _ = _request_of(line)
    echo = echoed(request) if desk.normalise else raw
    return _line({"status": "", "processed_time": None, "request": echo, "response": {}} | siblings)


def _siblings_of(desk: Desk, line: dict[str, Any]) -> dict[str, Any]:
    return {
        key: coerced(value, desk.siblings.get(key, "JSON")) for key, value in line.items() if key not in _OWN
    }


def _finished(line: dict[str, Any], siblings: dict[str, Any]) -> bytes | None:
    """Return the line to write of one that an earlier job answered; ``None`` for any other."""
    if not is_output_line(line) or line["status"] != "" or not (response := _parsed(line["response"])):
        return None
    head = {"status": "", "processed_time": line.get("processed_time"), "request": _parsed(line["request"])}
    return _line(head | {"response": response} | siblings)


def status_text(error: RowError) -> str:
    """Write a row's error as the service does: the HTTP phrase, a colon, the error as JSON."""
    phrase = HTTPStatus(error.code).phrase if error.code in HTTPStatus.__members__.values() else "Error"
    return f"{phrase}: {json.dumps(error_body(error.code, error.message), ensure_ascii=False)}"


def _respond(desk: Desk, request: Any, faults: RowFaults) -> tuple[dict[str, Any], int, Tokens]:
    if desk.embeds:
        if faults.error:
            raise row_error(desk.knobs.row_error_code)
        response, tokens = embed(request, seed=desk.seed)
        return response, 1, Tokens(prompt=tokens)
    check_request(request, batch=True)
    if faults.error:
        raise row_error(desk.knobs.row_error_code)
    draft = desk.source(request, desk.seed)
    answer = compose(request, draft, model=desk.model, seed=desk.seed, faults=faults, read=desk.read)
    return answer.response, 1, answer.tokens


def _request_of(line: dict[str, Any]) -> tuple[Any, Any, RowError | None]:
    """Return the request as it came and in camelCase; a BigQuery column holds it as text."""
    raw = line.get("request")
    if not isinstance(raw, str):
        return raw, camelled(raw), None
    try:
        raw = orjson.loads(raw)
        request = camelled(raw)
        orjson.dumps(request)
    except orjson.JSONDecodeError as error:
        return raw, None, RowError(f"Invalid JSON payload received. {error}")
    except (orjson.JSONEncodeError, RecursionError):
        return line["request"], None, RowError("Invalid JSON payload received. Nested too deeply.")
    return raw, request, None


def _parsed(value: Any) -> Any:
    """Return what the text of a JSON column says."""
    return orjson.loads(value) if isinstance(value, str) else value


def _content_key(desk: Desk, request: Any) -> bytes:
    return orjson.dumps(request, option=orjson.OPT_SORT_KEYS) if desk.knobs.blocked_rate else b""


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="microseconds")


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
