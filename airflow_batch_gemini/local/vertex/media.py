"""Tokens of images, sound, video and documents, by looking at the files where they can be looked at.

Up to the second generation of models an image is cut into tiles, and a tile, a page or a frame is 258 tokens; since the
third each of them has a budget that the media resolution sets.
"""

from __future__ import annotations

import base64
import io
import math
import re
import struct
import wave
from collections.abc import Callable
from typing import Any

from airflow_batch_gemini.local.storage.errors import StorageError
from airflow_batch_gemini.local.storage.store import Storage

Read = Callable[[str], bytes | None]
"""Returns what lies behind a URI, or None when that cannot be had."""

_LARGEST = 20_000_000
_UNREAD_SECONDS = {"audio": 60.0, "video": 10.0}
"""What a file that cannot be read is taken for: as are one image of one tile, and one page."""
_BUDGETS = {
    "": {"image": 1120, "page": 560, "frame": 70},
    "LOW": {"image": 280, "page": 280, "frame": 70},
    "MEDIUM": {"image": 560, "page": 560, "frame": 70},
    "HIGH": {"image": 1120, "page": 1120, "frame": 280},
    "ULTRA_HIGH": {"image": 2240, "page": 2240, "frame": 280},
}
_MODALITIES = {"image": "IMAGE", "audio": "AUDIO", "video": "VIDEO", "application": "DOCUMENT"}


def no_file(_uri: str) -> bytes | None:
    """Read nothing."""
    return None


def reader(storage: Storage) -> Read:
    """Return what reads objects of the local storage that are of a size to be sent along."""

    def read(uri: str) -> bytes | None:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        try:
            if not uri.startswith("gs://") or storage.stat(bucket, name).size > _LARGEST:
                return None
            with storage.open(bucket, name) as file:
                return file.read()
        except StorageError:
            return None

    return read


def media_tokens(part: dict[str, Any], *, model: str, level: str, read: Read) -> tuple[str, int] | None:
    """Return the modality of a part's file and its tokens; None for a part without one.

    :param part: in camelCase.
    :param level: the media resolution of the whole request, like ``MEDIA_RESOLUTION_LOW``.
    """
    file = part.get("inlineData") or part.get("fileData")
    if not isinstance(file, dict):
        return None
    data = _inline(file["data"]) if "data" in file else read(str(file.get("fileUri")))
    own = part.get("mediaResolution")
    level = (own.get("level") if isinstance(own, dict) else None) or level
    level = str(level or "").removeprefix("MEDIA_RESOLUTION_").replace("UNSPECIFIED", "")
    kind = str(file.get("mimeType", "")).partition("/")[0]
    generation = re.search(r"gemini-(\d+)", model)
    budgets = _BUDGETS.get(level, _BUDGETS[""]) if generation and int(generation[1]) >= 3 else None
    if kind == "audio":
        tokens = 32 * _sound_seconds(data)
    elif kind == "video":
        frame = budgets["frame"] if budgets else 66 if level == "LOW" else 258
        tokens = _film_tokens(part.get("videoMetadata"), frame)
    elif kind == "image":
        tokens = budgets["image"] if budgets else 64 if level == "LOW" else 258 * _tiles(data or b"")
    elif kind == "text" and data is not None:
        tokens = len(data.decode("utf-8", "replace")) / 4
    else:
        tokens = (budgets["page"] if budgets else 258) * max(
            len(re.findall(rb"/Type\s*/Page\b", data or b"")), 1
        )
    return _MODALITIES.get(kind, "DOCUMENT"), math.ceil(tokens)


def _inline(data: Any) -> bytes | None:
    try:
        return base64.b64decode(str(data).translate({45: "+", 95: "/"}) + "==")
    except ValueError:
        return None


def _sound_seconds(data: bytes | None) -> float:
    try:
        with wave.open(io.BytesIO(data or b"")) as sound:
            return float(sound.getnframes() / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return _UNREAD_SECONDS["audio"]


def _film_tokens(metadata: Any, frame: int) -> float:
    says = metadata if isinstance(metadata, dict) else {}
    end = _number(says.get("endOffset"), _UNREAD_SECONDS["video"])
    seconds = end - (_number(says.get("startOffset"), 0.0) if "endOffset" in says else 0.0)
    return max(seconds, 0.0) * (frame * _number(says.get("fps"), 1.0) + 5)


def _number(value: Any, default: float) -> float:
    try:
        return float(str(value).removesuffix("s"))
    except ValueError:
        return default


def _tiles(data: bytes) -> int:
    width, height = _dimensions(data)
    if width <= 384 and height <= 384:
        return 1
    edge = max(int(min(width, height) / 1.5), 256)
    return -(-width // edge) * -(-height // edge)


def _dimensions(data: bytes) -> tuple[int, int]:
    """Read the size of a PNG, a GIF or a JPEG; what is none is taken for a small image."""
    if data[12:16] == b"IHDR" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:3] == b"GIF" and len(data) >= 10:
        return struct.unpack("<HH", data[6:10])
    frame = re.search(
        rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\x00[\x0b-\x14]\x08(....)", data, re.DOTALL
    )
    if data[:2] == b"\xff\xd8" and frame:
        height, width = struct.unpack(">HH", frame[1])
        return width, height
    return 1, 1
