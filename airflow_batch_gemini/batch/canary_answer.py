"""One row of a canary: what was asked, what came of it, and the object in the workspace that remembers both.

The object is written before the call and again after it. Whoever finds it knows whether that request may have been
billed already, and asks again only when it was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from airflow_batch_gemini.batch.columns import NO_COLUMNS, Typed
from airflow_batch_gemini.batch.outcome import Line, Reading, read_line
from airflow_batch_gemini.batch.schema import Shape


class Fate(StrEnum):
    """What is known of a call."""

    ASKED = "asked"
    """It may have been sent. When nobody is at it any more, its answer is lost, and perhaps paid for."""
    ANSWERED = "answered"
    """The response is kept; it is paid for."""
    FAILED = "failed"
    """Vertex AI answered with an error (5xx) that does not say that nothing was billed."""
    REFUSED = "refused"
    """Vertex AI refused the request (4xx); nothing was billed, so it may be asked again."""


def request_id(request: Mapping[str, Any], *, model: str, location: str) -> str | None:
    """Return 32 hex digits that are the same for the same question to the same model.

    ``None`` for what is nested so deeply that it cannot be sent at all.
    """
    try:
        body = orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None
    return hashlib.sha256(b"\n".join([model.encode(), location.encode(), body])).hexdigest()[:32]


def key_in(line: bytes) -> str:
    """Return the key that a request line is sent with; empty for a line that has none."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    return str(document.get("key", "")) if isinstance(document, dict) else ""


@dataclass(frozen=True, kw_only=True, repr=False)
class CanaryAnswer:
    """What is known of one request of the canary. Its representation shows nothing of what was answered."""

    request_id: str
    key: str
    """The row's, as it is sent; a person finds the row by it."""
    nonce: str
    """Of the one call: tells one's own note, whose writing got no answer, from somebody else's."""
    fate: Fate = Fate.ASKED
    response: Any = None
    code: int | None = None
    """HTTP code of an error."""

    def __repr__(self) -> str:
        return f"CanaryAnswer({self.request_id!r}, {self.fate.value!r})"

    @property
    def may_be_asked(self) -> bool:
        """Whether asking again bills nothing twice."""
        return self.fate is Fate.REFUSED

    def answered(self, response: Any) -> CanaryAnswer:
        """Return this with its response."""
        return replace(self, fate=Fate.ANSWERED, response=response)

    def refused(self, code: int) -> CanaryAnswer:
        """Return this with the error that says that nothing was done."""
        return replace(self, fate=Fate.REFUSED, code=code)

    def failed(self, code: int) -> CanaryAnswer:
        """Return this with an error that leaves open what was done."""
        return replace(self, fate=Fate.FAILED, code=code)

    def reading(self, shape: Shape, columns: Typed = NO_COLUMNS) -> Reading | None:
        """Judge it as the load judges an output line; ``None`` when no answer came.

        :param columns: what the response schema promises.
        """
        if self.fate is Fate.ASKED:
            return None
        status = None if self.fate is Fate.ANSWERED else json.dumps({"error": {"code": self.code}})
        return read_line(Line(key=self.key, status=status, response=self.response), shape, columns=columns)

    def to_json(self) -> bytes:
        """Render the object that the workspace keeps."""
        return json.dumps(vars(self), sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, request_id: str) -> CanaryAnswer:
        """Read it. What cannot be read says at least that somebody has begun: it counts as asked, never as absent."""
        try:
            document = json.loads(data)
            found = cls(**{**document, "fate": Fate(document["fate"])})
            if found.request_id != request_id:
                raise ValueError("another request's")
        except (ValueError, KeyError, TypeError):
            return cls(request_id=request_id, key="", nonce="")
        return found
