"""Multipart bodies: `multipart/related` uploads as they stream in, `multipart/mixed` batches as a whole.

Clients differ: boundaries stand in double, single or no quotes, lines end in CRLF or in a bare LF. The first line
of the body decides which it is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import Invalid

_BOUNDARY = re.compile(r"""boundary=("(?P<double>[^"]+)"|(?P<bare>[^\s;]+))""", re.IGNORECASE)
_MAX_HEAD = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part: its headers by lower-case name, and its body."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def boundary_candidates(content_type: str) -> tuple[bytes, ...]:
    """Return the boundary a header names, as written and without single quotes around it."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Invalid(f"The content type names no multipart boundary: {content_type!r}")
    text = found["double"] or found["bare"]
    unquoted = text[1:-1] if len(text) > 2 and text[0] == text[-1] == "'" else text
    return (text.encode(), unquoted.encode())


def parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    """Split header lines: (first line, headers by lower-case name of all lines that are `name: value`)."""
    lines = [line.strip() for line in head.decode("utf-8", "replace").splitlines()]
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return next((line for line in lines if line), ""), headers


def find_delimiter(body: bytes, candidates: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Return (delimiter, line end) by the first line of a body; both empty while that line is not complete."""
    start = body.lstrip(b"\r\n \t")
    line, newline, _ = start.partition(b"\n")
    if not newline:
        return b"", b""
    for candidate in candidates:
        if line.rstrip() == b"--" + candidate:
            return b"--" + candidate, b"\r\n" if line.endswith(b"\r") else b"\n"
    raise Invalid("The multipart body does not begin with the boundary that its content type names.")


def split_mixed(content_type: str, body: bytes) -> Iterator[Part]:
    """Yield the parts of a whole `multipart/mixed` body."""
    delimiter, _ = find_delimiter(body, boundary_candidates(content_type))
    between = re.compile(rb"\r?\n" + re.escape(delimiter) + rb"(?P<end>--)?[ \t]*(?=\r?\n|$)")
    marks = [*between.finditer(b"\n" + body)]
    if not delimiter or not marks[-1]["end"]:
        raise Invalid("The multipart body ends before its closing boundary.")
    for mark, following in itertools.pairwise(marks):
        head, _, rest = _cut((b"\n" + body)[mark.end() : following.start()].lstrip(b"\r\n"))
        yield Part(headers=parse_head(head)[1], body=rest)


def split_message(message: bytes) -> tuple[str, dict[str, str], bytes]:
    """Split an HTTP message inside a part: (first line, headers, body). The blank line may be missing."""
    head, _, body = _cut(message.lstrip(b"\r\n"))
    first, headers = parse_head(head)
    return first, headers, body


class Related:
    """Take a `multipart/related` body piece by piece: first its resource, then the media, as they come.

    Holds back only what might be the beginning of the closing boundary, so memory stays flat.
    """

    def __init__(self, content_type: str) -> None:
        self.resource = b""
        self.media_type = ""
        self._candidates = boundary_candidates(content_type)
        self._held = b""
        self._closing = b""
        self._skip = 0
        self._complete = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the body; return the bytes of the media among them."""
        if self._complete:
            return b""
        self._held += data
        if not self._closing and not self._read_head():
            if len(self._held) > _MAX_HEAD:
                raise Invalid("The first part of the multipart body is too long for an object resource.")
            return b""
        end = self._held.find(self._closing)
        self._complete = end >= 0
        cut = end if self._complete else max(0, len(self._held) - len(self._closing) + 1)
        media, self._held = self._held[:cut], b"" if self._complete else self._held[cut:]
        skipped = min(self._skip, len(media))
        self._skip -= skipped
        return media[skipped:]

    def finish(self) -> None:
        """Raise Invalid unless the body was whole."""
        if not self._complete:
            raise Invalid("The multipart body ends before its closing boundary.")

    def _read_head(self) -> bool:
        """Read up to the media, once everything before it is there."""
        delimiter, eol = find_delimiter(self._held, self._candidates)
        if not delimiter:
            return False
        first = self._held.find(delimiter) + len(delimiter)
        second = self._held.find(eol + delimiter, first)
        after = second + len(eol + delimiter)
        blank = self._held.find(eol + eol, after)
        if second < 0 or blank < 0:
            return False
        self.resource = self._held[first:second].partition(eol + eol)[2]
        self.media_type = parse_head(self._held[after:blank])[1].get("content-type", "")
        # The end of the blank line stays: in front of an empty medium it may belong to the closing delimiter.
        self._held = self._held[blank + len(eol) :]
        self._skip = len(eol)
        self._closing = eol + delimiter + b"--"
        return True


def _cut(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Split at the first blank line, whatever the line ends."""
    blank = re.search(rb"\r?\n\r?\n", text)
    return (text[: blank.start()], blank.group(), text[blank.end() :]) if blank else (text, b"", b"")
