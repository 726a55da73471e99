"""Wildcards in object names: ``*`` and ``?`` within a segment, ``**`` across segments."""

from __future__ import annotations

import re

_WILDCARD = re.compile(r"\*\*/|\*\*|\*|\?")
_MEANS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def has_wildcard(name: str) -> bool:
    """Return whether *name* may mean several objects."""
    return _WILDCARD.search(name) is not None


def fixed_prefix(name: str) -> str:
    """Return what every name that *name* means begins with."""
    found = _WILDCARD.search(name)
    return name[: found.start()] if found else name


def glob_pattern(name: str) -> re.Pattern[str]:
    """Return the pattern that fully matches every name that *name* means."""
    pattern, start = "", 0
    for wildcard in _WILDCARD.finditer(name):
        pattern += re.escape(name[start : wildcard.start()]) + _MEANS[wildcard[0]]
        start = wildcard.end()
    return re.compile(pattern + re.escape(name[start:]), re.DOTALL)
