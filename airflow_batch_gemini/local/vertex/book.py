"""The book: jobs and bills in one SQLite file, so that a kill at any moment loses neither and doubles neither."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from airflow_batch_gemini.local.vertex.records import Job, Progress, Tokens

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bills (
    source TEXT PRIMARY KEY, model TEXT NOT NULL, rows INTEGER NOT NULL, prompt INTEGER NOT NULL,
    cached INTEGER NOT NULL, output INTEGER NOT NULL, thoughts INTEGER NOT NULL
);
"""
_BILL = """
INSERT INTO bills VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET
    rows = rows + excluded.rows, prompt = prompt + excluded.prompt, cached = cached + excluded.cached,
    output = output + excluded.output, thoughts = thoughts + excluded.thoughts
"""
NOTHING = Progress()


class Book:
    """Every write is one transaction; ``source`` of a bill is a job name, or ``generateContent MODEL``."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        # Survives the end of the process; only a power failure may lose the last moments.
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def load(self) -> list[Job]:
        """Return every job."""
        with self._lock:
            rows = self._database.execute("SELECT body FROM jobs").fetchall()
        return [Job.from_dict(orjson.loads(body)) for (body,) in rows]

    def next_sequence(self) -> int:
        """Return a number that was never returned before."""
        with self._lock:
            return self._next("jobs")

    def next_call(self) -> int:
        """Return the number of this generateContent call, counted over restarts."""
        with self._lock:
            return self._next("calls")

    def _next(self, name: str) -> int:
        row = self._database.execute(
            "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (name,),
        ).fetchone()
        return int(row[0])

    def save(self, job: Job, *, before: Progress = NOTHING) -> None:
        """Write a job, and bill what its progress has billed beyond ``before``, both or neither."""
        now = job.progress
        rows = now.billed - before.billed
        tokens = [a - b for a, b in zip(_counts(now.tokens), _counts(before.tokens), strict=True)]
        with self._lock, self._database:
            self._database.execute("BEGIN")
            self._database.execute("REPLACE INTO jobs VALUES (?, ?)", (job.id, orjson.dumps(asdict(job))))
            if rows or any(tokens):
                self._database.execute(_BILL, (job.name, job.model_id, rows, *tokens))

    def bill_call(self, model: str, tokens: Tokens) -> None:
        """Bill one generateContent call."""
        with self._lock:
            self._database.execute(_BILL, (f"generateContent {model}", model, 1, *_counts(tokens)))

    def delete(self, job_id: str) -> None:
        """Forget a job; its bill stays."""
        with self._lock:
            self._database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def bills(self) -> dict[str, dict[str, Any]]:
        """Return source → model, rows and tokens billed."""
        with self._lock:
            rows = self._database.execute("SELECT * FROM bills").fetchall()
        names = ("model", "rows", "prompt_tokens", "cached_tokens", "output_tokens", "thoughts_tokens")
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}

    def forget_bills(self) -> None:
        """Start counting from nothing."""
        with self._lock:
            self._database.execute("DELETE FROM bills")


def _counts(tokens: Tokens) -> tuple[int, int, int, int]:
    return tokens.prompt, tokens.cached, tokens.output, tokens.thoughts
