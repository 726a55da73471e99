"""Files for the multimodal example: those of a folder, or two small ones made here."""

from __future__ import annotations

import struct
import zlib

from airflow_batch_gemini.batch.media import mime_type_of
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

KINDS = ("image/", "text/plain", "application/pdf")
TEXT = (
    "A batch job answers many questions at once. It waits until there is room, then works through its file, and puts "
    "the answers down in whatever order they came. Whoever reads them needs the name of each question.\n"
)


def described_files(folder_uri: str) -> list[dict[str, str]]:
    """Return key and file of every image, text and PDF in the folder."""
    folder = GcsUri.parse(folder_uri)
    rows = []
    for found in WorkspaceHook().list(folder):
        if (mime_type_of(found.uri) or "").startswith(KINDS):
            rows.append({"key": found.uri.removeprefix(f"{folder}/"), "file": found.uri})
    return rows


def put_samples(folder_uri: str) -> list[dict[str, str]]:
    """Write a picture and a text into the folder, and return what :func:`described_files` says of them."""
    folder, storage = GcsUri.parse(folder_uri), WorkspaceHook()
    storage.write(folder / "sunset.png", sunset_png())
    storage.write(folder / "batch.txt", TEXT.encode())
    return described_files(folder_uri)


def sunset_png(width: int = 96, height: int = 64) -> bytes:
    """Draw a red sun over a dark sea, as a PNG."""
    lines = []
    for y in range(height):
        line = bytearray(b"\x00")  # the PNG filter of this line: none
        for x in range(width):
            sun = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2
            sea = y > height * 5 / 8
            line += b"\x10\x20\x50" if sea else b"\xe0\x40\x20" if sun else bytes((250, 120 + y, 90))
        lines.append(bytes(line))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    picture = zlib.compress(b"".join(lines))
    chunks = ((b"IHDR", header), (b"IDAT", picture), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
