"""The jobs: every id that was ever used, in a small database of its own, so that noting one never waits."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from .errors import duplicate, not_found

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  project TEXT NOT NULL, id TEXT NOT NULL, location TEXT NOT NULL, created INTEGER NOT NULL,
  state TEXT NOT NULL, parent TEXT, doc BLOB NOT NULL, PRIMARY KEY (project, id)
) WITHOUT ROWID
"""
_COLUMNS = "project, id, location, created, state, parent, doc"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is kept: `doc` holds configuration, statistics, status and the result's place."""

    project: str
    id: str
    location: str
    created: int
    state: str
    doc: Mapping[str, Any]
    parent: str | None = None

    def changed(self, *, state: str | None = None, **parts: object) -> Job:
        """Return the job with other parts in its document."""
        return replace(self, state=state or self.state, doc={**self.doc, **parts})

    @property
    def error(self) -> Mapping[str, str] | None:
        """The error it ended with."""
        result: Mapping[str, str] | None = self.doc.get("error")
        return result


class Registry:
    """Keeps jobs over restarts; a job id is taken for ever, also by a job that failed."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def add(self, job: Job) -> None:
        """Take the job's id; raises duplicate for all but the first."""
        try:
            with self._lock:
                self._db.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", _row(job))
        except sqlite3.IntegrityError:
            raise duplicate("Job", f"{job.project}:{job.location}.{job.id}") from None

    def save(self, job: Job) -> None:
        """Keep what has become of a job."""
        with self._lock:
            self._db.execute(
                "UPDATE jobs SET state = ?, doc = ? WHERE project = ? AND id = ?",
                (job.state, orjson.dumps(job.doc), job.project, job.id),
            )

    def get(self, project: str, job_id: str) -> Job:
        """Return a job; raises notFound."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE project = ? AND id = ?", (project, job_id)
            ).fetchone()
        if row is None:
            raise not_found("Job", f"{project}:{job_id}")
        return _job(row)

    def remove(self, project: str, job_id: str) -> None:
        """Delete a job's metadata."""
        with self._lock:
            self._db.execute(
                "DELETE FROM jobs WHERE project = ? AND (id = ? OR parent = ?)", (project, job_id, job_id)
            )

    def page(
        self, project: str, *, parent: str | None, states: frozenset[str], limit: int, offset: int,
        least: int | None = None, most: int | None = None,
    ) -> list[Job]:  # fmt: skip
        """List jobs, the newest first; without a parent only those that have none."""
        where = ["project = ?", "parent IS ?"]
        values: list[object] = [project, parent]
        marks = ", ".join("?" for _ in states)
        if states:
            where.append(f"state IN ({marks})")
        bounds = [("created >= ?", least), ("created <= ?", most)]
        where += [text for text, bound in bounds if bound is not None]
        values += [*states, *(bound for _, bound in bounds if bound is not None)]
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(where)} "
                "ORDER BY created DESC, id DESC LIMIT ? OFFSET ?",
                (*values, limit, offset),
            ).fetchall()
        return [_job(row) for row in rows]

    def unfinished(self) -> list[Job]:
        """List the jobs that were at work when the process died."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE state <> 'DONE'").fetchall()
        return [_job(row) for row in rows]


def _row(job: Job) -> tuple[object, ...]:
    return (job.project, job.id, job.location, job.created, job.state, job.parent, orjson.dumps(job.doc))


def _job(row: tuple[Any, ...]) -> Job:
    project, job_id, location, created, state, parent, doc = row
    return Job(project, job_id, location, created, state, orjson.loads(doc), parent)
