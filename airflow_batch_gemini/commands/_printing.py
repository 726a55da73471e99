"""How the commands print: columns for people, and times that everybody reads alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns as wide as what is in them; nothing at all where there are no rows."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join(lines)


def moment(epoch: float | None) -> str:
    """Return a time in UTC to the minute; ``-`` for none."""
    return "-" if epoch is None else f"{dt.datetime.fromtimestamp(epoch, tz=dt.UTC):%Y-%m-%d %H:%M}"


def rfc3339(epoch: float | None) -> str | None:
    """Return a time for programs."""
    if epoch is None:
        return None
    return dt.datetime.fromtimestamp(epoch, tz=dt.UTC).isoformat(timespec="seconds")
