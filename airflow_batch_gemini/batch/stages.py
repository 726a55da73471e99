"""When a batch came to which stage of its way, and how long each took."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from airflow_batch_gemini.batch.job import Job

DURATIONS = ("submit", "queue", "run", "land", "load")
"""What lies between a stage and the next one: until the first job is created, until one starts, until the last one has
ended, until all is landed, until it is published."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Epoch seconds, each by the clock of whoever says so; ``None``: nobody does."""

    prepared: float | None = None
    submitted: float | None = None
    """Of the first job."""
    started: float | None = None
    """Of the first job that did."""
    ended: float | None = None
    """Of the last job."""
    landed: float | None = None
    """Of the last load job; ``None`` also where nothing had to be landed."""
    loaded: float | None = None

    @classmethod
    def of(
        cls, *, prepared_at: str, jobs: Iterable[Job], landed: float | None, loaded: float | None = None
    ) -> Stages:
        """Return what manifest, jobs and load jobs say.

        :param prepared_at: RFC 3339.
        """
        every = list(jobs)
        return cls(
            prepared=_epoch(prepared_at),
            submitted=min((job.create_time for job in every if job.create_time is not None), default=None),
            started=min((job.start_time for job in every if job.start_time is not None), default=None),
            ended=max((job.end_time for job in every if job.end_time is not None), default=None),
            landed=landed,
            loaded=loaded,
        )

    @property
    def _known(self) -> list[float | None]:
        return [self.prepared, self.submitted, self.started, self.ended, self.landed, self.loaded]

    def durations(self) -> dict[str, float | None]:
        """Return the seconds of every stage, and of the whole way; ``None`` where an end of it is unknown.

        0 where a stage was over before the one before it, as when a preparation was repeated and its job adopted.
        """
        pairs = zip(DURATIONS, pairwise(self._known), strict=True)
        found = {name: _between(begin, end) for name, (begin, end) in pairs}
        return {**found, "whole": _between(self.prepared, self.loaded)}


def rfc3339(epoch: float | None, *, timespec: str = "seconds") -> str | None:
    """Return a time as text, in UTC."""
    if epoch is None:
        return None
    return dt.datetime.fromtimestamp(epoch, tz=dt.UTC).isoformat(timespec=timespec)


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(max(end - begin, 0.0), 3)


def _epoch(text: str) -> float | None:
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
