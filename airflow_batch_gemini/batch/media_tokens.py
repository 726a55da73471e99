"""What media cost in tokens, by Google's rules; and how far that can be told of a file that nobody has opened.

Source: pages "Understand and count tokens", "Image understanding", "Video understanding", "Document understanding" and
"Media resolution". Models of the second generation cut an image into tiles; since the third each image, page or video
frame has a budget of tokens that the media resolution chooses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.batch.image_size import HEAD_BYTES, decoded, image_size, pdf_pages

TILE = 258
"""A small image, a tile of a larger one, a page or a video frame, before the third generation."""
SMALL_IMAGE = 384
SMALLEST_TILE = 256
AUDIO_SECOND = 32
VIDEO_EXTRA = 5
"""Beside the frames, for each second: 263 in all at one frame a second."""
LOW_FRAME = 66
MOST_FRAMES = 24.0
"""A second: no more are looked at."""
BYTES_PER_TOKEN = 4
"""Four characters of English are a token; in other scripts characters and tokens have more bytes."""

ASSUMED = {
    "image": "images of 2 × 2 tiles",
    "pdf": "PDFs of 10 pages",
    "audio": "audio of 1 minute",
    "video": "video of 1 minute",
    "document": "documents of 10 kB",
}
"""What stands for a file whose size nobody knows."""

_PAGES = (1, 10, 1000)
_SECONDS = (1.0, 60.0, 3600.0)
_DOCUMENT_BYTES = (100, 10_000, 1_000_000)
_IMAGES = {"LOW": 280, "MEDIUM": 560, "HIGH": 1120, "ULTRA_HIGH": 2240}
_FRAMES = {"LOW": 70, "MEDIUM": 70, "HIGH": 280, "ULTRA_HIGH": 280}
_GENERATION = re.compile(r"gemini-(\d+)")
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s")
"""As much as a Duration of Google's holds."""


@dataclass(frozen=True)
class Tokens:
    """How many tokens: at least, expected, at most."""

    low: float = 0.0
    expected: float = 0.0
    high: float = 0.0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, low: float, expected: float, high: float) -> Tokens:
        """Return each bound multiplied by its own factor."""
        return Tokens(self.low * low, self.expected * expected, self.high * high)

    @classmethod
    def exactly(cls, tokens: float) -> Tokens:
        """Return a number that is known."""
        return cls(tokens, tokens, tokens)


@dataclass(frozen=True)
class Medium:
    """One file of a request: what kind it is, what it costs, and whether its size had to be assumed."""

    kind: str
    tokens: Tokens
    assumed: bool = False


def media_tokens(part: Mapping[str, Any], *, model: str, resolution: str = "") -> Medium | None:
    """Return what the file of a part costs; ``None`` for a part without one.

    :param part: a part of a request, in camelCase or snake_case.
    :param resolution: the media resolution of the whole request; a part's own goes before.
    """
    inline = _member(part, "inlineData", "inline_data")
    file = inline or _member(part, "fileData", "file_data")
    if not file:
        return None
    own = _member(part, "mediaResolution", "media_resolution").get("level")
    level = str(own or resolution).upper().removeprefix("MEDIA_RESOLUTION_")
    generation = _GENERATION.search(model)
    budget = generation is None or int(generation[1]) >= 3
    mime = str(file.get("mimeType") or file.get("mime_type") or "").lower()
    data = inline.get("data")
    match mime.partition("/")[0]:
        case "image":
            medium = _image(data, level, budget=budget)
        case "video":
            medium = _video(_member(part, "videoMetadata", "video_metadata"), level, budget=budget)
        case "audio":
            medium = Medium("audio", _each(_SECONDS, AUDIO_SECOND), assumed=True)
        case _ if mime.endswith("/pdf"):
            medium = _pdf(data, level, budget=budget)
        case _:
            medium = _document(data)
    return medium


def image_tiles(width: int, height: int) -> int:
    """Return how many tiles an image is cut into, by Google's rough formula."""
    if max(width, height) <= SMALL_IMAGE:
        return 1
    unit = max(math.floor(min(width, height) / 1.5), SMALLEST_TILE)
    return math.ceil(width / unit) * math.ceil(height / unit)


def _image(data: object, level: str, *, budget: bool) -> Medium:
    if budget:
        # A budget is what an image may take; a small one takes less.
        most = _IMAGES.get(level, _IMAGES["HIGH"])
        return Medium("image", Tokens(most / 2, most, most))
    size = image_size(decoded(data, most=HEAD_BYTES))
    if level == "LOW":
        return Medium("image", Tokens.exactly(64))
    if size is None:
        return Medium("image", Tokens(TILE, 4 * TILE, 16 * TILE), assumed=True)
    return Medium("image", Tokens.exactly(TILE * image_tiles(*size)))


def _pdf(data: object, level: str, *, budget: bool) -> Medium:
    page = _IMAGES.get(level, _IMAGES["MEDIUM"]) if budget else TILE
    pages = pdf_pages(decoded(data)) if data else None
    if pages is None:
        return Medium("pdf", _each(_PAGES, page), assumed=True)
    return Medium("pdf", Tokens.exactly(pages * page))


def _document(data: object) -> Medium:
    if not data:
        return Medium("document", _each(_DOCUMENT_BYTES, 1 / BYTES_PER_TOKEN), assumed=True)
    return Medium("document", Tokens.exactly(len(str(data)) * 3 / 4 / BYTES_PER_TOKEN))


def _video(metadata: Mapping[str, Any], level: str, *, budget: bool) -> Medium:
    older = LOW_FRAME if level == "LOW" else TILE
    frame = _FRAMES.get(level, _FRAMES["MEDIUM"]) if budget else older
    fps = metadata.get("fps")
    frames = min(float(fps), MOST_FRAMES) if isinstance(fps, int | float) and fps > 0 else 1.0
    # The sound is part of it where there is any.
    second = Tokens(frame * frames, frame * frames + VIDEO_EXTRA, frame * frames + VIDEO_EXTRA + AUDIO_SECOND)
    start = _seconds(metadata, "startOffset", "start_offset") or 0.0
    end = _seconds(metadata, "endOffset", "end_offset")
    if end is None:
        return Medium("video", second.times(*_SECONDS), assumed=True)
    length = max(end - start, 0.0)
    return Medium("video", second.times(length, length, length))


def _each(counts: tuple[float, float, float], tokens: float) -> Tokens:
    return Tokens.exactly(tokens).times(*counts)


def _seconds(metadata: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        if found := _DURATION.fullmatch(str(metadata.get(name, ""))):
            return float(found[1])
    return None


def _member(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the object under one of *names*; an empty one when there is none."""
    for name in names:
        if isinstance(found := value.get(name), Mapping):
            return found
    return {}
