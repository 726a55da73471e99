"""Which stories are told: one for every step there is, or as chance has it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from deaths import How, Moment, Order
from stories import Scenario, Script, at, order

Paths = Mapping[str, Sequence[Moment]]
"""Task → the moments of its clean run, in order."""
Death = tuple[str, str, str]
"""Task, name of the moment, how."""
HOWS: Mapping[str, tuple[How, ...]] = {
    "prepare": ("SIGKILL", "SIGSTOP"),
    "submit": ("SIGKILL", "SIGSTOP", "SIGTERM"),  # the others do not listen to being told to stop
    "load": ("SIGKILL", "SIGSTOP"),
}
_SHARES = {"prepare": 2, "submit": 3, "load": 4}
_LOOKS = ("read ", "look at ", "list ", "get ", "query")


# ------------------------------------------------------------------------------------------------------- the worlds


def _without_fence() -> None:
    """Leave the inputs of earlier epochs where they are."""
    from airflow_batch_gemini.batch.steps import DeleteInputs, Step
    from airflow_batch_gemini.batch.submission import Rules, Sight
    from airflow_batch_gemini.operators import _submission

    module: Any = _submission
    real = module.next_step

    def next_step(sight: Sight, rules: Rules) -> Step:
        step = real(sight, rules)
        return DeleteInputs(()) if isinstance(step, DeleteInputs) else step

    module.next_step = next_step


def _published_badly() -> None:
    """Publish one row twice and another one not at all."""
    from airflow_batch_gemini.sql.plan import LoadPlan

    real = LoadPlan.publish

    def publish(self: LoadPlan, *row: Any) -> dict[str, Any]:
        configuration = real(self, *row)
        run, results = self.manifest.identity.run_id, self.results.sql
        configuration["query"]["query"] += f"""
            INSERT INTO {results} (batch_id, key, text, run_id)
              SELECT batch_id, key, text, run_id FROM {results} WHERE run_id = '{run}' AND key = 'row-0';
            DELETE FROM {results} WHERE run_id = '{run}' AND key = 'row-1';"""
        return configuration

    LoadPlan.publish = publish  # type: ignore[method-assign]


STORAGE = Scenario(name="Cloud Storage")
BIGQUERY = Scenario(name="BigQuery", medium="bigquery")
TROUBLED = (
    Scenario(name="answers lost after commit", knobs={"answer_lost_after_commit": 10**9}),
    Scenario(name="listing lag", knobs={"listing_lag_seconds": 0.25}, settle_seconds=0.4),
    Scenario(
        name="429 and 503 storms",
        knobs={"http_429_rate": 0.2, "http_503_rate": 0.2, "retry_after_seconds": 0},
    ),
    Scenario(name="jobs that take their time", knobs={"pace": "seconds:0.15"}),
    Scenario(name="BigQuery, answers lost", medium="bigquery", knobs={"answer_lost_after_commit": 10**9}),
)
PAIRS = (
    Scenario(name="Cloud Storage, attempts in pairs", pairs=True),
    Scenario(name="BigQuery, attempts in pairs", medium="bigquery", pairs=True),
)
UNFENCED = Scenario(name="sabotaged: nothing is fenced", sabotage=_without_fence)
BADLY_PUBLISHED = Scenario(name="sabotaged: badly published", sabotage=_published_badly)
SCENARIOS: Mapping[str, Scenario] = {s.name: s for s in (STORAGE, BIGQUERY, *TROUBLED, *PAIRS)}


# ------------------------------------------------------------------------------------------------------ the stories


def every_step(name: str, paths: Paths) -> list[Script]:
    """Return stories in which somebody dies at every step of every task, in each way.

    Several deaths to a task, each further on its way than the one before, so that every attempt finds little done of
    what it is to die at; and for submit one more, somewhere.
    """
    rng = random.Random(name)
    tasks = {task: list(_shared_out(task, path)) for task, path in paths.items()}
    scripts = []
    for number, chosen in enumerate(zip_longest(*tasks.values(), fillvalue=())):
        fates = {task: [*some] for task, some in zip(tasks, chosen, strict=True)}
        fates["submit"].append(at(rng.randint(1, len(paths["submit"])), "SIGKILL"))
        scripts.append(Script(name=f"{name}-{number}", fates=fates, late=bool(number % 2)))
    return scripts


def wanted(paths: Paths) -> dict[Death, Order]:
    """Return every death that :func:`every_step` must bring about."""
    return {
        (task, moment.name, how): order(moment, how)
        for task, path in paths.items()
        for how in HOWS[task]
        for moment in telling(path)
    }


def one_by_one(name: str, deaths: Mapping[Death, Order]) -> list[Script]:
    """Return a story for each of *deaths*."""
    return [
        Script(name=f"{name}-{number}", fates={task: [fate]})
        for number, ((task, _, _), fate) in enumerate(deaths.items())
    ]


def telling(path: Sequence[Moment]) -> list[Moment]:
    """Return the moments that differ: a look changes nothing, so after it is before what comes next."""
    return [moment for moment in path if moment.when == "before" or not moment.step.startswith(_LOOKS)]


def _shared_out(task: str, path: Sequence[Moment]) -> Iterator[tuple[Order, ...]]:
    moments, hows = telling(path), HOWS[task]
    some = _SHARES[task]
    share = -(-len(moments) // some)
    shares = [moments[start : start + share] for start in range(0, len(moments), share)]
    for turn in range(len(hows)):
        for chosen in zip_longest(*shares):
            yield tuple(
                order(moment, hows[(turn + n) % len(hows)]) for n, moment in enumerate(chosen) if moment
            )


LATE_POST = Script(name="late-post", fates={"submit": [Order(step="POST", when="before", how="SIGSTOP")]})
"""A zombie posts after its successor has: what the fence is for."""


def by_chance(seed: int, paths: Paths, *, pairs: bool = False) -> Script:
    """Return the story of *seed*.

    :param pairs: attempts of submit and load run two at a time; else that is left to chance.
    """
    rng = random.Random(seed)
    parts = 2 if rng.random() < 0.2 else 1
    deaths: dict[str, tuple[float, ...]] = {"prepare": (0.6, 0.4), "submit": (0.0, 0.3, 0.4, 0.3)}
    deaths |= {"submit 1": (0.5, 0.5), "load": (0.0, 0.2, 0.5, 0.3)}
    fates = {}
    for task, chances in deaths.items():
        path = paths[task.split()[0]]
        count = rng.choices(range(len(chances)), chances)[0]
        fates[task] = [at(rng.randint(1, len(path) + 4), _how(rng, task)) for _ in range(count)]
    races = frozenset(task for task in ("submit", "load") if rng.random() < 0.15 or pairs)
    return Script(
        name=f"seed-{seed}",
        fates=fates,
        races=races,
        rows=parts + 1,
        parts=parts,
        deferrable=rng.random() < 0.2,
        late=rng.random() < 0.5,
    )


def _how(rng: random.Random, task: str) -> How:
    hows = HOWS[task.split(maxsplit=1)[0]]
    return rng.choices(hows, (0.7, 0.2, 0.1)[: len(hows)])[0]
