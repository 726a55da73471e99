"""What files in a request cost in tokens: Google's own examples, and bounds for what nobody can know."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.image_size import decoded, image_size, pdf_pages
from airflow_batch_gemini.batch.media_tokens import ASSUMED, Medium, Tokens, image_tiles, media_tokens

OLD, NEW = "publishers/google/models/gemini-2.5-flash", "gemini-3.5-flash"


def png(width: int, height: int) -> bytes:
    head = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(head))


def jpeg(width: int, height: int) -> bytes:
    preview = b"\xff\xe1" + struct.pack(">H", 5000) + b"x" * 4998
    return (
        b"\xff\xd8" + preview + b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"x" * 20
    )


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + body


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), (640, 480)),
        (jpeg(1920, 1080), (1920, 1080)),
        (b"GIF89a" + struct.pack("<HH", 33, 44), (33, 44)),
        (webp(b"VP8X", b"\x00\x00\x00\x00" + b"\xff\x03\x00" + b"\x00\x01\x00"), (1024, 257)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 99 | 49 << 14) + b"\x00" * 8), (100, 50)),
        (webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 320, 200)), (320, 200)),
        (b"", None),
        (b"\xff\xd8", None),
        (b"\xff\xd8\xff\xc0", None),
        (png(0, 5), None),
        (png(5, 5)[:20], None),
        (b"BM whatever else", None),
    ],
)
def test_dimensions_are_read_from_the_first_bytes(data: bytes, size: tuple[int, int] | None) -> None:
    """Of what is cut off or of another kind they stay unknown."""
    assert image_size(data) == size


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8", b"RIFF0000WEBPVP8L", b"GIF89a", b"\x89PNG\r\n\x1a\n"]),
)
def test_no_bytes_break_the_reader(data: bytes, head: bytes) -> None:
    """What comes from a request file may be anything."""
    size = image_size(head + data)
    assert size is None or min(size) > 0


@pytest.mark.parametrize(
    ("text", "data"),
    [("aGk=", b"hi"), ("aGk", b"hi"), ("_-8", b"\xff\xef"), ("?", b""), (None, b""), ("é", b"")],
)
def test_base64_is_read_in_both_alphabets(text: object, data: bytes) -> None:
    """And what is none reads as nothing."""
    assert decoded(text) == data


def test_pages_are_counted_where_they_are_listed_openly() -> None:
    """The tree that holds them is no page."""
    assert pdf_pages(b"<< /Type /Pages >> << /Type /Page >> <</Type/Page/X 1>>") == 2
    assert pdf_pages(b"%PDF-1.7 compressed") is None


@pytest.mark.parametrize(
    ("width", "height", "tiles"),
    [(384, 384, 1), (1, 1, 1), (960, 540, 6), (1000, 1000, 4), (385, 10, 2), (4000, 4000, 4)],
)
def test_images_are_cut_into_tiles(width: int, height: int, tiles: int) -> None:
    """960 × 540 is the example of Google's page."""
    assert image_tiles(width, height) == tiles


def inline(mime: str, data: bytes) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


def linked(mime: str, **more: Any) -> dict[str, Any]:
    return {"fileData": {"mimeType": mime, "fileUri": "gs://b/o"}, **more}


def exact(tokens: float) -> Tokens:
    return Tokens(tokens, tokens, tokens)


TWO_PAGES = b"/Type/Page /Type/Page"


@pytest.mark.parametrize(
    ("part", "model", "resolution", "medium"),
    [
        (inline("image/png", png(300, 300)), OLD, "", Medium("image", exact(258))),
        (inline("image/png", png(960, 540)), OLD, "", Medium("image", exact(1548))),
        (inline("image/png", png(960, 540)), OLD, "MEDIA_RESOLUTION_LOW", Medium("image", exact(64))),
        (linked("image/png"), OLD, "", Medium("image", Tokens(258, 1032, 4128), assumed=True)),
        (linked("image/png"), NEW, "", Medium("image", Tokens(560, 1120, 1120))),
        (linked("IMAGE/PNG"), "gemini-4-x", "MEDIA_RESOLUTION_LOW", Medium("image", Tokens(140, 280, 280))),
        (
            linked("image/png", mediaResolution={"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}),
            NEW, "MEDIA_RESOLUTION_LOW", Medium("image", Tokens(1120, 2240, 2240)),
        ),
        (inline("application/pdf", TWO_PAGES), OLD, "", Medium("pdf", exact(516))),
        (inline("application/pdf", TWO_PAGES), NEW, "", Medium("pdf", exact(1120))),
        (linked("application/pdf"), OLD, "", Medium("pdf", Tokens(258, 2580, 258_000), assumed=True)),
        (linked("audio/mp3"), NEW, "", Medium("audio", Tokens(32, 1920, 115_200), assumed=True)),
        (linked("video/mp4"), OLD, "", Medium("video", Tokens(258, 263 * 60, 295 * 3600), assumed=True)),
        (
            linked("video/mp4", videoMetadata={"startOffset": "2s", "endOffset": "12s"}),
            OLD, "", Medium("video", Tokens(2580, 2630, 2950)),
        ),
        (
            linked("video/mp4", video_metadata={"end_offset": "10s", "fps": 2}),
            NEW, "", Medium("video", Tokens(1400, 1450, 1770)),
        ),
        (
            linked("video/mp4", videoMetadata={"endOffset": "1.5s"}),
            OLD, "MEDIA_RESOLUTION_LOW", Medium("video", Tokens(99, 106.5, 154.5)),
        ),
        (
            linked("video/mp4", videoMetadata={"endOffset": "9" * 400 + "s"}),
            OLD, "", Medium("video", Tokens(258, 263 * 60, 295 * 3600), assumed=True),
        ),
        (linked("text/csv"), NEW, "", Medium("document", Tokens(25, 2500, 250_000), assumed=True)),
        (inline("text/plain", b"x" * 12), NEW, "", Medium("document", exact(3))),
        ({"file_data": {"mime_type": "audio/wav"}}, NEW, "", Medium("audio", Tokens(32, 1920, 115_200), assumed=True)),
    ],
)  # fmt: skip
def test_media_cost_what_google_says(
    part: dict[str, Any], model: str, resolution: str, medium: Medium
) -> None:
    """A file that the request only points to has bounds, and counts as assumed where its size matters."""
    assert media_tokens(part, model=model, resolution=resolution) == medium
    assert not medium.assumed or medium.kind in ASSUMED


def test_a_part_without_a_file_is_none() -> None:
    """Text, or a file that is none."""
    assert media_tokens({"text": "x"}, model=NEW) is None
    assert media_tokens({"fileData": "gs://b/o"}, model=NEW) is None
