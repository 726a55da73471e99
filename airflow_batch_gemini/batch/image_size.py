"""The dimensions of an image, read from its first bytes: PNG, GIF, WebP and JPEG."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

HEAD_BYTES = 256 << 10
"""Before an image's own data there may be a preview of it."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that begin a frame; the three others in that range are tables."""
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


def decoded(data: object, *, most: int | None = None) -> bytes:
    """Return what base64 *data* holds, its first *most* bytes; nothing for what is no base64."""
    if not isinstance(data, str):
        return b""
    text = data if most is None else data[: most * 4 // 3 // 4 * 4]
    text = text.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


def image_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height; ``None`` when they cannot be told."""
    for found in filter(None, (_png(head), _gif(head), _webp(head), _jpeg(head))):
        return found if min(found) > 0 else None
    return None


def pdf_pages(data: bytes) -> int | None:
    """Return the pages of a PDF; ``None`` where they are listed in a compressed part of it."""
    return len(_PAGE.findall(data)) or None


def _png(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or len(head) < 24:
        return None
    return _big(head[16:20]), _big(head[20:24])


def _gif(head: bytes) -> tuple[int, int] | None:
    if head[:6] not in {b"GIF87a", b"GIF89a"} or len(head) < 10:
        return None
    return _little(head[6:8]), _little(head[8:10])


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if kind == b"VP8L":
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF


def _jpeg(head: bytes) -> tuple[int, int] | None:
    for marker, at in _segments(head):
        if marker in _FRAMES:
            return (_big(head[at + 5 : at + 7]), _big(head[at + 3 : at + 5])) if len(head) >= at + 7 else None
    return None


def _segments(head: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG and where what belongs to them begins: its length, two bytes."""
    at = 2 if head.startswith(b"\xff\xd8") else len(head)
    while at + 4 <= len(head) and head[at] == 0xFF:
        if head[at + 1] == 0xFF:
            at += 1  # fill bytes
            continue
        yield head[at + 1], at + 2
        at += 2 + max(_big(head[at + 2 : at + 4]), 2)


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
