"""What comes of a measurement: shares, delays, and the table."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from waiting.looks import ENDED, MISSED, job_id, looks


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often jobs were looked at: a share of the ideal, the longest time without, and numbers of looks."""

    share: float
    longest: float
    looks: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class Spent:
    """By the second: CPU seconds, those of everything else, those in which the runner had no core, and calls."""

    runner: float
    supervisor: float
    cloud: float
    machine: float
    starved: float
    lists: float
    gets: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one kind of waiting came to."""

    jobs: int
    interval: float
    seconds: float
    looking: int
    """Jobs that had been looked at when measuring began, and the seconds that it took."""
    settling: float
    pace: Pace
    spent: Spent
    memory: tuple[float, float]
    seen: Sequence[float]
    """Seconds from the end of each job to the look that saw it, in order."""
    heard: Sequence[float]
    """And to the event that set its task going again."""
    wrong: int
    """Events that told something else than the success of an ended job."""

    def per_round(self, calls_per_second: float) -> float:
        """Return how many of those calls go with one look at every job."""
        return calls_per_second * self.seconds * self.jobs / max(1, self.pace.looks)

    def verdict(self) -> str:
        """Return how it does by the targets."""
        late, limit = percentile(self.heard, 0.99), self.interval + 5
        targets = {
            f"looks {self.pace.share:.1%} >= 99 %": self.pace.share >= 0.99,
            f"CPU {self.spent.runner:.1%} < 25 %": self.spent.runner < 0.25,
            f"p99 {late:.1f} s <= {limit:g} s": late <= limit,
        }
        return ", ".join(f"{text} {'met' if met else 'MISSED'}" for text, met in targets.items())


def pace(book: Path, jobs: Iterable[int], *, since: float, until: float, interval: float) -> Pace:
    """Return how often the *jobs* were looked at between two moments.

    The ideal is one look an interval, counted from each job's own look to its next. A job that is still without a look
    at the end counts with the time that it is late by.
    """
    times: dict[int, list[float]] = {job: [] for job in jobs}
    gone, all_looks, missed = set(), 0, 0
    for job, at, outcome in looks(book):
        if job in times and at <= until:
            all_looks += at > since
            missed += outcome == MISSED and at > since
            if outcome != MISSED:
                times[job].append(at)
            if outcome == ENDED:
                gone.add(job)
    had, passed, longest = 0, 0.0, 0.0
    for job, looked in times.items():
        first = max(0, bisect_right(looked, since) - 1)
        gaps = [later - earlier for earlier, later in zip(looked[first:], looked[first + 1 :], strict=False)]
        open_for = 0.0 if job in gone else until - (looked[-1] if looked else since)
        had += len(gaps)
        passed += sum(gaps) + max(0.0, open_for - 1.1 * interval)
        longest = max([longest, open_for, *gaps])
    share = had * interval / passed if passed else 0.0
    return Pace(share=share, longest=longest, looks=all_looks, missed=missed)


def delays(
    names: Sequence[str],
    ends: Mapping[str, float],
    book: Path,
    events: Mapping[int, tuple[float, bool]],
) -> tuple[list[float], list[float], int]:
    """Return the seconds from each end to the look that saw it and to the resumed task, and how many events were wrong.

    An end that nobody heard of counts as infinitely late.
    """
    seen_at: dict[int, float] = defaultdict(lambda: float("inf"))
    for job, at, outcome in looks(book):
        if outcome == ENDED:
            seen_at[job] = min(at, seen_at[job])
    seen, heard = [], []
    for index, name in enumerate(names):
        if name in ends:
            seen.append(seen_at[job_id(name)] - ends[name])
            heard.append(events[index][0] - ends[name] if index in events else float("inf"))
    wrong = sum(not success or names[index] not in ends for index, (_, success) in events.items())
    return sorted(seen), sorted(heard), wrong


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that *share* of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


ROWS: Mapping[str, Callable[[Found], str]] = {
    "waiting jobs": lambda one: f"{one.jobs:,}",
    "  looked at before measuring began": lambda one: f"{one.looking:,}",
    "  seconds from the start until then": lambda one: f"{one.settling:.0f} s",
    "looks, of the ideal": lambda one: f"{one.pace.share:.1%}",
    "  longest time without a look": lambda one: f"{one.pace.longest:.1f} s",
    "  looks that failed": lambda one: f"{one.pace.missed:,}",
    "CPU of the runner, of one core": lambda one: f"{one.spent.runner:.1%}",
    "  time it waited for a core": lambda one: f"{one.spent.starved:.1%}",
    "CPU of its supervisor, of one core": lambda one: f"{one.spent.supervisor:.1%}",
    "CPU of the local cloud, of one core": lambda one: f"{one.spent.cloud:.1%}",
    "CPU of everything else, of one core": lambda one: f"{one.spent.machine:.1%}",
    "job end to the look that sees it, p50": lambda one: f"{percentile(one.seen, 0.5):.1f} s",
    "job end to the look that sees it, p99": lambda one: f"{percentile(one.seen, 0.99):.1f} s",
    "job end to the event submitted, p50": lambda one: f"{percentile(one.heard, 0.5):.1f} s",
    "job end to the event submitted, p99": lambda one: f"{percentile(one.heard, 0.99):.1f} s",
    "ended jobs that were heard of": lambda one: f"{sum(map(isfinite, one.heard)):,} of {len(one.heard):,}",
    "events that told nothing true": lambda one: f"{one.wrong:,}",
    "memory of the runner": lambda one: f"{one.memory[0]:,.0f} MB",
    "memory of its supervisor": lambda one: f"{one.memory[1]:,.0f} MB",
    "calls to Vertex AI a round: lists": lambda one: f"{one.per_round(one.spent.lists):,.1f}",
    "calls to Vertex AI a round: gets": lambda one: f"{one.per_round(one.spent.gets):,.1f}",
}


def table(found: Mapping[str, Found]) -> Iterator[str]:
    """Yield the lines of the table, a column a kind."""
    yield f"{'':40}" + "".join(f"{name:>16}" for name in found)
    for label, cell in ROWS.items():
        yield f"{label:40}" + "".join(f"{cell(one):>16}" for one in found.values())
