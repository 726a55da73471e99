"""A small world for the submission protocol: storage, Vertex AI and time in memory, and a chooser of misfortune.

The attempts run the real code, each in a greenlet. Before and after every call the world may switch to another attempt
(a stall), kill the caller, lose its answer, or let jobs and time go on. Everything follows from one seed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from greenlet import GreenletExit, greenlet

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.batch.job_body import FINGERPRINT
from airflow_batch_gemini.batch.manifest import Identity, Manifest, Part, Workspace
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.steps import WaitFor
from airflow_batch_gemini.batch.submission import Rules
from airflow_batch_gemini.exceptions import (
    GeminiBatchError,
    JobLostError,
    PaymentUnknownError,
    ServiceError,
    SubmitRefusedError,
)
from airflow_batch_gemini.hooks._storage import ObjectInfo, PreconditionLost, StoredObject
from airflow_batch_gemini.hooks.ledger import LedgerStore
from airflow_batch_gemini.operators._inputs import JobInputs
from airflow_batch_gemini.operators._submission import Submission

SETTLE = 10.0
FOLDER = Workspace(GcsUri.parse("gs://bucket/work"))
LOG = logging.getLogger("submission_world")
LOG.setLevel(logging.CRITICAL)


def manifest(template: str = "new") -> Manifest:
    """A batch of one part."""
    return Manifest(
        identity=Identity(dag_id="d", run_id="r", task_id="t"),
        workspace=str(FOLDER.folder),
        project_id="demo",
        location="us-central1",
        model="publishers/google/models/gemini-2.5-flash",
        requests="gcs",
        predictions="gcs",
        predictions_dataset=None,
        parts=(Part(index=0, uri=str(FOLDER.requests(0)), rows=1, size=1, checksum="crc"),),
        template_fingerprint=template,
        response_schema=None,
        created_at="2026-01-01T00:00:00Z",
    )


@dataclass
class Posted:
    """A job, and what the world knows of it."""

    job: Job
    visible: float
    """When listings show it."""
    billed: bool = False


@dataclass
class World:
    """Everything outside the attempts."""

    seed: int = 0
    chaos: bool = False
    lag: float = SETTLE * 0.99
    now: float = 1000.0
    objects: dict[str, StoredObject] = field(default_factory=dict)
    jobs: dict[str, Posted] = field(default_factory=dict)
    late: list[Callable[[], object]] = field(default_factory=list)
    """Requests still on their way though their senders have given up."""
    trace: list[str] = field(default_factory=list)
    posts: int = 0
    main: greenlet | None = None

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.generation = 0
        self.put(FOLDER.requests(0), b"requests")

    def put(self, uri: GcsUri, data: bytes) -> ObjectInfo:
        self.generation += 1
        info = ObjectInfo(
            uri=str(uri), size=len(data), generation=self.generation, crc32c="crc", updated=self.now
        )
        self.objects[str(uri)] = StoredObject(data=data, info=info)
        return info

    def call(
        self, what: str, effect: Callable[[], Any], *, lost: type[GeminiBatchError] = ServiceError
    ) -> Any:
        """Carry out *effect*, with misfortune before and after it."""
        if not self.chaos:
            self.now += 0.01
            return effect()
        self.pause(f"before {what}")
        fate = self.dice.random()
        if fate < 0.02:
            self.late.append(effect)
            # A 412 tells of a request that has arrived; one still on its way can only be silent.
            silent = ServiceError if lost is PreconditionLost else lost
            raise silent(f"{what}: still on its way")
        result = effect()
        self.trace.append(f"{self.now:.1f} {what}")
        self.pause(f"after {what}")
        if fate < 0.06:
            raise lost(f"{what}: answer lost")
        return result

    def pause(self, where: str) -> None:
        """Let others go on; the caller may never come back from here."""
        if self.main is not None and greenlet.getcurrent() is not self.main:
            self.main.switch(where)

    def go_on(self) -> None:
        """One thing happens by itself."""
        choice = self.dice.random()
        if choice < 0.3 and self.late:
            with_effect = self.late.pop(self.dice.randrange(len(self.late)))
            try:
                with_effect()
                self.trace.append(f"{self.now:.1f} a late request arrived")
            except GeminiBatchError:
                pass
        elif choice < 0.8 and self.jobs:
            self.advance(self.dice.choice(list(self.jobs.values())))
        else:
            self.now += self.dice.choice([0.1, 1.0, SETTLE / 2, SETTLE * 1.5])

    def advance(self, posted: Posted) -> None:
        """A job goes on to its next state."""
        state = posted.job.state
        if state == "JOB_STATE_PENDING":
            if posted.job.input_uri not in self.objects:
                self.change(posted, state="JOB_STATE_FAILED", error_code=3)
            else:
                posted.billed = True
                self.change(posted, state="JOB_STATE_RUNNING", counts=Counts(succeeded=1))
        elif state == "JOB_STATE_RUNNING":
            self.change(posted, state="JOB_STATE_SUCCEEDED")
        elif state == "JOB_STATE_CANCELLING":
            ends = (
                ["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"] if posted.billed else ["JOB_STATE_CANCELLED"]
            )
            self.change(posted, state=self.dice.choice(ends))

    def change(self, posted: Posted, **changes: Any) -> None:
        posted.job = replace(posted.job, **changes)
        self.trace.append(f"{self.now:.1f} {posted.job.name[-4:]} is {posted.job.state}")

    def billed(self, fingerprint: str) -> int:
        """How many jobs were paid for these requests."""
        return sum(p.billed and p.job.labels[FINGERPRINT] == fingerprint for p in self.jobs.values())


@dataclass
class Storage:
    """WorkspaceHook's part in it."""

    world: World

    def read(self, uri: GcsUri) -> StoredObject | None:
        return self.world.call(f"read {uri.name}", lambda: self.world.objects.get(str(uri)))

    def write(self, uri: GcsUri, data: bytes, *, if_generation: int | None = None) -> ObjectInfo:
        def effect() -> ObjectInfo:
            there = self.world.objects.get(str(uri))
            generation = there.info.generation if there else 0
            if if_generation is not None and if_generation != generation:
                raise PreconditionLost(f"{uri} is in generation {generation}")
            return self.world.put(uri, data)

        kind = ServiceError if self.world.dice.random() < 0.5 else PreconditionLost
        return self.world.call(f"write {uri.name} {_state(data)}", effect, lost=kind)

    def copy(self, source: GcsUri, target: GcsUri) -> ObjectInfo:
        data = self.world.objects[str(source)].data
        return self.world.call(f"copy to {target.name}", lambda: self.world.put(target, data))

    def delete(self, uri: GcsUri) -> bool:
        return self.world.call(
            f"delete {uri.name}", lambda: self.world.objects.pop(str(uri), None) is not None
        )


def _state(data: bytes) -> str:
    return data.decode().partition('"state": "')[2].partition('"')[0]


@dataclass
class Vertex:
    """GeminiBatchHook's part in it."""

    world: World
    refuse: list[GeminiBatchError] = field(default_factory=list)

    def create(self, **request: Any) -> Job:
        world = self.world

        def effect() -> Job:
            world.posts += 1
            if self.refuse:
                raise self.refuse.pop(0)
            if world.chaos and world.dice.random() < 0.05:
                raise world.dice.choice([ServiceError("quota", http_status=429), SubmitRefusedError("no")])
            number = 1000 + len(world.jobs)
            name = f"projects/demo/locations/us-central1/batchPredictionJobs/{number}"
            job = Job(
                name=name,
                state="JOB_STATE_PENDING",
                labels=request["labels"],
                input_uri=request["source_uri"],
                create_time=world.now,
            )
            lag = world.dice.uniform(0, world.lag) if world.chaos else 0
            world.jobs[name] = Posted(job=job, visible=world.now + lag)
            return job

        return world.call(f"create from {request['source_uri'][-40:]}", effect, lost=PaymentUnknownError)

    def get(self, job_name: str) -> Job:
        def effect() -> Job:
            if job_name not in self.world.jobs:
                raise JobLostError(f"{job_name} is gone")
            return self.world.jobs[job_name].job

        return self.world.call(f"get {job_name[-4:]}", effect)

    def list(self, **_: Any) -> tuple[Job, ...]:
        now = lambda: self.world.now  # noqa: E731  # read when the effect happens
        return self.world.call(
            "list", lambda: tuple(p.job for p in self.world.jobs.values() if p.visible <= now())
        )

    def cancel(self, job_name: str) -> str:
        def effect() -> str:
            posted = self.world.jobs[job_name]
            if posted.job.ended:
                return "ended"
            self.world.change(posted, state="JOB_STATE_CANCELLING")
            return "asked"

        return self.world.call(f"cancel {job_name[-4:]}", effect)


def submission(world: World, owner: str, **options: Any) -> Submission:
    """One attempt, as the operator makes it."""
    what = options.pop("manifest", manifest())
    vertex = options.pop("vertex", Vertex(world))
    killed = options.pop("killed", lambda: False)
    storage = Storage(world)
    rules = Rules(owner=owner, fingerprint=what.fingerprint(0), settle_seconds=SETTLE, **options)
    return Submission(
        manifest=what,
        part=0,
        rules=rules,
        store=LedgerStore(workspace=storage, uri=FOLDER.ledger(0)),
        vertex=vertex,
        inputs=JobInputs(manifest=what, part=0, workspace=storage, gcp_conn_id="c", impersonation_chain=None),
        display_name="a job",
        labels={},
        killed=killed,
        log=LOG,
    )


@dataclass
class Attempt:
    """A task instance: it may sleep (deferred) and come back as another process."""

    world: World
    owner: str
    options: dict[str, Any]
    alive: bool = True
    wakes: float = 0.0
    result: Job | None = None
    process: greenlet | None = None

    def go(self) -> None:
        """Run until the next call, or begin, or come back."""
        if self.process is None:
            attempt = submission(self.world, self.owner, **self.options)
            self.process = greenlet(lambda: self._run(attempt), self.world.main)
        self.process.switch()

    def kill(self) -> None:
        """SIGKILL."""
        self.world.trace.append(f"{self.world.now:.1f} {self.owner} is killed")
        self.alive = False
        if self.process is not None:
            self.process.throw(GreenletExit)

    def _run(self, attempt: Submission) -> None:
        try:
            outcome = attempt.run()
        except GeminiBatchError as error:
            self.world.trace.append(f"{self.world.now:.1f} {self.owner}: {type(error).__name__} {error}")
            self.alive = False
            return
        self.process = None
        if isinstance(outcome, WaitFor):
            self.wakes = self.world.now + outcome.seconds
        else:
            self.result, self.alive = outcome, False


def tragedy(seed: int, *, changing: bool = False) -> tuple[World, Job]:
    """Up to four attempts in a bad world, then one in a good world; return it and the job that stands for the part.

    :param changing: the first two attempts want other requests than the rest.
    """
    world = World(seed=seed, chaos=True)
    world.main = greenlet.getcurrent()
    attempts: list[Attempt] = []
    for _ in range(world.dice.randint(10, 120)):
        choice = world.dice.random()
        awake = [a for a in attempts if a.alive and a.wakes <= world.now]
        if len(attempts) < 4 and (not attempts or choice < 0.04):
            wanted = manifest("old" if changing and len(attempts) < 2 else "new")
            attempts.append(Attempt(world, f"owner-{len(attempts)}", {"manifest": wanted}))
            world.trace.append(f"{world.now:.1f} {attempts[-1].owner} begins")
        elif choice < 0.08 and awake:
            world.dice.choice(awake).kill()
        elif choice < 0.75 and awake:
            world.dice.choice(awake).go()
        else:
            world.go_on()
    for attempt in attempts:
        if attempt.alive and world.dice.random() < 0.5:
            attempt.kill()
    return world, _ending(world, attempts)


def _ending(world: World, zombies: list[Attempt]) -> Job:
    """A last attempt in peace, while zombies still wake up at times; then whatever is on its way arrives."""
    last = Attempt(world, "owner-9", {"manifest": manifest("new")})
    for _ in range(3000):
        world.chaos = False
        if last.alive and last.wakes <= world.now:
            last.go()
        if last.result is not None and last.result.name in world.jobs and not world.late:
            break
        if not last.alive and last.result is None:
            last = Attempt(world, last.owner, last.options)
        world.chaos = True
        awake = [a for a in zombies if a.alive and a.wakes <= world.now]
        if awake and world.dice.random() < 0.3:
            world.dice.choice(awake).go()
        world.go_on()
    assert last.result is not None, "\n".join(world.trace)
    world.chaos = False
    for _ in range(4):
        for posted in world.jobs.values():
            world.advance(posted)
    for attempt in zombies:
        if attempt.alive:
            attempt.kill()
    return world.jobs[last.result.name].job
