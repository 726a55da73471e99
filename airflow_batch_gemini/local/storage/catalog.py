"""Every change of an object, each one step under one lock.

Here the preconditions are judged, the generation is given and the file is renamed, so that nobody can come in
between. A step takes microseconds; bytes are written and read outside.
"""

from __future__ import annotations

import mimetypes
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from .buckets import Buckets
from .disk import Disk, regular
from .errors import Invalid, NotFound
from .index import Index, Row, moment
from .model import (
    DEFAULT_CONTENT_TYPE,
    Conditions,
    Draft,
    Staged,
    StoredObject,
)


class Catalog:
    """Objects as they are now: the files on disk, explained by the index."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threading.RLock()
        self._index = Index(disk.own / "index.sqlite")
        self.buckets = Buckets(disk, self._index, self._lock)
        disk.sweep()

    def close(self) -> None:
        """Let another process have the folder."""
        with self._lock:
            self._index.close()

    def aside_names(self, bucket: str, start: str) -> list[str]:
        """Name the objects of a bucket that its folder does not show."""
        with self._lock:
            return self._index.aside_names(bucket, start)

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return the live object, or None."""
        with self._lock:
            self.buckets.get(bucket)
            row = self._current(bucket, name)
            return row.stored if row else None

    def get(self, bucket: str, name: str, generation: int | None = None) -> StoredObject:
        """Return the live object; NotFound also when it is of another generation than the one asked for."""
        with self._lock:
            return self._get(bucket, name, generation).stored

    def open(self, bucket: str, name: str, generation: int | None = None) -> tuple[StoredObject, BinaryIO]:
        """Return the live object and its bytes; a later write does not change what the open file reads."""
        with self._lock:
            row = self._get(bucket, name, generation)
            return row.stored, self._path(row).open("rb")

    def path(self, bucket: str, name: str) -> Path:
        """Where the live object lies, or where it would."""
        with self._lock:
            self.buckets.get(bucket)
            row = self._current(bucket, name)
            plain = self._disk.plain(bucket, name)
            if row is None and plain is None:
                raise Invalid(f"An object called {name!r} has no plain path; write it with writer().")
            return self._path(row) if row else plain or self._disk.root

    def commit(self, staged: Staged, draft: Draft) -> StoredObject:
        """Make staged bytes the live object, if the draft's conditions hold at this very moment."""
        with self._lock:
            self.buckets.get(draft.bucket)
            current = self._current(draft.bucket, draft.name)
            draft.conditions.require(current.stored if current else None)
            with self._index.transaction():
                generation = self._index.next_generation()
                path, aside = self._disk.make_room(draft.bucket, draft.name, generation)
                # The time of change marks the file as this generation's; no two commits share one.
                os.utime(staged.path, ns=(generation * 1000, generation * 1000))
                stored = StoredObject(
                    bucket=draft.bucket,
                    name=draft.name,
                    size=staged.size,
                    generation=generation,
                    metageneration=1,
                    content_type=draft.content_type,
                    crc32c=staged.crc32c,
                    md5=staged.md5,
                    created=moment(generation),
                    updated=moment(generation),
                    metadata=draft.metadata,
                    fields=draft.fields,
                    components=staged.components,
                )
                row = Row(stored=stored, changed_ns=staged.path.stat().st_mtime_ns, aside=aside)
                self._index.put(row)
            staged.path.replace(path)
            self._settle(row)
            return stored

    def change(
        self,
        bucket: str,
        name: str,
        change: Callable[[StoredObject], StoredObject],
        *,
        conditions: Conditions,
        generation: int | None,
    ) -> StoredObject:
        """Apply `change` to an object's metadata; the bytes and their generation stay."""
        with self._lock:
            row = self._get(bucket, name, generation)
            conditions.require(row.stored)
            metageneration = row.stored.metageneration + 1
            stored = replace(change(row.stored), metageneration=metageneration, updated=datetime.now(UTC))
            self._index.put(replace(row, stored=stored))
            return stored

    def note_checksums(self, stored: StoredObject, *, crc32c: str, md5: str | None) -> StoredObject | None:
        """Remember the checksums of a file that another program wrote; None when it is another file by now."""
        with self._lock:
            row = self._current(stored.bucket, stored.name)
            if row is None or row.stored.generation != stored.generation:
                return None
            noted = replace(row, stored=replace(row.stored, crc32c=crc32c, md5=md5))
            self._index.put(noted)
            return noted.stored

    def remove(self, bucket: str, name: str, *, conditions: Conditions, generation: int | None) -> None:
        """Delete the live object."""
        with self._lock:
            row = self._get(bucket, name, generation)
            conditions.require(row.stored)
            self._settle(row)
            self._disk.remove(self._path(row), bucket)
            self._index.forget(bucket, name)

    def move(
        self, bucket: str, source: str, draft: Draft, *, conditions: Conditions, generation: int | None
    ) -> StoredObject:
        """Give an object another name in its bucket; `conditions` are the source's, the draft has the target's."""
        with self._lock:
            old = self._get(bucket, source, generation)
            conditions.require(old.stored)
            target = self._current(bucket, draft.name)
            draft.conditions.require(target.stored if target else None)
            with self._index.transaction():
                number = self._index.next_generation()
                path, aside = self._disk.make_room(bucket, draft.name, number)
                stored = replace(
                    old.stored,
                    name=draft.name,
                    generation=number,
                    metageneration=1,
                    created=moment(number),
                    updated=moment(number),
                )
                row = Row(stored=stored, changed_ns=old.changed_ns, aside=aside)
                self._index.put(row)
            self._settle(old)
            origin = self._path(old)
            origin.replace(path)
            self._settle(row)
            self._disk.remove(origin, bucket)
            self._index.forget(bucket, source)
            return stored

    def _path(self, row: Row) -> Path:
        stored = row.stored
        if row.aside:
            return self._disk.aside(stored.bucket, stored.generation)
        return self._disk.bucket(stored.bucket) / stored.name

    def _get(self, bucket: str, name: str, generation: int | None) -> Row:
        self.buckets.get(bucket)
        row = self._current(bucket, name)
        if row is None or generation not in (None, row.stored.generation):
            raise NotFound(f"No such object: {bucket}/{name}" + (f"#{generation}" if generation else ""))
        return row

    def _current(self, bucket: str, name: str) -> Row | None:
        """Find the row that describes the file that is there; a file that no row describes gets a new one."""
        rows = self._index.rows(bucket, name)
        plain = self._disk.plain(bucket, name)
        status = regular(plain) if plain is not None else None
        if status is None:
            return next((row for row in rows if row.aside and regular(self._path(row))), None)
        mark = (False, status.st_size, status.st_mtime_ns)
        for row in rows:
            if (row.aside, row.stored.size, row.changed_ns) == mark:
                return row
        return self._adopt(bucket, name, status)

    def _adopt(self, bucket: str, name: str, status: os.stat_result) -> Row:
        """Take a file that another program wrote as a new generation; its checksums are made when asked for."""
        with self._index.transaction():
            generation = self._index.next_generation()
            stored = StoredObject(
                bucket=bucket,
                name=name,
                size=status.st_size,
                generation=generation,
                metageneration=1,
                content_type=mimetypes.guess_type(name)[0] or DEFAULT_CONTENT_TYPE,
                crc32c=None,
                md5=None,
                created=moment(generation),
                updated=moment(generation),
            )
            row = Row(stored=stored, changed_ns=status.st_mtime_ns, aside=False)
            self._index.put(row)
        self._settle(row)
        return row

    def _settle(self, row: Row) -> None:
        """Remove what older generations of the object left: their rows, and their files aside."""
        stored = row.stored
        older = [
            other
            for other in self._index.rows(stored.bucket, stored.name)
            if other.stored.generation != stored.generation
        ]
        for other in reversed(older):
            if other.aside:
                self._path(other).unlink(missing_ok=True)
        if older:
            self._index.forget(stored.bucket, stored.name, keep=stored.generation)
