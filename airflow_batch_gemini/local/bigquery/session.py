"""One job's way to the database: a cursor, the catalogue through it, and its transactions."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from .catalog import Catalog
from .errors import BigQueryError, invalid_query

_MULTIPLE = "cannot affect the same target row more than once"
_PREFIX = re.compile(r"^(?:\w+ )*Error: ?")
_PYTHON = re.compile(
    r"Python exception occurred while executing the UDF: (?:\w+: )?(?P<message>.*)", re.DOTALL
)


def translated(error: duckdb.Error) -> BigQueryError:
    """Say a failure of the engine as BigQuery would."""
    if isinstance(error, duckdb.InterruptException):
        return BigQueryError("stopped", "Job execution was cancelled: User requested cancellation")
    if isinstance(error, duckdb.OutOfMemoryException):
        return BigQueryError("resourcesExceeded", f"Resources exceeded during query execution: {error}")
    message = str(error)
    found = _PYTHON.search(message)
    if found is not None:
        return invalid_query(found["message"].splitlines()[0])
    if _MULTIPLE in message:
        return invalid_query("UPDATE/MERGE must match at most one source row for each target row")
    if "More than one row returned by a subquery" in message:
        return invalid_query("Scalar subquery produced more than one element")
    return invalid_query(_PREFIX.sub("", message).strip())


class Session:
    """Writes of all sessions stand in one line: the lock is held from the first write to the commit."""

    def __init__(self, cursor: Any, write_lock: threading.Lock, *, default_location: str) -> None:
        self.cursor = cursor
        self.catalog = Catalog(cursor, default_location=default_location)
        self._lock = write_lock
        self.in_transaction = False
        # Set before the last transaction of a job: its commit then says that the job is done.
        self.finishes: tuple[str, str] | None = None

    def execute(self, sql: str) -> Any:
        """Run one statement of the engine; raises BigQuery's error."""
        try:
            return self.cursor.execute(sql)
        except duckdb.Error as error:
            raise translated(error) from error

    def count(self, sql: str) -> int:
        """Run a statement that says how many rows it changed."""
        row = self.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def begin(self) -> None:
        """Open a transaction that writes."""
        self._lock.acquire()
        try:
            self.execute("BEGIN TRANSACTION")
        except BigQueryError:
            self._lock.release()
            raise
        self.in_transaction = True

    def commit(self) -> None:
        """Make the transaction's work durable and visible, all at once, and the note that its job did it."""
        try:
            if self.finishes is not None:
                self.catalog.finish(*self.finishes)
            self.execute("COMMIT")
        except BaseException:
            self.rollback()
            raise
        self._leave()

    def rollback(self) -> None:
        """Undo the transaction's work; harmless without one."""
        if self.in_transaction:
            try:
                self.cursor.execute("ROLLBACK")
            except duckdb.Error:
                pass  # The engine has already rolled back, which is all that was wanted.
            finally:
                self._leave()

    def _leave(self) -> None:
        self.in_transaction = False
        self._lock.release()

    @contextmanager
    def transaction(self) -> Iterator[Catalog]:
        """Do the block's work all or not at all; inside an open transaction it simply joins it."""
        if self.in_transaction:
            yield self.catalog
            return
        self.begin()
        try:
            yield self.catalog
        except BaseException:
            self.rollback()
            raise
        if self.in_transaction:
            self.commit()

    def close(self) -> None:
        """Undo what is open and give the cursor back."""
        self.rollback()
        self.cursor.close()
