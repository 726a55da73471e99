"""One triggerer under many waiting jobs: does it look as often as it was told to, what does that cost, who hears when.

Airflow's own triggerer process (supervisor and runner) on deferred tasks in an SQLite metadata database, beside the
local cloud in a process of its own. Three kinds of waiting one after the other: our trigger with shared looks, the same
with plain gets, and the trigger of Airflow's Google provider. While it is measured a part of the jobs ends.

    python benchmarks/triggerer.py [--jobs 5000] [--interval 30] [--minutes 1] [--only KIND ...] [--quick]
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import platform
import random
import secrets
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import triggerer_probes as probes

from airflow_batch_gemini.batch.job_body import job_body, job_labels

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "scripts"))

from processes import Process, free_port, own_python, stop, wait_for  # noqa: E402  # beside this folder

PROJECT, LOCATION, BUCKET = "demo", "us-central1", "bench"
JOBS = f"/v1/projects/{PROJECT}/locations/{LOCATION}/batchPredictionJobs"
ENDING = 0.2
"""The share of the jobs that ends while it is measured."""
PATIENCE = 180.0
"""Seconds after which what was waited for is taken as it is."""
IDLE = 2.0
"""Seconds after which a connection is opened anew: the server closes idle ones."""
MEGA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked for; *seconds* is how long each kind is measured."""

    jobs: int
    interval: float
    seconds: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to wait."""

    classpath: str
    shared: bool = False
    door: bool = False

    def arguments(self, job_name: str, created: float, plan: Plan) -> dict[str, Any]:
        """Return the trigger's arguments."""
        if self.door:
            job_id = job_name.rpartition("/")[2]
            place = {"project_id": PROJECT, "location": LOCATION, "conn_id": "google_cloud_default"}
            return {"job_id": job_id, "poll_interval": plan.interval, "impersonation_chain": None, **place}
        return {
            "job_name": job_name,
            "deadline": created + 86_400,
            "created": created,
            "poll_interval": plan.interval,
            "gcp_conn_id": "google_cloud_default",
            "impersonation_chain": None,
        }


KINDS: Mapping[str, Kind] = {
    "shared looks": Kind(classpath="triggerer_probes.Ours", shared=True),
    "plain gets": Kind(classpath="triggerer_probes.Ours"),
    "provider": Kind(classpath="triggerer_probes.Provider", door=True),
}


# --------------------------------------------------------------------------------------------------- the local cloud


class Cloud:
    """Calls to the local cloud, one at a time over one connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._last = time.monotonic()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send JSON, return JSON."""
        data = None if body is None else json.dumps(body)
        if time.monotonic() - self._last > IDLE:
            self._connection.close()
        self._last = time.monotonic()
        self._connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def fill(self, jobs: dict[str, float], plan: Plan) -> None:
        """Create jobs of one row each until there are as many as planned; note when each was created."""
        while len(jobs) < plan.jobs:
            batch_id = secrets.token_hex(16)
            labels = job_labels(
                batch_id=batch_id,
                part=0,
                epoch=1,
                nonce=secrets.token_hex(8),
                fingerprint=secrets.token_hex(16),
            )
            body = job_body(
                display_name=f"bench-{len(jobs)}",
                model="gemini-3.5-flash",
                source_uri=f"gs://{BUCKET}/in.jsonl",
                destination_uri=f"gs://{BUCKET}/out/{batch_id}",
                labels=labels,
            )
            job = self.call("POST", JOBS, body)
            jobs[job["name"]] = epoch(job["createTime"])

    def ended(self) -> dict[str, float]:
        """Return job → epoch seconds of its end, of all that have ended."""
        found, token = {}, ""
        while True:
            page = self.call("GET", f"{JOBS}?pageSize=1000&pageToken={token}")
            for job in page["batchPredictionJobs"]:
                if "endTime" in job:
                    found[job["name"]] = epoch(job["endTime"])
            if not (token := page.get("nextPageToken", "")):
                return found

    def calls(self) -> tuple[int, int]:
        """Return how many listings and gets there have been."""
        calls = self.call("GET", "/admin/stats")["calls"]
        path = "/v1/projects/{project}/locations/{location}/batchPredictionJobs"
        return calls.get(f"GET {path}", 0), calls.get(f"GET {path}/{{job}}", 0)


def epoch(stamp: str) -> float:
    """Return epoch seconds."""
    return datetime.fromisoformat(stamp).timestamp()


@contextmanager
def local_cloud(home: Path) -> Iterator[tuple[Cloud, psutil.Process, dict[str, str]]]:
    """Run a local cloud whose jobs never end by themselves; one that is cancelled succeeds, at once."""
    python, env = own_python()
    port, exports = free_port(), home / "cloud.env"
    options = [
        *("--port", str(port), "--data-dir", str(home / "cloud"), "--env", str(exports), "--bucket", BUCKET),
        *("--project", PROJECT, "--location", LOCATION, "--pace", "seconds:0", "--answers", "echo"),
        *("--knob", "stuck_pending=true", "--knob", "cancel_outcome=SUCCEEDED"),
    ]
    process = Process.start(
        "local cloud",
        [python, "-m", "airflow_batch_gemini.local", *options],
        env=env | paths(),
        log=home / "cloud.log",
    )
    try:
        wait_for(exports.exists, timeout=PATIENCE, alive=[process])
        cloud = Cloud(port)
        wait_for(lambda: answers(cloud), timeout=PATIENCE, alive=[process])
        row = {"key": "k_0", "request": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}}
        cloud.call("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=in.jsonl", row)
        exported = dict(part.split("=", 1) for part in shlex.split(exports.read_text(), comments=True))
        yield cloud, psutil.Process(process.pid), exported
    finally:
        stop([process])


def answers(cloud: Cloud) -> bool:
    """Say whether the local cloud is up."""
    try:
        return bool(cloud.call("GET", "/admin/knobs"))
    except OSError:
        return False


@contextmanager
def grpc_door(home: Path, cloud: Cloud) -> Iterator[str]:
    """Run the gRPC door in front of the local cloud; yield its address."""
    command = [sys.executable, str(HERE / "triggerer_door.py"), f"http://127.0.0.1:{cloud.port}"]
    with (
        (home / "door.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as door,
    ):
        try:
            if door.stdout is None or not (port := door.stdout.readline().strip()):
                raise RuntimeError(f"The gRPC door did not open: {(home / 'door.log').read_text()[-2000:]}")
            yield f"127.0.0.1:{port}"
        finally:
            door.terminate()


# -------------------------------------------------------------------------------------------------------- Airflow


def paths() -> dict[str, str]:
    """Return where Python finds the package and the probes."""
    return {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}


def airflow_settings(home: Path) -> dict[str, str]:
    """Return Airflow's settings: everything below *home*, and triggers taken up as fast as they come."""
    return {
        **paths(),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "1000",
    }


def run(command: Sequence[str], env: Mapping[str, str], log: Path, *, given: str = "") -> None:
    """Run a command to its end."""
    with log.open("ab") as output:
        done = subprocess.run(
            command, input=given.encode(), env=env, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{log.read_text()[-3000:]}")


def resumed(home: Path) -> dict[int, tuple[float, bool]]:
    """Return index → when the event had set its task going again, and whether it told of a success."""
    with sqlite3.connect(f"file:{home}/airflow/airflow.db?mode=ro", uri=True, timeout=30) as database:
        rows = database.execute(
            "SELECT map_index, scheduled_dttm, next_kwargs FROM task_instance WHERE state != 'deferred'"
        ).fetchall()
    return {
        index: (
            datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp(),
            '"status": "success"' in kwargs,
        )
        for index, when, kwargs in rows
    }


# ------------------------------------------------------------------------------------------------------ one kind


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one kind of waiting came to."""

    jobs: int
    looking: int
    """Jobs that had been looked at when measuring began."""
    share: float
    longest: float
    missed: int
    runner: float
    supervisor: float
    cloud: float
    seen: Sequence[float]
    heard: Sequence[float]
    ended: int
    wrong: int
    memory: tuple[float, float]
    lists: float
    gets: float


class Meter:
    """CPU of the processes, and calls, between two moments."""

    def __init__(self, cloud: Cloud, processes: Sequence[psutil.Process]) -> None:
        self._cloud = cloud
        self._processes = processes
        self.at = time.time()
        self._before = self._read()

    def _read(self) -> list[float]:
        spent = [times.user + times.system for times in (process.cpu_times() for process in self._processes)]
        return [*spent, *self._cloud.calls()]

    def per_second(self) -> list[float]:
        """Return each by the second since the start."""
        passed = time.time() - self.at
        return [(now - before) / passed for now, before in zip(self._read(), self._before, strict=True)]


def measure(
    kind: Kind,
    plan: Plan,
    jobs: dict[str, float],
    *,
    cloud: Cloud,
    process: psutil.Process,
    home: Path,
    env: Any,
) -> Found:
    """Let one triggerer wait for all the jobs; end a part of them meanwhile."""
    python, _ = own_python()
    cloud.fill(jobs, plan)
    names = list(jobs)
    waits = [kind.arguments(name, created, plan) for name, created in jobs.items()]
    rows = json.dumps({"classpath": kind.classpath, "waits": waits})
    run([python, str(HERE / "triggerer_rows.py")], env, home / "rows.log", given=rows)
    book = Path(env[probes.LOOKS])
    triggerer = Process.start(
        "triggerer",
        [python, "-m", "airflow", "triggerer", "--skip-serve-logs", "--capacity", str(plan.jobs)],
        env=env,
        log=home / "triggerer.log",
    )
    try:
        looking = settle(triggerer, book, plan)
        supervisor = psutil.Process(triggerer.pid)
        (runner,) = supervisor.children()
        meter = Meter(cloud, (runner, supervisor, process))
        leaving = end_some(cloud, names, plan)
        sleep_until(meter.at + plan.seconds)
        until = time.time()
        spent = meter.per_second()
        memory = tuple(one.memory_info().rss / MEGA for one in (runner, supervisor))
        tail(home, leaving, plan)
    finally:
        stop([triggerer])
    ends = cloud.ended()
    share, longest, missed = pace(
        book, {job_id(name) for name in names}, since=meter.at, until=until, plan=plan
    )
    seen, heard, wrong = delays(names, ends, book, resumed(home))
    for name in leaving:
        cloud.call("DELETE", f"/v1/{name}")
        del jobs[name]
    return Found(
        jobs=plan.jobs,
        looking=looking,
        share=share,
        longest=longest,
        missed=missed,
        runner=spent[0],
        supervisor=spent[1],
        cloud=spent[2],
        lists=spent[3] * plan.interval,
        gets=spent[4] * plan.interval,
        memory=(memory[0], memory[1]),
        seen=seen,
        heard=heard,
        ended=len(leaving),
        wrong=wrong,
    )


def settle(triggerer: Process, book: Path, plan: Plan) -> int:
    """Wait until every job has been looked at; return how many have been when patience is over."""
    deadline = time.time() + PATIENCE + plan.interval
    looked: set[int] = set()
    while len(looked) < plan.jobs and time.time() < deadline:
        if triggerer.running is None:
            raise RuntimeError(f"The triggerer ended:\n{triggerer.last_words()}")
        time.sleep(0.5)
        looked = {job for job, _, _ in probes.looks(book)}
    if not looked:
        raise RuntimeError(f"No job was looked at:\n{triggerer.last_words()}")
    return len(looked)


def end_some(cloud: Cloud, names: Sequence[str], plan: Plan) -> list[str]:
    """End some jobs at random moments of the time that is measured."""
    chance = random.Random(plan.seed)
    leaving = chance.sample(list(names), max(1, int(plan.jobs * ENDING)))
    began = time.time()
    for name, after in zip(leaving, sorted(chance.uniform(0, plan.seconds) for _ in leaving), strict=True):
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


def job_id(name: str) -> int:
    """Return the number at the end of a job's name."""
    return int(name.rpartition("/")[2])


def pace(
    book: Path, jobs: Iterable[int], *, since: float, until: float, plan: Plan
) -> tuple[float, float, int]:
    """Return looks had ÷ looks due, the longest time without a look at a job, and the looks that failed.

    Due is one look an interval, counted from each job's own look to its next. A job that is still without a look when
    measuring ends counts with the time that it is late by.
    """
    times: dict[int, list[float]] = {job: [] for job in jobs}
    gone, missed = set(), 0
    for job, at, outcome in probes.looks(book):
        if job in times and at <= until:
            missed += outcome == probes.MISSED and at > since
            if outcome != probes.MISSED:
                times[job].append(at)
            if outcome == probes.ENDED:
                gone.add(job)
    had, passed, longest = 0, 0.0, 0.0
    for job, looked in times.items():
        first = max(0, bisect_right(looked, since) - 1)
        gaps = [later - earlier for earlier, later in zip(looked[first:], looked[first + 1 :], strict=False)]
        open_for = 0.0 if job in gone else until - (looked[-1] if looked else since)
        had += len(gaps)
        passed += sum(gaps) + max(0.0, open_for - 1.1 * plan.interval)
        longest = max([longest, open_for, *gaps])
    return had * plan.interval / passed if passed else 0.0, longest, missed


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
    for job, at, outcome in probes.looks(book):
        if outcome == probes.ENDED:
            seen_at[job] = min(at, seen_at[job])
    seen, heard = [], []
    for index, name in enumerate(names):
        if name in ends:
            seen.append(seen_at[job_id(name)] - ends[name])
            heard.append(events[index][0] - ends[name] if index in events else float("inf"))
    wrong = sum(not success or names[index] not in ends for index, (_, success) in events.items())
    return sorted(seen), sorted(heard), wrong


# ------------------------------------------------------------------------------------------------------- the table


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that *share* of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def table(found: Mapping[str, Found]) -> Iterator[str]:
    """Yield the lines of the table, a column a kind."""
    rows: dict[str, list[str]] = {
        "waiting jobs": [f"{one.jobs:,}" for one in found.values()],
        "  looked at before measuring began": [f"{one.looking:,}" for one in found.values()],
        "looks, of the ideal": [f"{one.share:.1%}" for one in found.values()],
        "longest time without a look": [f"{one.longest:.1f} s" for one in found.values()],
        "looks that failed": [f"{one.missed:,}" for one in found.values()],
        "CPU of the runner, of one core": [f"{one.runner:.1%}" for one in found.values()],
        "CPU of its supervisor, of one core": [f"{one.supervisor:.1%}" for one in found.values()],
        "CPU of the local cloud, of one core": [f"{one.cloud:.1%}" for one in found.values()],
        "job end to the look that sees it, p50": [
            f"{percentile(one.seen, 0.5):.1f} s" for one in found.values()
        ],
        "job end to the look that sees it, p99": [
            f"{percentile(one.seen, 0.99):.1f} s" for one in found.values()
        ],
        "job end to the task resumed, p50": [f"{percentile(one.heard, 0.5):.1f} s" for one in found.values()],
        "job end to the task resumed, p99": [
            f"{percentile(one.heard, 0.99):.1f} s" for one in found.values()
        ],
        "ended jobs, heard of": [
            f"{sum(late < float('inf') for late in one.heard):,} of {one.ended:,}" for one in found.values()
        ],
        "events that told nothing true": [f"{one.wrong:,}" for one in found.values()],
        "memory of the runner": [f"{one.memory[0]:,.0f} MB" for one in found.values()],
        "memory of its supervisor": [f"{one.memory[1]:,.0f} MB" for one in found.values()],
        "calls to Vertex AI a round: lists": [f"{one.lists:,.0f}" for one in found.values()],
        "calls to Vertex AI a round: gets": [f"{one.gets:,.0f}" for one in found.values()],
    }
    yield f"{'':40}" + "".join(f"{name:>16}" for name in found)
    for label, cells in rows.items():
        yield f"{label:40}" + "".join(f"{cell:>16}" for cell in cells)


def verdict(name: str, one: Found, plan: Plan) -> str:
    """Return how one kind does by the targets."""
    late = percentile(one.heard, 0.99)
    targets = {
        f"looks {one.share:.1%} >= 99 %": one.share >= 0.99,
        f"CPU {one.runner:.1%} < 25 %": one.runner < 0.25,
        f"p99 {late:.1f} s <= {plan.interval + 5:g} s": late <= plan.interval + 5,
    }
    return f"{name}: " + ", ".join(f"{text} {'met' if met else 'MISSED'}" for text, met in targets.items())


def chosen(arguments: Sequence[str]) -> tuple[Plan, list[str]]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", type=int, default=5_000, help="jobs that wait (default: %(default)s)")
    add("--interval", type=float, default=30, help="seconds between looks (default: %(default)s)")
    add("--minutes", type=float, default=1, help="how long each kind is measured (default: %(default)s)")
    add("--only", nargs="+", choices=KINDS, default=list(KINDS), help="kinds to measure (default: all)")
    add("--quick", action="store_true", help="200 jobs every 6 seconds, for 12 seconds")
    add("--seed", type=int, default=7, help="which jobs end, and when (default: %(default)s)")
    got = parser.parse_args(arguments)
    if got.quick:
        return Plan(jobs=200, interval=6, seconds=12, seed=got.seed), got.only
    return Plan(jobs=got.jobs, interval=got.interval, seconds=got.minutes * 60, seed=got.seed), got.only


def main(arguments: Sequence[str]) -> None:
    """Measure each kind and print the table."""
    plan, kinds = chosen(arguments)
    began = time.time()
    print(
        f"{plan.jobs:,} waiting jobs, a look every {plan.interval:g} s each, one triggerer, measured for "
        f"{plan.seconds:g} s a kind while {ENDING:.0%} of the jobs end. {os.cpu_count()} cores ({platform.machine()}) "
        "for the triggerer, the local cloud and this script.",
        flush=True,
    )
    if "provider" in kinds:
        print(
            "provider is CreateBatchPredictionJobTrigger of Airflow's Google provider, a subclass of which only leads "
            "its gRPC channel to the local cloud: without TLS and tokens, which real ones pay for."
        )
    found: dict[str, Found] = {}
    jobs: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="triggerer-bench-") as folder, ThreadPoolExecutor(1) as pool:
        home = Path(folder)
        python, own = own_python()
        env = own | airflow_settings(home)
        migrated = pool.submit(run, [python, "-m", "airflow", "db", "migrate"], env, home / "migrate.log")
        with local_cloud(home) as (cloud, process, exported):
            cloud.fill(jobs, plan)
            migrated.result()
            with grpc_door(home, cloud) as door:
                for name in kinds:
                    kind = KINDS[name]
                    probing = {probes.LOOKS: str(home / f"{len(found)}.looks")}
                    probing |= {} if kind.shared else {probes.SHARING: "off"}
                    probing |= {probes.DOOR: door} if kind.door else {}
                    setting = env | exported | probing
                    found[name] = measure(
                        kind, plan, jobs, cloud=cloud, process=process, home=home, env=setting
                    )
                    print(verdict(name, found[name], plan), flush=True)
    print("\n".join(table(found)))
    print(f"in {time.time() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
