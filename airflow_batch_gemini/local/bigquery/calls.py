"""What a handler of the API gets and gives, and how pages are named."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import BigQueryError, invalid

Reply = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Call:
    """One request: what its path named, its query parameters, its body."""

    names: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    if_match: str | None = None

    @property
    def project(self) -> str:
        """The project in the path."""
        return self.names["project"]

    def number(self, name: str) -> int | None:
        """Read a query parameter that is a number; a blank one is absent."""
        text = self.query.get(name) or ""
        if not text:
            return None
        if not text.isdigit():
            raise invalid(f"Invalid value for {name}: {text!r}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Read a query parameter that is a boolean."""
        return (self.query.get(name) or "").lower() == "true"

    @property
    def start(self) -> int:
        """The place where the page begins, by its token or by its index."""
        token = self.query.get("pageToken") or ""
        if not token:
            return self.number("startIndex") or 0
        try:
            return int(base64.urlsafe_b64decode(token).decode().removeprefix("from:"))
        except (ValueError, binascii.Error):
            raise invalid(f"Invalid page token: {token}") from None

    def require_match(self, current: str) -> None:
        """Refuse the call when it was made for another state of the resource."""
        if self.if_match not in (None, "", "*", current):
            raise BigQueryError("conditionNotMet", "Precondition Failed")


def page_token(start: int) -> str:
    """Name the page that begins at a place."""
    return base64.urlsafe_b64encode(f"from:{start}".encode()).decode()


def patched(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a PATCH: null takes a field away, an object is merged."""
    result = dict(old)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = patched(result[key], value)
        elif isinstance(value, Mapping):
            result[key] = {name: part for name, part in value.items() if part is not None}
        else:
            result[key] = value
    return result
