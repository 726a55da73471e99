"""Files that a request points to: what their URIs look like and which MIME type their extension means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from airflow_batch_gemini.exceptions import TemplateError

URI_PATTERN = r"gs://[a-z0-9][a-z0-9._-]*/[^\x00-\x1f\x7f]+|https://[^\x00-\x20\x7f/]+/[^\x00-\x20\x7f]*"
"""What Gemini can fetch, as one pattern that Python's ``re`` and BigQuery's RE2 both read."""

EXTENSION_PATTERN = r"\.([A-Za-z0-9]+)[?#]"
"""Finds the extension of a URI with a ``#`` put at its end, before any query or fragment; for ``re`` and RE2 alike."""

MIME_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "aac": "audio/aac",
        "aif": "audio/aiff",
        "aiff": "audio/aiff",
        "avi": "video/avi",
        "css": "text/css",
        "csv": "text/csv",
        "flac": "audio/flac",
        "flv": "video/x-flv",
        "gif": "image/gif",
        "heic": "image/heic",
        "heif": "image/heif",
        "htm": "text/html",
        "html": "text/html",
        "jpeg": "image/jpeg",
        "jpg": "image/jpeg",
        "json": "application/json",
        "m4a": "audio/m4a",
        "m4v": "video/mp4",
        "md": "text/markdown",
        "mkv": "video/x-matroska",
        "mov": "video/mov",
        "mp3": "audio/mp3",
        "mp4": "video/mp4",
        "mpga": "audio/mpga",
        "mpeg": "video/mpeg",
        "mpg": "video/mpeg",
        "oga": "audio/ogg",
        "ogg": "audio/ogg",
        "opus": "audio/opus",
        "pcm": "audio/pcm",
        "pdf": "application/pdf",
        "png": "image/png",
        "txt": "text/plain",
        "wav": "audio/wav",
        "weba": "audio/webm",
        "webm": "video/webm",
        "webp": "image/webp",
        "wmv": "video/wmv",
        "xml": "text/xml",
        "3gp": "video/3gpp",
    }
)
"""By extension in lower case, in the spelling of the Gemini model pages."""

_URI = re.compile(URI_PATTERN)
_EXTENSION = re.compile(EXTENSION_PATTERN)
_MIME = re.compile(r"[a-z]+/[A-Za-z0-9.+-]+")


@dataclass(frozen=True, kw_only=True)
class Media:
    """A column that holds the URI of a file for the request, ``gs://…`` or ``https://…``, or a list of them.

    A row where it is NULL or empty gets no such part, and one with several gets a part for each.

    :param column: the column's name.
    :param mime_type: the type of every file in it; by default each is taken from its extension.
    :param video_metadata: which part of a video: ``startOffset`` and ``endOffset`` like ``"12.5s"``, ``fps``.
    :param media_resolution: how closely to look, for models that take it for each file, like
        ``"MEDIA_RESOLUTION_HIGH"``.
    """

    column: str
    mime_type: str | None = None
    video_metadata: Mapping[str, Any] | None = None
    media_resolution: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise TemplateError("Media(column=…) wants the name of a column. Nothing was sent.")
        if self.mime_type is not None and not _MIME.fullmatch(str(self.mime_type)):
            raise TemplateError(
                f"Media(column={self.column!r}) has a MIME type that is none (like 'image/jpeg'). Nothing was sent."
            )


def is_media_uri(uri: str) -> bool:
    """Return whether Gemini can be pointed to *uri*."""
    return _URI.fullmatch(uri) is not None


def mime_type_of(uri: str) -> str | None:
    """Return the MIME type that the extension of *uri* means, or ``None``."""
    match = _EXTENSION.search(f"{uri}#")
    return MIME_TYPES.get(match[1].lower()) if match else None
