"""Shared looks: many who wait, few calls, and nobody who depends on a stranger. Time is virtual."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from virtual_time import run

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.looking import (
    FAILED_SECONDS,
    LISTED_FROM,
    MISSES_IN_A_ROW,
    REFUSED_SECONDS,
    SPARED_SECONDS,
)
from airflow_batch_gemini.exceptions import JobLostError, ServiceError
from airflow_batch_gemini.hooks.looks import SharedLooks

PARENT = "projects/demo/locations/us-central1"
REFUSED = ServiceError("no", http_status=400)
STORM = ServiceError("busy", http_status=503)


def name(number: int, project: str = "demo") -> str:
    return f"projects/{project}/locations/us-central1/batchPredictionJobs/{number}"


@dataclass
class Vertex:
    """The hook: pages of a hundred, single looks, and what went wrong with either."""

    states: dict[int, str] = field(default_factory=dict)
    project: str = "demo"
    strangers: int = 0
    unlisted: frozenset[int] = frozenset()
    listing: ServiceError | None = None
    getting: Callable[[int], Exception | None] = lambda _number: None
    seconds: float = 0.0
    pages: int = 0
    gets: list[int] = field(default_factory=list)
    filters: set[str] = field(default_factory=set)

    def _job(self, number: int) -> Job:
        return Job(name=name(number, self.project), state=self.states.get(number, "JOB_STATE_RUNNING"))

    async def aget(self, job_name: str) -> Job:
        await asyncio.sleep(self.seconds)
        number = int(job_name.rpartition("/")[2])
        self.gets.append(number)
        if error := self.getting(number):
            raise error
        return self._job(number)

    async def apages(self, **request: Any) -> AsyncIterator[tuple[Job, ...]]:
        assert (request["project_id"], request["location"]) == ("demo", "us-central1")
        self.filters.add(request["filter"])
        if self.listing:
            self.pages += 1
            raise self.listing
        shown = [*range(10_000, 10_000 + self.strangers), *sorted(self.states.keys() - self.unlisted)]
        for start in range(0, len(shown), 100):
            await asyncio.sleep(self.seconds)
            self.pages += 1
            yield tuple(self._job(number) for number in shown[start : start + 100])


def looks(vertex: Vertex) -> SharedLooks:
    return SharedLooks(vertex, project_id="demo", location="us-central1")  # type: ignore[arg-type]  # its stand-in


def fleet(count: int) -> Vertex:
    return Vertex(states=dict.fromkeys(range(count), "JOB_STATE_RUNNING"))


def once(shared: SharedLooks, count: int, *, pause: float = 30.0) -> Coroutine[Any, Any, list[Any]]:
    """So many look at a job each, once."""
    return asyncio.gather(  # type: ignore[return-value]  # a future can be awaited as well
        *(shared.look(name(n), created=100.0, pause=pause) for n in range(count)), return_exceptions=True
    )


def test_a_thousand_jobs_cost_ten_calls_a_round_and_everyone_sees_their_own() -> None:
    """Instead of a thousand."""
    vertex = fleet(1000)

    async def story() -> list[Any]:
        return await once(looks(vertex), 1000)

    assert [job.name for job in run(story())] == [name(n) for n in range(1000)]
    assert (vertex.pages, vertex.gets) == (10, [])
    assert vertex.filters == {'labels.gemini_batch:* AND createTime>="1970-01-01T00:01:40Z"'}


def test_those_who_begin_at_any_time_come_to_keep_step() -> None:
    """Over twenty minutes at one interval, give or take a tenth: no look is late, and one listing serves all."""
    vertex = fleet(500)
    vertex.seconds = 0.2
    late: list[float] = []
    dice = random.Random(0)

    async def waits(shared: SharedLooks, number: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(number * 0.06)
        while loop.time() < 1230:
            begun, pause = loop.time(), dice.uniform(27.0, 33.0)
            await shared.look(name(number), created=100.0, pause=pause)
            late.append(loop.time() - begun - pause)

    async def story() -> None:
        shared = looks(vertex)
        await asyncio.gather(*(waits(shared, n) for n in range(500)))

    run(story())
    assert max(late) <= vertex.seconds * 5 + 1e-6
    assert len(late) >= 500 * 40
    assert vertex.pages <= 5 * 50
    assert vertex.gets == []


def test_few_are_looked_at_one_by_one() -> None:
    """A listing would cost as much."""
    vertex = fleet(LISTED_FROM - 1)

    async def story() -> None:
        await once(looks(vertex), LISTED_FROM - 1)

    run(story())
    assert (vertex.pages, sorted(vertex.gets)) == (0, list(range(LISTED_FROM - 1)))


def test_a_listing_that_spells_the_project_by_its_number_is_understood() -> None:
    """Vertex AI may answer with either."""
    vertex = fleet(50)
    vertex.project = "123456"

    async def story() -> None:
        await once(looks(vertex), 50)

    run(story())
    assert (vertex.pages, vertex.gets) == (1, [])


def test_what_a_listing_does_not_show_is_looked_at_alone() -> None:
    """A lagging listing, or a job without our label."""
    vertex = fleet(60)
    vertex.unlisted = frozenset({7, 8})

    async def story() -> list[Any]:
        return await once(looks(vertex), 60)

    assert [job.name for job in run(story())] == [name(n) for n in range(60)]
    assert (vertex.pages, sorted(vertex.gets)) == (1, [7, 8])


def test_a_job_of_unknown_age_is_looked_at_alone() -> None:
    """A listing from some time on might miss it."""
    vertex = fleet(10)

    async def story() -> None:
        shared = looks(vertex)
        await asyncio.gather(
            shared.look(name(0), created=None, pause=1.0),
            *(shared.look(name(n), created=5.0, pause=1.0) for n in range(1, 10)),
        )

    run(story())
    assert (vertex.pages, vertex.gets) == (1, [0])


def test_a_listing_full_of_strangers_is_given_up_when_it_stops_to_pay() -> None:
    """Never more calls than twice the single looks."""
    vertex = fleet(20)
    vertex.strangers = 100_000

    async def story() -> list[Any]:
        return await once(looks(vertex), 20)

    assert len(run(story())) == 20
    assert (vertex.pages, len(vertex.gets)) == (20, 20)


def test_a_refused_listing_is_not_asked_for_again_for_a_while() -> None:
    """No right to list, or a filter that is not understood: single looks do it."""
    vertex = fleet(10)
    vertex.listing = REFUSED

    async def story() -> list[int]:
        shared = looks(vertex)
        rounds = []
        for _ in range(3):
            await once(shared, 10)
            rounds.append(vertex.pages)
        await asyncio.sleep(REFUSED_SECONDS)
        vertex.listing = None
        await once(shared, 10)
        return [*rounds, vertex.pages]

    assert run(story()) == [1, 1, 1, 2]
    assert len(vertex.gets) == 30


def test_a_storm_is_not_answered_with_a_storm() -> None:
    """Everyone is told of a miss, and few calls were made."""
    vertex = fleet(1000)
    vertex.listing, vertex.getting = STORM, lambda _number: ServiceError("busy", http_status=503)

    async def story() -> list[Any]:
        return await once(looks(vertex), 1000)

    answers = run(story())
    assert {(type(answer), answer.http_status) for answer in answers} == {(ServiceError, 503)}
    assert vertex.pages == 1
    assert MISSES_IN_A_ROW <= len(vertex.gets) <= MISSES_IN_A_ROW + 20


def test_a_storm_that_is_over_is_forgotten() -> None:
    """After some seconds looks go on, and one success counts all misses as past."""
    vertex = fleet(1)
    storm: list[Exception] = [STORM] * MISSES_IN_A_ROW
    vertex.getting = lambda _number: storm.pop() if storm else None

    async def story() -> list[str]:
        shared = looks(vertex)
        pauses = [*[0.0] * MISSES_IN_A_ROW, 0.0, SPARED_SECONDS / 2, SPARED_SECONDS, 0.0]
        return [type((await once(shared, 1, pause=pause))[0]).__name__ for pause in pauses]

    assert run(story()) == ["ServiceError"] * (MISSES_IN_A_ROW + 2) + ["Job"] * 2
    assert len(vertex.gets) == MISSES_IN_A_ROW + 2


def test_a_listing_that_fails_for_once_is_made_up_for_by_single_looks() -> None:
    """And tried again after a minute."""
    vertex = fleet(30)
    vertex.listing = STORM

    async def story() -> list[Any]:
        shared = looks(vertex)
        first = await once(shared, 30)
        vertex.listing = None
        await asyncio.sleep(FAILED_SECONDS)
        await once(shared, 30)
        return first

    assert {type(answer) for answer in run(story())} == {Job}
    assert (vertex.pages, len(vertex.gets)) == (2, 30)


def test_an_error_is_told_to_those_who_asked_for_that_job() -> None:
    """One lost job, one that could not be seen; the rest sees theirs."""
    errors: dict[int, Exception] = {0: JobLostError("gone"), 1: STORM}
    vertex = Vertex(getting=errors.get)

    async def story() -> list[Any]:
        return await once(looks(vertex), 3)

    lost, missed, seen = run(story())
    assert (str(lost), type(missed), seen.name) == ("gone", ServiceError, name(2))


def test_two_who_wait_for_the_same_job_both_see_it() -> None:
    """Two tasks that wait for one job, listed or not."""
    for others in (0, 20):
        vertex = fleet(1 + others)

        async def story(vertex: Vertex = vertex, others: int = others) -> list[Job]:
            shared = looks(vertex)
            jobs = [0, 0, *range(1, 1 + others)]
            return await asyncio.gather(*(shared.look(name(n), created=5.0, pause=10.0) for n in jobs))

        assert [job.name for job in run(story())[:2]] == [name(0), name(0)]


@pytest.mark.parametrize("killed", [0, 1])
def test_whoever_is_killed_takes_no_look_from_the_others(killed: int) -> None:
    """Not even the one that holds the round."""
    vertex = fleet(20)
    vertex.seconds = 2.0

    async def story() -> list[Any]:
        shared = looks(vertex)
        waits = [asyncio.create_task(shared.look(name(n), created=5.0, pause=10.0 + n)) for n in range(20)]
        await asyncio.sleep(11.0)
        waits[killed].cancel()
        return await asyncio.gather(*waits, return_exceptions=True)

    answers = run(story())
    assert isinstance(answers.pop(killed), asyncio.CancelledError)
    assert {type(answer) for answer in answers} == {Job}


def test_a_look_that_hangs_holds_up_nobody_who_was_listed() -> None:
    """One job is on no listing and its looks take a minute: the others go on every ten seconds."""
    vertex = fleet(50)
    vertex.unlisted = frozenset({0})
    times: dict[int, float] = {}

    async def hang(_job_name: str) -> Job:
        await asyncio.sleep(60.0)
        return Job(name=name(0), state="JOB_STATE_RUNNING")

    vertex.aget = hang  # type: ignore[method-assign]  # a look that hangs

    async def waits(shared: SharedLooks, number: int) -> None:
        for _ in range(4):
            await shared.look(name(number), created=5.0, pause=10.0)
        times[number] = asyncio.get_running_loop().time()

    async def story() -> None:
        shared = looks(vertex)
        await asyncio.gather(*(waits(shared, n) for n in range(50)))

    run(story())
    assert times.pop(0) >= 280.0
    assert set(times.values()) == {40.0}


def test_a_short_interval_does_not_drag_the_long_ones_along() -> None:
    """One at five seconds among twenty at a minute: these are looked at three times a minute at most."""
    vertex = fleet(21)
    seen: dict[int, int] = dict.fromkeys(range(21), 0)

    async def waits(shared: SharedLooks, number: int, pause: float) -> None:
        while asyncio.get_running_loop().time() < 600:
            await shared.look(name(number), created=5.0, pause=pause)
            seen[number] += 1

    async def story() -> None:
        shared = looks(vertex)
        await asyncio.gather(waits(shared, 0, 5.0), *(waits(shared, n, 60.0) for n in range(1, 21)))

    run(story())
    assert seen[0] >= 119
    assert max(list(seen.values())[1:]) <= 30
