"""Kill processes for as long as it takes: random stories against the local cloud, then schedules in memory.

Beside it, for the whole time, hunts for an input that the linter, a reader or a renderer cannot take.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/kills"), str(ROOT / "tests/unit")]

import warm  # isort: skip  # noqa: E402  # found by the line above; before anything of Airflow

import judge  # noqa: E402  # after warm, as all of these
from cloud import Cloud  # noqa: E402  # after warm
from plans import BIGQUERY, PAIRS, SCENARIOS, STORAGE, TROUBLED  # noqa: E402  # after warm
from run import again, each_step, recorded, seeds  # noqa: E402  # after warm
from submission_world import Summary, run_seeds  # noqa: E402  # after warm

KILLS = 2_000
SCHEDULES = 1_000_000
MINUTES = 60.0
KILLING = 0.7
"""The share of the time that killing may take."""
SHARE = 10
"""Stories in a row in the same world."""
CHUNK = 5_000
"""Schedules in a row in one worker process."""


def main() -> int:
    """Return 0 when no row was paid for twice or lost and nothing else went wrong."""
    options = _options()
    warm.up()
    try:
        if options.world:
            return _replay(options.world, options.seed)
        now, seconds = time.monotonic(), 60 * options.minutes
        with _hunting(options.minutes, options.seed) as hunts:
            good = _kills(options.kills, options.seed, now + seconds * KILLING)
            good = _schedules(options.schedules, now + seconds) and good
            return 0 if hunts.wait() == 0 and good else 1
    finally:
        warm.down()


def _kills(wanted: int, first: int, ends: float) -> bool:
    """Tell stories until *wanted* processes have died; say whether every one ended well."""
    verdicts: list[judge.Verdict] = []
    numbers = count(first)
    for turn in count():
        # A new local cloud every now and then: an old one has many jobs to look through.
        with Cloud(warm.HOME / f"cloud-{turn}") as cloud:
            paths = {world.medium: recorded(cloud, world) for world in (STORAGE, BIGQUERY)}
            if not turn:
                for world in (STORAGE, BIGQUERY):
                    verdicts += _said(each_step(cloud, world, paths[world.medium])[0], verdicts)
            for world in (STORAGE, BIGQUERY, *TROUBLED, *PAIRS):
                if sum(verdict.kills for verdict in verdicts) >= wanted or time.monotonic() > ends:
                    break
                chosen = [next(numbers) for _ in range(SHARE)]
                verdicts += _said(seeds(cloud, world, paths[world.medium], chosen), verdicts)
            else:
                continue
            break
    kills = sum(verdict.kills for verdict in verdicts)
    _say(f"\n{judge.table(verdicts)}\n\n{kills:,} processes were killed.")
    if kills < wanted:
        _say(f"The time was over before {wanted:,} were.")
    return all(verdict.good for verdict in verdicts)


def _said(fresh: Sequence[judge.Verdict], before: Sequence[judge.Verdict]) -> Sequence[judge.Verdict]:
    """Say how far we are, and how to see again what went wrong."""
    kills = sum(verdict.kills for verdict in [*before, *fresh])
    bad = [verdict for verdict in fresh if not verdict.good]
    _say(f"{fresh[0].world}: {len(fresh)} stories, {len(bad)} went wrong; {kills:,} kills so far")
    for verdict in bad:
        seed = verdict.story.rpartition("-")[2]
        again = f'python scripts/torture.py --world "{verdict.world}" --seed {seed}'
        _say(judge.named([verdict]) + (f"\n  again: {again}" if verdict.story.startswith("seed-") else ""))
    return fresh


def _replay(world: str, seed: int) -> int:
    """Tell one story again, with everything that was logged."""
    scenario = SCENARIOS[world]
    with Cloud(warm.HOME / "cloud") as cloud:
        told = again(cloud, scenario, seed)
        [verdict] = judge.judge(cloud, [told])
        _say((told.batch.folder / "log.txt").read_text())
        for moment in told.moments:
            _say(
                f"{moment.time:.3f} attempt {moment.attempt} {moment.task}: {moment.name} {moment.did or ''}"
            )
    _say(f"{told.script}\n{verdict}")
    return 0 if verdict.good else 1


def _schedules(wanted: int, ends: float) -> bool:
    """Run the submission protocol in memory, in as many processes as there are cores; say whether all was well."""
    started, summary = time.monotonic(), Summary()
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
    try:
        running = [pool.submit(run_seeds, first, CHUNK) for first in range(0, wanted, CHUNK)]
        for ended in as_completed(running, timeout=max(1.0, ends - time.monotonic())):
            summary += ended.result()
    except TimeoutError:
        _say("The time was over before all schedules were run.")
    finally:
        pool.shutdown(cancel_futures=True)
    _say(f"\n{summary}\nin {time.monotonic() - started:.0f} s.")
    for seed in summary.failing:
        _say(f"again: python tests/unit/submission_world.py {seed}")
    return not summary.failing


@contextmanager
def _hunting(minutes: float, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """Hunt in a process that gives way to the others."""
    hunt = [sys.executable, str(ROOT / "tests/fuzz/hunt.py"), "all", "--minutes", str(minutes)]
    with subprocess.Popen([*hunt, "--seed", str(seed)]) as hunts:  # noqa: S603  # our own script
        try:
            yield hunts
        except BaseException:
            hunts.terminate()
            raise


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # it speaks to a person


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=MINUTES, help="stop after so many (default: %(default)g)")
    add("--kills", type=int, default=KILLS, help="how many processes are to die (default: %(default)s)")
    add("--schedules", type=int, default=SCHEDULES, help="how many to run in memory (default: %(default)s)")
    add("--seed", type=int, default=1, help="of the first story (default: %(default)s)")
    add("--world", choices=sorted(SCENARIOS), help="tell only the story of --seed again, in this world")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
