"""Files in the local cloud are counted by looking at them, as Google does."""

from __future__ import annotations

import base64
import io
import struct
import wave
from typing import Any

import pytest

from airflow_batch_gemini.local.vertex.media import media_tokens, no_file
from airflow_batch_gemini.local.vertex.tokens import prompt_tokens

OLD, NEW = "gemini-2.5-flash", "gemini-3.5-flash"


def png(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    )


def wav(seconds: int) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as sound:
        sound.setparams((1, 1, 8000, 0, "NONE", ""))
        sound.writeframes(b"\x80" * 8000 * seconds)
    return held.getvalue()


JPEG = b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xc0\x00\x11\x08" + struct.pack(">HH", 540, 960) + b"\x03"


def linked(mime: str, **more: Any) -> dict[str, Any]:
    return {"fileData": {"mimeType": mime, "fileUri": "gs://b/o"}, **more}


@pytest.mark.parametrize(
    ("mime", "data", "model", "counted"),
    [
        ("image/png", png(384, 100), OLD, ("IMAGE", 258)),
        ("image/png", png(960, 540), OLD, ("IMAGE", 6 * 258)),
        ("image/jpeg", JPEG, OLD, ("IMAGE", 6 * 258)),
        ("image/gif", b"GIF89a\xe8\x03\xe8\x03", OLD, ("IMAGE", 4 * 258)),
        ("image/png", png(960, 540), NEW, ("IMAGE", 1120)),
        ("image/png", None, OLD, ("IMAGE", 258)),
        ("audio/wav", wav(3), OLD, ("AUDIO", 96)),
        ("audio/mp3", b"?", NEW, ("AUDIO", 1920)),
        ("application/pdf", b"/Type/Pages /Type /Page /Type/Page", OLD, ("DOCUMENT", 516)),
        ("application/pdf", b"/Type/Page", NEW, ("DOCUMENT", 560)),
        ("application/pdf", None, OLD, ("DOCUMENT", 258)),
        ("text/plain", b"x" * 41, OLD, ("DOCUMENT", 11)),
        ("video/mp4", None, OLD, ("VIDEO", 2630)),
    ],
)
def test_a_file_is_counted_by_what_it_is(
    mime: str, data: bytes | None, model: str, counted: tuple[str, int]
) -> None:
    """The same inline and by its URI."""
    assert media_tokens(linked(mime), model=model, level="", read=lambda _: data) == counted
    if data is not None:
        inline = {
            "inlineData": {"mimeType": mime, "data": base64.urlsafe_b64encode(data).decode().rstrip("=")}
        }
        assert media_tokens(inline, model=model, level="", read=no_file) == counted


@pytest.mark.parametrize(
    ("metadata", "tokens"),
    [
        ({"endOffset": "2s"}, 526),
        ({"startOffset": "1s", "endOffset": "2.5s", "fps": 2}, 782),
        ({"startOffset": "1s"}, 2630),
        ({"endOffset": "soon", "fps": None}, 2630),
        ("x", 2630),
    ],
)
def test_of_a_video_only_what_is_wanted_is_counted(metadata: Any, tokens: int) -> None:
    """263 a second; what cannot be read is ten seconds."""
    part = linked("video/mp4", videoMetadata=metadata)
    assert media_tokens(part, model=OLD, level="", read=no_file) == ("VIDEO", tokens)


def test_a_prompt_is_counted_by_modality() -> None:
    """The resolution of the request holds for its files, and a part's own goes before."""
    own = linked("image/png", mediaResolution={"level": "MEDIA_RESOLUTION_HIGH"})
    request = {
        "contents": [{"parts": [{"text": "x" * 10}, linked("image/png"), own]}],
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"},
    }
    assert prompt_tokens(request, model=NEW) == {"TEXT": 3, "IMAGE": 280 + 1120}
    assert prompt_tokens(request, model=OLD) == {"TEXT": 3, "IMAGE": 64 + 258}
