"""Looks at jobs of one place, shared by everybody on an event loop who waits there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch import looking
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.looking import Turn
from airflow_batch_gemini.exceptions import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

_PROGRESS = ("name", "state", "error", "output_info", "completion_stats", "create_time")
"""What a wait wants to know of a job."""
_LOG = logging.getLogger(__name__)
_AT_ONCE = 20
"""Single looks under way at the same time."""


@dataclass(eq=False)
class _Waiting:
    job_name: str
    created: float | None
    turn: Turn
    listed: asyncio.Future[Job | None]
    """What the round's listing shows; ``None`` when it does not show this job."""


class SharedLooks:
    """Who waits for which job of one project and location, and the rounds in which they are listed together.

    Nothing runs by itself: whoever's turn comes first lists for all who join, one round at a time; who is not on the
    listing then looks alone. When the holder of a round is cancelled the next one whose turn has come holds another.
    """

    def __init__(self, vertex: GeminiBatchHook, *, project_id: str, location: str) -> None:
        self._vertex = vertex
        self._project_id = project_id
        self._location = location
        self._waiting: set[_Waiting] = set()
        self._round: asyncio.Future[None] | None = None
        """Done when the round that is being held is over."""
        self._no_listing_until = 0.0
        self._alone = asyncio.Semaphore(_AT_ONCE)
        self._misses = 0
        self._spared: tuple[float, ServiceError] | None = None

    async def look(self, job_name: str, *, created: float | None, pause: float) -> Job:
        """Return what the job is *pause* seconds from now, or earlier when others are looked at.

        :param created: when the job was created (epoch seconds), if that is known: a job of unknown age is not listed.
        :raises JobLostError: 403 or 404.
        :raises ServiceError: the look failed.
        """
        loop = asyncio.get_running_loop()
        turn = Turn(since=loop.time(), pause=pause)
        me = _Waiting(job_name, created, turn, loop.create_future())
        self._waiting.add(me)
        try:
            await asyncio.wait([me.listed], timeout=pause)
            while not me.listed.done():
                if self._round is None:
                    await self._hold(me)
                else:
                    either: list[asyncio.Future[Any]] = [me.listed, self._round]
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(me)
        return me.listed.result() or await self._look_alone(job_name)

    async def _hold(self, me: _Waiting) -> None:
        """Hold a round; it is over even when its holder is cancelled."""
        loop = asyncio.get_running_loop()
        held = self._round = loop.create_future()
        joined = [who for who in self._waiting if who is me or who.turn.joins(loop.time())]
        try:
            listed = await self._list(
                {who.job_name: who.created for who in joined if who.created is not None}
            )
            for who in joined:
                if not who.listed.done():
                    who.listed.set_result(listed.get(who.job_name))
        finally:
            self._round = None
            held.set_result(None)

    async def _list(self, wanted: Mapping[str, float]) -> dict[str, Job]:
        """Return what listing shows of the *wanted* jobs (name → created): all, some, or none of them."""
        seen: dict[str, Job] = {}
        now = asyncio.get_running_loop().time()
        if len(wanted) < looking.LISTED_FROM or now < self._no_listing_until:
            return seen
        # By id: Vertex AI may spell the project by its number.
        names = {_id(name): name for name in wanted}
        try:
            barren = 0
            async for page in self._pages(wanted.values()):
                shown = {names[_id(job.name)]: job for job in page if _id(job.name) in names}
                seen |= shown
                barren += not shown
                if not looking.listing_pays(barren=barren, unseen=len(names) - len(seen)):
                    break
        except ServiceError as error:
            _LOG.warning("%d jobs are looked at one by one: %s", len(names) - len(seen), error)
            self._no_listing_until = now + looking.no_listing_seconds(error.http_status)
        return seen

    def _pages(self, created: Iterable[float]) -> AsyncIterator[Sequence[Job]]:
        return self._vertex.apages(
            project_id=self._project_id,
            location=self._location,
            filter=looking.listing_filter(created),
            read_mask=_PROGRESS,
        )

    async def _look_alone(self, job_name: str) -> Job:
        """Look at one job, with a few others at a time; a storm of errors is not answered with a storm of looks."""
        loop = asyncio.get_running_loop()
        async with self._alone:
            if self._spared and loop.time() < self._spared[0]:
                last = self._spared[1]
                raise ServiceError(
                    f"Not looked at, others failed just now: {last}", http_status=last.http_status
                )
            try:
                job = await self._vertex.aget(job_name)
            except ServiceError as error:
                self._misses += 1
                if self._misses >= looking.MISSES_IN_A_ROW:
                    self._spared = (loop.time() + looking.SPARED_SECONDS, error)
                raise
        self._misses, self._spared = 0, None
        return job


def _id(job_name: str) -> str:
    return job_name.rpartition("/")[2]
