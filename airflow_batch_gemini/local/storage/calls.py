"""A request of the JSON API and its reply as plain values, the same for a connection and for a part of a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from .errors import Invalid, StorageError
from .model import Conditions

JSON_TYPE = "application/json; charset=UTF-8"
Json = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. `path` holds the decoded segments behind `/storage/v1`; a blank parameter is an absent one."""

    method: str
    path: tuple[str, ...]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base: str = ""

    def number(self, name: str) -> int | None:
        """Return a whole-number parameter."""
        text = self.params.get(name)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            raise Invalid(f"Invalid value for parameter {name}: {text!r} is not a number") from None

    def flag(self, name: str) -> bool:
        """Return a true-or-false parameter."""
        return self.params.get(name, "").lower() == "true"

    def json(self) -> Json:
        """Return the body as an object; no body is an empty one."""
        return parse_json(self.body)

    def conditions(self, *, source: bool = False) -> Conditions:
        """Return the preconditions on the object, or those on the source of a copy."""
        prefix = "ifSource" if source else "if"
        return Conditions(
            generation_match=self.number(f"{prefix}GenerationMatch"),
            generation_not_match=self.number(f"{prefix}GenerationNotMatch"),
            metageneration_match=self.number(f"{prefix}MetagenerationMatch"),
            metageneration_not_match=self.number(f"{prefix}MetagenerationNotMatch"),
            etag_match=None if source else self._etag("if-match"),
            etag_not_match=None if source else self._etag("if-none-match"),
        )

    def _etag(self, header: str) -> str | None:
        text = self.headers.get(header)
        return text.strip('"') if text else None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer with a body that fits in memory."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def parse_json(body: bytes) -> Json:
    """Return a JSON object; no bytes are an empty one, anything else is Invalid."""
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Invalid(f"Parse Error: the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Invalid("Parse Error: the body is not a JSON object")
    return value


def segments(raw_path: str) -> tuple[str, ...]:
    """Split an encoded path behind `/storage/v1/` and decode each segment: a name's own slashes are `%2F`."""
    _, _, rest = raw_path.partition("/storage/v1/")
    try:
        return tuple(unquote_to_bytes(segment).decode() for segment in rest.split("/"))
    except UnicodeDecodeError:
        raise Invalid("Invalid URL: the path is not UTF-8") from None


def query(text: str) -> dict[str, str]:
    """Decode a query string. A blank parameter is an absent one."""
    # Google's Python client writes `ifMetaGenerationMatch` when it uploads.
    return {name.replace("ifMetaGeneration", "ifMetageneration"): value for name, value in parse_qsl(text)}


def inner_call(method: str, url: str, *, headers: Mapping[str, str], body: bytes, base: str) -> Call:
    """Make a call from a part of a batch, which names its target by a path or by a whole URL."""
    parts = urlsplit(url)
    return Call(
        method=method,
        path=segments(parts.path),
        params=query(parts.query),
        headers=headers,
        body=body,
        base=base,
    )


def json_reply(value: Json, *, status: int = 200) -> Reply:
    """Answer with JSON."""
    return Reply(status=status, body=json.dumps(value).encode(), headers={"Content-Type": JSON_TYPE})


def error_reply(error: StorageError) -> Reply:
    """Answer in the shape in which Google's clients look for the reason."""
    if error.code == 304:
        return Reply(status=304)
    detail = {"message": error.message, "domain": "global", "reason": error.reason}
    return json_reply(
        {"error": {"code": error.code, "message": error.message, "errors": [detail]}}, status=error.code
    )
