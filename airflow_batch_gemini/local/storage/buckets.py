"""Buckets: folders under the root, with what the index knows of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from .disk import Disk
from .errors import Conflict, NotFound
from .index import Index
from .listing import walk
from .model import DEFAULT_LOCATION, DEFAULT_PROJECT, Bucket
from .names import is_bucket_name, require_bucket_name


class Buckets:
    """The buckets as they are now, changed under the catalog's lock."""

    def __init__(self, disk: Disk, index: Index, lock: threading.RLock) -> None:
        self._disk = disk
        self._index = index
        self._lock = lock

    def create(self, wanted: Bucket) -> Bucket:
        """Make a bucket; Conflict when it exists."""
        require_bucket_name(wanted.name)
        with self._lock:
            if self._disk.bucket(wanted.name).is_dir():
                raise Conflict(f"Your previous request to create the named bucket '{wanted.name}' succeeded.")
            self._index.put_bucket(wanted)
            self._disk.bucket(wanted.name).mkdir()
            return wanted

    def get(self, name: str) -> Bucket:
        """Return a bucket; a folder that somebody made under the root is one, in the default location."""
        with self._lock:
            if not (is_bucket_name(name) and self._disk.bucket(name).is_dir()):
                raise NotFound(f"The specified bucket does not exist: {name}")
            known = self._index.bucket(name)
            if known is None:
                now = datetime.now(UTC)
                known = Bucket(
                    name=name, location=DEFAULT_LOCATION, project=DEFAULT_PROJECT, created=now, updated=now
                )
                self._index.put_bucket(known)
            return known

    def all(self) -> list[Bucket]:
        """All buckets by name."""
        with self._lock:
            return [self.get(name) for name in self._disk.buckets()]

    def change(self, name: str, change: Callable[[Bucket], Bucket]) -> Bucket:
        """Apply `change` to a bucket's configuration."""
        with self._lock:
            known = self.get(name)
            changed = replace(
                change(known), metageneration=known.metageneration + 1, updated=datetime.now(UTC)
            )
            self._index.put_bucket(changed)
            return changed

    def delete(self, name: str) -> None:
        """Remove an empty bucket; Conflict when anything is in it."""
        with self._lock:
            self.get(name)
            if self._disk.has_asides(name) or next(walk(self._disk.bucket(name)), None) is not None:
                raise Conflict(f"The bucket you tried to delete is not empty: {name}")
            if not self._disk.remove_bucket(name):
                raise Conflict(f"The folder of bucket {name} holds files that are not objects.")
            self._index.forget_bucket(name)
