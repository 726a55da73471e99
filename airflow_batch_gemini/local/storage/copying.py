"""Objects made from objects: compose and copy. The bytes never leave the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import Invalid, SourceChanged
from .model import ALWAYS, Conditions, Draft, Staged, StoredObject
from .sink import BLOCK, blocks
from .store import Storage

MAX_SOURCES = 32


@dataclass(frozen=True, kw_only=True)
class Source:
    """An object to be read, in the generation and under the conditions its reader names."""

    bucket: str
    name: str
    generation: int | None = None
    conditions: Conditions = ALWAYS


def compose(storage: Storage, sources: Sequence[Source], draft: Draft) -> StoredObject:
    """Concatenate up to 32 objects; the result has no md5, as on Google's side."""
    if not 0 < len(sources) <= MAX_SOURCES:
        raise Invalid(f"Compose takes 1 to {MAX_SOURCES} source objects, not {len(sources)}.")
    sink = storage.sink(with_md5=False)
    components = 0
    try:
        for source in sources:
            stored, file = storage.fetch(
                source.bucket, source.name, conditions=source.conditions, generation=source.generation
            )
            with file:
                for block in blocks(file):
                    sink.write(block)
            components += stored.components or 1
        return storage.commit(sink.finish(components=components), draft)
    finally:
        sink.discard()


def copy(storage: Storage, source: Source, describe: Callable[[StoredObject], Draft]) -> StoredObject:
    """Copy an object to where `describe` says, given the source; its checksums are known, so none are made."""
    stored, file = storage.fetch(
        source.bucket, source.name, conditions=source.conditions, generation=source.generation
    )
    target = storage.scratch()
    try:
        with file:
            _copy_bytes(file, target, stored)
        if stored.crc32c is None:
            return storage.publish(target, describe(stored))
        staged = Staged(
            path=target,
            size=stored.size,
            crc32c=stored.crc32c,
            md5=stored.md5,
            components=stored.components,
        )
        return storage.commit(staged, describe(stored))
    finally:
        target.unlink(missing_ok=True)


def _copy_bytes(file: BinaryIO, target: Path, stored: StoredObject) -> None:
    """Copy an open file; SourceChanged when another program wrote into it meanwhile."""
    before = os.fstat(file.fileno())
    with target.open("wb") as out:
        shutil.copyfileobj(file, out, BLOCK)
        done = out.tell()
    after = os.fstat(file.fileno())
    if done != stored.size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SourceChanged(
            f"{stored.bucket}/{stored.name} was changed by another program while it was copied."
        )
