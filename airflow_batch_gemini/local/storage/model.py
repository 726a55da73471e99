"""The values the store takes and gives: objects, buckets, drafts and preconditions."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .errors import NotModified, PreconditionFailed

DEFAULT_CONTENT_TYPE = "application/octet-stream"
DEFAULT_LOCATION = "us-central1"
DEFAULT_PROJECT = "demo"

WRITABLE_FIELDS = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "customTime",
    "storageClass",
)
"""What a client may set on an object beside `contentType` and `metadata`; kept as given."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One live object as a reader sees it.

    `generation` (microseconds, strictly increasing over the whole store) names the bytes, `metageneration` the
    metadata on them. `crc32c` and `md5` are base64 as Google writes them; an object made by compose has no
    md5, and a file that another program keeps changing has neither.
    """

    bucket: str
    name: str
    size: int
    generation: int
    metageneration: int
    content_type: str
    crc32c: str | None
    md5: str | None
    created: datetime
    updated: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    components: int | None = None

    @property
    def etag(self) -> str:
        """Opaque to clients; differs whenever bytes or metadata differ."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket and whatever its creator configured (`config`, kept and shown, not acted on)."""

    name: str
    location: str
    project: str
    created: datetime
    updated: datetime
    metageneration: int = 1
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The `ifGenerationMatch` family. Judged under the store's lock, together with the commit."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None
    etag_match: str | None = None
    etag_not_match: str | None = None

    def require(self, current: StoredObject | None, *, reading: bool = False) -> None:
        """Raise PreconditionFailed (NotModified for a reader's "not match") unless `current` satisfies all."""
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else None
        etag = current.etag if current else None
        if (
            self.generation_match not in (None, generation)
            or self.metageneration_match not in (None, metageneration)
            or self.etag_match not in (None, etag)
        ):
            raise PreconditionFailed("At least one of the pre-conditions you specified did not hold.")
        unchanged = (
            self.generation_not_match == generation
            or (
                self.metageneration_not_match is not None
                and metageneration in (None, self.metageneration_not_match)
            )
            or (self.etag_not_match is not None and self.etag_not_match == etag)
        )
        if unchanged and reading:
            raise NotModified("The object has not changed.")
        if unchanged:
            raise PreconditionFailed("At least one of the pre-conditions you specified did not hold.")


ALWAYS = Conditions()


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An object about to be written: where, described how, on which conditions, with which promised checksums."""

    bucket: str
    name: str
    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    conditions: Conditions = ALWAYS
    crc32c: str | None = None
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Bytes that are complete in a scratch file and wait for the commit."""

    path: Path
    size: int
    crc32c: str
    md5: str | None
    components: int | None = None
