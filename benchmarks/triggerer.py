"""One triggerer under many waiting jobs: does it look as often as it was told to, what does that cost, who hears when.

Airflow's own triggerer process (supervisor and runner) on deferred tasks in an SQLite metadata database, beside the
local cloud in a process of its own. Three kinds of waiting one after the other: our trigger with shared looks, the same
with plain gets, and the trigger of Airflow's Google provider. While it is measured a part of the jobs ends.

    python benchmarks/triggerer.py [--jobs 5000] [--interval 30] [--minutes 0.5] [--only KIND ...] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from waiting import Process, own_python, stop
from waiting.airflow import airflow_settings, resumed, run
from waiting.cloud import PATIENCE, Cloud, grpc_door, local_cloud
from waiting.figures import Found, delays, pace, table
from waiting.kinds import KINDS, Kind, Plan
from waiting.looks import LOOKS, job_id, looks
from waiting.meter import Meter

ENDING = 0.1
"""The share of the jobs that ends while it is measured. Airflow takes some milliseconds to submit each event."""
PROVIDER_JOBS = 300
"""It took up some ten waits a second where this was written: five thousand of them would need eight minutes."""
MEGA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Site:
    """What runs while kinds come and go: the local cloud, its process, the gRPC door; and Airflow's environment."""

    home: Path
    cloud: Cloud
    server: psutil.Process
    door: str
    env: Mapping[str, str]


def measure(kind: Kind, plan: Plan, jobs: dict[str, float], site: Site) -> Found:
    """Let one triggerer wait for all the jobs, and end a part of them meanwhile."""
    python, _ = own_python()
    book = site.home / f"{kind.name}.looks"
    env = site.env | kind.environment(door=site.door) | {LOOKS: str(book)}
    site.cloud.fill(jobs, plan.jobs)
    names = list(jobs)[: plan.jobs]
    waits = [kind.arguments(name, jobs[name], plan) for name in names]
    rows = json.dumps({"classpath": kind.classpath, "waits": waits})
    run([python, "-m", "waiting.rows"], env, site.home / "rows.log", given=rows)
    command = [python, "-m", "airflow", "triggerer", "--skip-serve-logs", "--capacity", str(plan.jobs)]
    triggerer = Process.start("triggerer", command, env=env, log=site.home / "triggerer.log")
    started = time.time()
    try:
        looking = settle(triggerer, book, plan)
        supervisor = psutil.Process(triggerer.pid)
        (runner,) = supervisor.children()
        settling = time.time() - started
        meter = Meter(site.cloud, runner=runner, supervisor=supervisor, server=site.server)
        leaving = end_some(site.cloud, names, plan)
        sleep_until(meter.at + plan.seconds)
        until, spent = time.time(), meter.read()
        memory = (runner.memory_info().rss / MEGA, supervisor.memory_info().rss / MEGA)
        tail(site.home, leaving, plan)
    finally:
        stop([triggerer])
    ids = [job_id(name) for name in names]
    seen, heard, wrong = delays(names, site.cloud.ended(), book, resumed(site.home))
    for name in leaving:
        site.cloud.call("DELETE", f"/v1/{name}")
        del jobs[name]
    return Found(
        jobs=plan.jobs,
        interval=plan.interval,
        seconds=until - meter.at,
        looking=looking,
        settling=settling,
        pace=pace(book, ids, since=meter.at, until=until, interval=plan.interval),
        spent=spent,
        memory=memory,
        seen=seen,
        heard=heard,
        wrong=wrong,
    )


def settle(triggerer: Process, book: Path, plan: Plan) -> int:
    """Wait until every job has been looked at; return how many have been when patience is over."""
    deadline = time.time() + PATIENCE + plan.interval
    looked: set[int] = set()
    while len(looked) < plan.jobs and time.time() < deadline:
        if triggerer.running is None:
            raise RuntimeError(f"The triggerer ended:\n{triggerer.last_words()}")
        time.sleep(0.5)  # the triggerer tells nobody: its looks are read from the file that it writes
        looked = {job for job, _, _ in looks(book)}
    if not looked:
        raise RuntimeError(f"No job was looked at:\n{triggerer.last_words()}")
    return len(looked)


def end_some(cloud: Cloud, names: Sequence[str], plan: Plan) -> list[str]:
    """End some jobs at random moments of the first half of the time that is measured."""
    chance = random.Random(plan.seed)
    leaving = chance.sample(list(names), max(1, int(plan.jobs * ENDING)))
    began = time.time()
    for name, after in zip(
        leaving, sorted(chance.uniform(0, plan.seconds / 2) for _ in leaving), strict=True
    ):
        sleep_until(began + after)
        cloud.call("POST", f"/v1/{name}:cancel", {})
    return leaving


def tail(home: Path, leaving: Sequence[str], plan: Plan) -> None:
    """Wait for the events of the jobs that ended last."""
    deadline = time.time() + 2 * plan.interval + 30
    while len(resumed(home)) < len(leaving) and time.time() < deadline:
        time.sleep(1)


def sleep_until(moment: float) -> None:
    """Sleep until *moment* if it is still to come."""
    time.sleep(max(0.0, moment - time.time()))


def chosen(arguments: Sequence[str]) -> tuple[Plan, list[str]]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", type=int, default=5_000, help="jobs that wait (default: %(default)s)")
    add("--interval", type=float, default=30, help="seconds between looks (default: %(default)s)")
    add("--minutes", type=float, default=0.5, help="how long each kind is measured (default: %(default)s)")
    add("--only", nargs="+", choices=KINDS, default=list(KINDS), help="kinds to measure (default: all)")
    add("--provider-jobs", type=int, help=f"jobs the provider's triggers wait for (default: {PROVIDER_JOBS})")
    add("--quick", action="store_true", help="200 jobs every 6 seconds, for 12 seconds")
    add("--seed", type=int, default=7, help="which jobs end, and when (default: %(default)s)")
    got = parser.parse_args(arguments)
    plan = Plan(
        jobs=200 if got.quick else got.jobs,
        interval=6 if got.quick else got.interval,
        seconds=12 if got.quick else got.minutes * 60,
        seed=got.seed,
        provider_jobs=got.provider_jobs or PROVIDER_JOBS,
    )
    return plan, got.only


def main(arguments: Sequence[str]) -> None:
    """Measure each kind and print the table."""
    plan, kinds = chosen(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started is stopped too
    began = time.time()
    print(
        f"{plan.jobs:,} waiting jobs, a look every {plan.interval:g} s each, one triggerer, measured for "
        f"{plan.seconds:g} s a kind while {ENDING:.0%} of the jobs end. {os.cpu_count()} cores ({platform.machine()}) "
        "for the triggerer, the local cloud and this script.",
        flush=True,
    )
    if "provider" in kinds:
        print(
            f"provider: {plan.of(KINDS['provider']).jobs:,} jobs of them (--provider-jobs) wait with "
            "CreateBatchPredictionJobTrigger of Airflow's Google provider. A subclass leads its gRPC channel to the "
            "local cloud, without TLS and tokens, which a real one pays for, and changes nothing else."
        )
    with tempfile.TemporaryDirectory(prefix="triggerer-bench-") as folder:
        found = measured(kinds, plan, Path(folder))
    print("\n".join(table(found)))
    print(f"in {time.time() - began:.0f} s")


def measured(kinds: Sequence[str], plan: Plan, home: Path) -> dict[str, Found]:
    """Measure one kind after the other with the same jobs; those that end are replaced."""
    python, own = own_python()
    env = own | airflow_settings(home)
    jobs: dict[str, float] = {}
    found: dict[str, Found] = {}
    with ThreadPoolExecutor(1) as pool, local_cloud(home) as (cloud, server, exported):
        migrated = pool.submit(run, [python, "-m", "airflow", "db", "migrate"], env, home / "migrate.log")
        with grpc_door(home, cloud) as door:
            cloud.fill(jobs, plan.jobs)
            migrated.result()
            site = Site(home=home, cloud=cloud, server=server, door=door, env=env | exported)
            for name in kinds:
                found[name] = measure(KINDS[name], plan.of(KINDS[name]), jobs, site)
                print(f"{name}: {found[name].verdict()}", flush=True)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
