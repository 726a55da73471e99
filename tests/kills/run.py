"""Tell stories: several side by side, judged in groups."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attempts import now
from cloud import Cloud
from deaths import Moment, Order
from judge import Verdict, judge
from plans import BIGQUERY, STORAGE, Death, Paths, by_chance, every_step, one_by_one, wanted
from stories import Pause, Scenario, Script, Story, clean

LANES = 3


def tell(cloud: Cloud, scenario: Scenario, scripts: Sequence[Script], *, lanes: int = LANES) -> list[Story]:
    """Live through the stories and return them, unjudged."""
    cloud.turn(scenario.knobs)
    waiting, told = list(reversed(scripts)), []
    lanes_open: dict[int, tuple[Pause, float]] = {}
    with _child_signals():
        while waiting or lanes_open:
            for lane in set(range(lanes)) - lanes_open.keys():
                if waiting:
                    story = Story(scenario=scenario, script=waiting.pop(), cloud=cloud, lane=lane)
                    told.append(story)
                    lanes_open[lane] = story.live(), 0.0
            if _step(lanes_open):
                left = min(due for _, due in lanes_open.values()) - now()
                signal.sigtimedwait({signal.SIGCHLD}, max(0.0, left))
    cloud.turn({})
    return told


def _step(lanes: dict[int, tuple[Pause, float]]) -> bool:
    """Go on with every story; say whether all of them now wait for something."""
    before = len(lanes)
    for lane, (pause, _) in list(lanes.items()):
        due = next(pause, None)
        if due is None:
            del lanes[lane]
        else:
            lanes[lane] = pause, due
    return len(lanes) == before


@contextmanager
def _child_signals() -> Iterator[None]:
    """Keep SIGCHLD for whoever asks for it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tell_and_judge(cloud: Cloud, scenario: Scenario, scripts: Sequence[Script]) -> list[Verdict]:
    """Live through the stories and judge them."""
    return judge(cloud, tell(cloud, scenario, scripts))


def recorded(cloud: Cloud, scenario: Scenario) -> Paths:
    """Return the moments of each task in a story without any fault."""
    name = f"clean-{scenario.medium}-{time.time_ns()}"
    story = tell(cloud, scenario, [clean(name)])[0]
    [verdict] = judge(cloud, [story])
    if not verdict.good:
        raise RuntimeError(f"Not even a clean run ends well: {verdict}")
    paths: dict[str, list[Moment]] = defaultdict(list)
    for moment in story.moments:
        path = paths[moment.task]
        if moment.step not in {seen.step for seen in path[-2:] if seen.nth < moment.nth}:  # it only waits
            path.append(moment)
    return paths


def missing(verdicts: Iterable[Verdict], asked: Mapping[Death, Order]) -> dict[Death, Order]:
    """Return the deaths that were asked for and that nobody died."""
    died = {death for verdict in verdicts for death in verdict.deaths}
    return {death: fate for death, fate in asked.items() if death not in died}


# ------------------------------------------------------------------------------------------------------- what CI runs


def each_step(cloud: Cloud, scenario: Scenario, paths: Paths) -> tuple[list[Verdict], list[Death]]:
    """Let somebody die at every step; return the verdicts, and the deaths that could not be brought about."""
    verdicts = tell_and_judge(cloud, scenario, every_step(f"step-{scenario.medium}", paths))
    asked = wanted(paths)
    if left := missing(verdicts, asked):  # somebody before them had done what they were to die at
        verdicts += tell_and_judge(cloud, scenario, one_by_one(f"alone-{scenario.medium}", left))
    return verdicts, [*missing(verdicts, asked)]


def seeds(cloud: Cloud, scenario: Scenario, paths: Paths, numbers: Iterable[int]) -> list[Verdict]:
    """Tell the stories of some seeds."""
    return tell_and_judge(cloud, scenario, [by_chance(n, paths, pairs=scenario.pairs) for n in numbers])


def again(cloud: Cloud, scenario: Scenario, seed: int) -> Story:
    """Tell the story of one seed, unjudged."""
    [story] = tell(
        cloud, scenario, [by_chance(seed, recorded(cloud, _plain(scenario)), pairs=scenario.pairs)]
    )
    return story


def _plain(scenario: Scenario) -> Scenario:
    return next(world for world in (STORAGE, BIGQUERY) if world.medium == scenario.medium)
