"""One batch from its rows to its results, and whom death met on the way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import attempts
import deaths
from attempts import Attempt, Batch, Medium, Task, now
from cloud import Cloud
from deaths import Order

PATIENCE_SECONDS = 120.0
RETRIES = 12
"""Attempts in peace after the last that was to die; more than that is a story that never ends."""

Pause = Generator[float, None, None]
"""Yields when to go on at the latest; a child that changed makes it earlier."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A kind of world."""

    name: str
    medium: Medium = "gcs"
    knobs: Mapping[str, object] = field(default_factory=dict)
    settle_seconds: float = 0.1
    pairs: bool = False
    """Whether attempts of submit and load always run two at a time."""
    sabotage: Callable[[], None] | None = None
    """What is done to the package, to see that somebody notices."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is to happen to whom."""

    name: str
    fates: Mapping[str, Sequence[Order]] = field(default_factory=dict)
    """Task (``submit 1`` for the second part) → how its first attempts end, one after the other."""
    races: frozenset[str] = frozenset()
    """Tasks whose attempts run two at a time."""
    rows: int = 2
    parts: int = 1
    deferrable: bool = False
    late: bool = True
    """Zombies wake up once all is done; else right after their successors."""


@dataclass(kw_only=True)
class Story:
    """Lives through a script. :meth:`live` is a generator, so that several may be lived side by side."""

    scenario: Scenario
    script: Script
    cloud: Cloud
    lane: int
    batch: Batch = field(init=False)
    findings: list[str] = field(default_factory=list)
    """What must not be, beside duplicates and lost rows."""
    kills: int = 0
    """Processes that waitpid says died of SIGKILL."""
    zombies: int = 0
    parts: Sequence[Mapping[str, Any]] = ()
    _attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = self.cloud.folder / "stories" / self.script.name
        folder.mkdir(parents=True)
        self.batch = Batch(
            run=self.script.name,
            folder=folder,
            medium=self.scenario.medium,
            rows={f"row-{n}": f'n°{n} "é😀"' for n in range(self.script.rows)},
            rows_per_part=-(-self.script.rows // self.script.parts),
            results=f"demo.kills.results_{self.lane}",
            settle_seconds=self.scenario.settle_seconds,
            deferrable=self.script.deferrable,
            sabotage=self.scenario.sabotage,
        )

    @property
    def answers(self) -> dict[str, str]:
        """Key → text as the results must say it: the local cloud echoes the prompt."""
        return {key: f"Say {text}." for key, text in self.batch.rows.items()}

    @property
    def moments(self) -> list[deaths.Moment]:
        """Every moment that every attempt came by."""
        return deaths.journal(self.batch.folder)

    def live(self) -> Pause:
        """Prepare, submit and load, every task as often as it takes."""
        end = now() + PATIENCE_SECONDS
        try:
            for pause in self._live():
                if now() > end:
                    self._find(f"not done after {PATIENCE_SECONDS:.0f} s")
                    return
                yield pause
        except LostError as error:
            self._find(str(error))
        finally:
            for attempt in self._attempts:
                attempt.end()

    def _live(self) -> Pause:
        if self.batch.medium == "gcs":
            self.cloud.put_rows(self.batch.source, self.batch.rows)
        prepared = yield from self._task("prepare", "prepare", None)
        self.parts = prepared
        for index, part in enumerate(prepared):
            job = yield from self._task("submit", f"submit {index}" if index else "submit", part)
            yield from self._job_ends(job)
        self.cloud.drop_view(
            f"{self.batch.results}_latest"
        )  # an earlier story's: every load is to come by making it
        yield from self._task("load", "load", prepared)
        yield from self._wake(self._attempts)

    def _task(self, task: Task, name: str, given: Any) -> Generator[float, None, Any]:
        """Run attempt after attempt until one is done; return what it returned."""
        fates = list(self.script.fates.get(name, ()))
        mine: list[Attempt] = []
        for _ in range(len(fates) + RETRIES):
            side_by_side = 2 if task in self.script.races and not mine else 1
            fresh = [self._attempt(task, given, fates.pop(0) if fates else None) for _ in range(side_by_side)]
            mine += fresh
            yield from self._run(fresh)
            if fresh[-1].state == "done":
                self._forget_orders()
                if not self.script.late:
                    yield from self._wake(mine)
                return fresh[-1].result["value"]
        raise LostError(f"{name} was not done after {len(mine)} attempts")

    def _attempt(self, task: Task, given: Any, fate: Order | None) -> Attempt:
        attempt = Attempt(batch=self.batch, task=task, number=len(self._attempts) + 1, given=given, fate=fate)
        self._attempts.append(attempt)
        return attempt

    def _run(self, fresh: Sequence[Attempt]) -> Pause:
        """Run attempts side by side until each has ended or stands still."""
        for attempt in fresh:
            attempt.start()
        yield from self._tend(fresh)
        for attempt in fresh:
            self.kills += attempt.state == "killed"
            self.zombies += attempt.state == "stopped"
        last = fresh[-1]
        if last.state == "failed" and last.result["final"]:
            raise LostError(f"{last.task} failed for good: {last.result['error']}")

    def _tend(self, some: Sequence[Attempt]) -> Pause:
        while True:
            moment = now()
            for attempt in some:
                attempt.tend(moment)
            open_ones = [attempt for attempt in some if attempt.state in attempts.OPEN]
            if not open_ones:
                return
            yield min((a.due for a in open_ones if a.state == "deferred"), default=moment + PATIENCE_SECONDS)

    def _wake(self, some: Sequence[Attempt]) -> Pause:
        """Let zombies go on to their ends; nobody resumes one that defers."""
        zombies = [attempt for attempt in some if attempt.state == "stopped"]
        for zombie in zombies:
            zombie.wake()
            while True:
                zombie.tend(now())
                if zombie.state != "running":
                    break
                yield now() + PATIENCE_SECONDS

    def _forget_orders(self) -> None:
        """An order for a moment that nobody came by must not meet another task."""
        for path in self.batch.folder.glob("*.json"):
            path.rename(path.with_suffix(".open"))

    def _job_ends(self, job_name: str) -> Pause:
        while True:
            state = self.cloud.job_state(job_name)
            if state == "JOB_STATE_SUCCEEDED":
                return
            if state not in {"JOB_STATE_PENDING", "JOB_STATE_QUEUED", "JOB_STATE_RUNNING"}:
                raise LostError(f"submit returned {job_name}, which is {state}")
            yield now() + 0.03

    def _find(self, finding: str) -> None:
        self.findings.append(finding)


class LostError(Exception):
    """The story cannot come to its good end."""


def clean(name: str) -> Script:
    """Return a story in which nobody dies."""
    return Script(name=name)


def order(moment: deaths.Moment, how: deaths.How) -> Order:
    """Return the order to die at a moment that was seen."""
    return Order(step=moment.step, when=moment.when, nth=moment.nth, how=how)


def at(count: int, how: deaths.How) -> Order:
    """Return the order to die at the *count*-th moment, whatever it is."""
    return replace(Order(how=how), nth=0, count=count)
