"""What files cannot say of themselves, in SQLite: generations, checksums, types, metadata, buckets.

The index never decides whether an object exists: the file does. A row counts only while it describes the file
that is there (same size, same time of change). Rows are therefore written before the rename that makes them
true, and old ones removed after it; a kill between any two steps leaves either the old object or the new one.

One process holds the index; SQLite's own lock keeps a second one out and falls with the process.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import Conflict
from .model import Bucket, StoredObject

_SCHEMA = """
CREATE TABLE clock (last INTEGER NOT NULL);
INSERT INTO clock VALUES (0);
CREATE TABLE buckets (
    name TEXT PRIMARY KEY, location TEXT NOT NULL, project TEXT NOT NULL, created INTEGER NOT NULL,
    updated INTEGER NOT NULL, metageneration INTEGER NOT NULL, config TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL,
    size INTEGER NOT NULL, content_type TEXT NOT NULL, crc32c TEXT, md5 TEXT, updated INTEGER NOT NULL,
    metadata TEXT NOT NULL, fields TEXT NOT NULL, components INTEGER, changed_ns INTEGER NOT NULL,
    aside INTEGER NOT NULL, PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE INDEX aside ON objects (bucket, name) WHERE aside;
PRAGMA user_version = 1;
"""
_OBJECT_COLUMNS = (
    "bucket, name, generation, metageneration, size, content_type, crc32c, md5, updated, metadata, fields, "
    "components, changed_ns, aside"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """An object and the mark by which its file is recognised."""

    stored: StoredObject
    changed_ns: int
    aside: bool


def moment(microseconds: int) -> datetime:
    """Turn the store's clock (microseconds since 1970) into a time."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def microseconds(when: datetime) -> int:
    """Turn a time into the store's clock."""
    return round(when.timestamp() * 1_000_000)


class Index:
    """The tables. Every call is made under the store's lock."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            self._claim(path)
        except BaseException:
            self._database.close()
            raise

    def _claim(self, path: Path) -> None:
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._database.executescript("BEGIN EXCLUSIVE;" + _SCHEMA + "COMMIT;")
            with self.transaction():
                self.next_generation()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise Conflict(
                f"The data folder {path.parent.parent} is in use by another local cloud."
            ) from error
        if version > 1:
            raise Conflict(f"{path} was written by a newer version of the local cloud (schema {version}).")

    def close(self) -> None:
        """Let another process have the index."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen or not happen."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def next_generation(self) -> int:
        """Return a number greater than every one before, also after a restart or a clock set back."""
        (last,) = self._database.execute("SELECT last FROM clock").fetchone()
        generation: int = max(time.time_ns() // 1000, last + 1)
        self._database.execute("UPDATE clock SET last = ?", (generation,))
        return generation

    def rows(self, bucket: str, name: str) -> list[Row]:
        """Every row of one name, newest first; more than one only while a commit is under way or was cut off."""
        found = self._database.execute(
            f"SELECT {_OBJECT_COLUMNS} FROM objects WHERE bucket = ? AND name = ? ORDER BY generation DESC",
            (bucket, name),
        )
        return [_row(values) for values in found]

    def put(self, row: Row) -> None:
        """Write a row, in place of the one with its generation."""
        stored = row.stored
        values = (
            *(stored.bucket, stored.name, stored.generation, stored.metageneration, stored.size),
            *(stored.content_type, stored.crc32c, stored.md5, microseconds(stored.updated)),
            *(json.dumps(dict(stored.metadata)), json.dumps(dict(stored.fields)), stored.components),
            *(row.changed_ns, row.aside),
        )
        marks = ", ".join("?" * len(values))
        self._database.execute(f"INSERT OR REPLACE INTO objects ({_OBJECT_COLUMNS}) VALUES ({marks})", values)

    def forget(self, bucket: str, name: str, *, keep: int = 0) -> None:
        """Remove every row of one name, but for the generation to keep."""
        self._database.execute(
            "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation <> ?", (bucket, name, keep)
        )

    def aside_names(self, bucket: str, start: str) -> list[str]:
        """Name the objects that have no readable path, from `start` on."""
        found = self._database.execute(
            "SELECT DISTINCT name FROM objects WHERE bucket = ? AND aside AND name >= ? ORDER BY name",
            (bucket, start),
        )
        return [name for (name,) in found]

    def bucket(self, name: str) -> Bucket | None:
        """What is known of a bucket."""
        found = self._database.execute(
            "SELECT name, location, project, created, updated, metageneration, config FROM buckets WHERE name = ?",
            (name,),
        ).fetchone()
        if found is None:
            return None
        name, location, project, created, updated, metageneration, config = found
        return Bucket(
            name=name,
            location=location,
            project=project,
            created=moment(created),
            updated=moment(updated),
            metageneration=metageneration,
            config=json.loads(config),
        )

    def put_bucket(self, bucket: Bucket) -> None:
        """Write what is known of a bucket."""
        self._database.execute(
            "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(bucket.name, bucket.location, bucket.project, microseconds(bucket.created)),
                *(microseconds(bucket.updated), bucket.metageneration, json.dumps(dict(bucket.config))),
            ),
        )

    def forget_bucket(self, name: str) -> None:
        """Remove a bucket and the rows of everything that was in it."""
        self._database.execute("DELETE FROM objects WHERE bucket = ?", (name,))
        self._database.execute("DELETE FROM buckets WHERE name = ?", (name,))


def _row(values: tuple[Any, ...]) -> Row:
    bucket, name, generation, metageneration, size, content_type, crc32c, md5, *rest = values
    updated, metadata, fields, components, changed_ns, aside = rest
    stored = StoredObject(
        bucket=bucket,
        name=name,
        size=size,
        generation=generation,
        metageneration=metageneration,
        content_type=content_type,
        crc32c=crc32c,
        md5=md5,
        created=moment(generation),
        updated=moment(updated),
        metadata=json.loads(metadata),
        fields=json.loads(fields),
        components=components,
    )
    return Row(stored=stored, changed_ns=changed_ns, aside=bool(aside))
