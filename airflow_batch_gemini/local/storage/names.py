"""Which bucket and object names exist, and which of them can be a plain file path."""

from __future__ import annotations

import re

from .errors import Invalid

MAX_NAME_BYTES = 1024
_MAX_SEGMENT_BYTES = 255
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def is_bucket_name(name: str) -> bool:
    """Tell whether Google accepts `name`; such a name never starts with a dot, so it is safe as a folder."""
    return _BUCKET.fullmatch(name) is not None


def require_bucket_name(name: str) -> None:
    """Raise Invalid unless a bucket may be called `name`."""
    if not is_bucket_name(name):
        raise Invalid(f"Invalid bucket name: '{name}'")


def is_object_name(name: str) -> bool:
    """Tell whether Google accepts `name`: 1 to 1024 bytes of UTF-8 without line breaks, not a dot or two."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return (
        0 < size <= MAX_NAME_BYTES
        and not any(mark in name for mark in "\r\n\0")
        and name not in (".", "..")
        and not name.startswith(".well-known/acme-challenge/")
    )


def require_object_name(name: str) -> None:
    """Raise Invalid unless an object may be called `name`."""
    if not name:
        raise Invalid("Required parameter: name")
    if not is_object_name(name):
        raise Invalid(f"Invalid object name: {name!r}")


def is_plain(name: str) -> bool:
    """Tell whether the object's name is a path that stays inside its bucket and that a file system can hold.

    `a//b`, `folder/`, `/etc/passwd` and `../x` are good object names and bad paths.
    """
    return all(
        segment not in ("", ".", "..") and len(segment.encode()) <= _MAX_SEGMENT_BYTES
        for segment in name.split("/")
    )
