"""Looks at jobs of one place, shared by everybody on an event loop who waits there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch import looking
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.looking import Turn, listing_filter, listing_pays
from airflow_batch_gemini.exceptions import JobLostError, ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

_PROGRESS = (
    "name", "state", "error", "output_info", "completion_stats", "create_time", "start_time", "end_time",
    "update_time",
)  # fmt: skip
"""What a wait wants to know of a job."""
_LOG = logging.getLogger(__name__)
_AT_ONCE = 20
"""Single looks under way at the same time."""

Seen = Job | JobLostError | ServiceError
"""What one look comes to; an error is told to those who asked for that job and to nobody else."""


@dataclass(eq=False)
class _Waiting:
    job_name: str
    created: float | None
    turn: Turn
    seen: asyncio.Future[Seen]


class SharedLooks:
    """Who waits for which job of one project and location, and the rounds in which all of them are looked at.

    Nothing runs by itself: whoever's turn comes first holds the round for all who join it, one round at a time. When
    its holder is cancelled the next one whose turn has come holds another, so no wait depends on a stranger's fate.
    """

    def __init__(self, vertex: GeminiBatchHook, *, project_id: str, location: str) -> None:
        self._vertex = vertex
        self._project_id = project_id
        self._location = location
        self._waiting: set[_Waiting] = set()
        self._round = asyncio.Lock()
        self._no_listing_until = 0.0

    async def look(self, job_name: str, *, created: float | None, pause: float) -> Job:
        """Return what the next round sees of the job; it is held *pause* seconds from now, or earlier with others.

        :param created: when the job was created (epoch seconds), if that is known: a job of unknown age is not listed.
        :raises JobLostError: 403 or 404.
        :raises ServiceError: the look failed.
        """
        loop = asyncio.get_running_loop()
        turn = Turn(since=loop.time(), pause=pause)
        me = _Waiting(job_name, created, turn, loop.create_future())
        self._waiting.add(me)
        try:
            await asyncio.wait([me.seen], timeout=pause)
            async with self._round:
                if not me.seen.done():
                    await self._hold(me)
            seen = me.seen.result()
        finally:
            self._waiting.discard(me)
        if isinstance(seen, Job):
            return seen
        raise seen

    async def _hold(self, me: _Waiting) -> None:
        """Look at the jobs of all who join, and tell them."""
        now = asyncio.get_running_loop().time()
        joined: dict[str, list[_Waiting]] = {me.job_name: []}
        for waiting in self._waiting:
            if waiting is me or waiting.turn.joins(now):
                joined.setdefault(waiting.job_name, []).append(waiting)
        listed = await self._list({name: _created(asking) for name, asking in joined.items()}, now)
        for job_name, job in listed.items():
            _tell(joined[job_name], job)
        await self._get({name: asking for name, asking in joined.items() if name not in listed})

    async def _list(self, wanted: Mapping[str, float | None], now: float) -> dict[str, Job]:
        """Return what listing shows of the *wanted* jobs (name → created): all, some, or none of them."""
        created = [at for at in wanted.values() if at is not None]
        seen: dict[str, Job] = {}
        if len(created) < looking.LISTED_FROM or now < self._no_listing_until:
            return seen
        # By id: Vertex AI may spell the project by its number.
        names = {_id(name): name for name, at in wanted.items() if at is not None}
        try:
            pages = 0
            async for page in self._pages(created):
                seen |= {names[_id(job.name)]: job for job in page if _id(job.name) in names}
                pages += 1
                if not listing_pays(pages=pages, unseen=len(names) - len(seen)):
                    break
        except ServiceError as error:
            _LOG.warning("%d jobs are looked at one by one: %s", len(names) - len(seen), error)
            if error.http_status in looking.REFUSALS:
                self._no_listing_until = now + looking.NO_LISTING_SECONDS
        return seen

    def _pages(self, created: Iterable[float]) -> AsyncIterator[Sequence[Job]]:
        return self._vertex.apages(
            project_id=self._project_id,
            location=self._location,
            filter=listing_filter(created),
            read_mask=_PROGRESS,
        )

    async def _get(self, wanted: Mapping[str, Sequence[_Waiting]]) -> None:
        """Look at jobs one by one, a few at a time; a storm of errors is not answered with a storm of looks."""
        left = iter(wanted.items())
        misses = 0
        last: ServiceError | None = None

        async def go_on() -> None:
            nonlocal misses, last
            for job_name, asking in left:
                seen: Seen
                if last is not None and misses >= looking.MISSES_IN_A_ROW:
                    seen = ServiceError(f"Not looked at: {last}", http_status=last.http_status)
                else:
                    seen = await self._seen(job_name)
                    misses = misses + 1 if isinstance(seen, ServiceError) else 0
                    last = seen if isinstance(seen, ServiceError) else None
                _tell(asking, seen)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(wanted))):
                group.create_task(go_on())

    async def _seen(self, job_name: str) -> Seen:
        try:
            return await self._vertex.aget(job_name)
        except (JobLostError, ServiceError) as error:
            return error


def _id(job_name: str) -> str:
    return job_name.rpartition("/")[2]


def _created(asking: Sequence[_Waiting]) -> float | None:
    return next((waiting.created for waiting in asking if waiting.created is not None), None)


def _tell(asking: Sequence[_Waiting], seen: Seen) -> None:
    for waiting in asking:
        if not waiting.seen.done():
            waiting.seen.set_result(seen)
