"""The troubles of the local cloud, met by Google's own clients: lost answers, late calls, its death."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core.exceptions import Conflict

from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.exceptions import GeminiBatchError, PaymentUnknownError
from airflow_batch_gemini.hooks._bigquery import insert
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import PreconditionLost, WorkspaceHook
from airflow_batch_gemini.sql.landing import load_requests, query_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.hooks.warehouse import WarehouseJob
    from airflow_batch_gemini.local.server import LocalCloud

LINES = b"".join(
    json.dumps(
        {"key": f"k_{n}", "request": {"contents": [{"role": "user", "parts": [{"text": "p"}]}]}}
    ).encode()
    + b"\n"
    for n in range(3)
)


class Clients:
    """The hooks of this package, which are Google's clients with our names."""

    def __init__(self, bucket: str, dataset: str) -> None:
        self.vertex, self.storage, self.warehouse = GeminiBatchHook(), WorkspaceHook(), WarehouseHook()
        self.folder = GcsUri(bucket, "folder")
        self.table = TableName.parse(f"{dataset}.numbers")

    def close(self) -> None:
        for hook in (self.vertex, self.storage, self.warehouse):
            hook.close()

    def write(self, name: str = "in.jsonl", *, if_generation: int | None = None) -> GcsUri:
        self.storage.write(self.folder / name, LINES, if_generation=if_generation)
        return self.folder / name

    def create(self, source: object, **labels: str) -> Job:
        return self.vertex.create(
            project_id="demo",
            location="us-central1",
            display_name="a job",
            model="gemini-2.5-flash",
            source_uri=str(source),
            destination_uri=str(self.folder / "out"),
            labels=labels,
        )

    def jobs(self, label: str = "") -> tuple[Job, ...]:
        return self.vertex.list(project_id="demo", location="us-central1", filter=label)

    def ensure(self, sql: str) -> WarehouseJob:
        job = self.warehouse.ensure_job(
            configuration=query_into(sql, self.table), project="demo", location="us-central1", purpose="test"
        )
        self.warehouse.wait(job, timeout=30, poll_interval=0.1)
        return job

    def numbers(self) -> list[int]:
        sql = f"SELECT n FROM `{self.table}` ORDER BY n"
        return [row["n"] for row in self.warehouse.query_rows(sql, project="demo", location="us-central1")]


@pytest.fixture
def clients(cloud: LocalCloud, bucket: str, dataset: str) -> Iterator[Clients]:
    made = Clients(bucket, dataset)
    yield made
    made.close()


# ---------------------------------------------------------------------------------------------- lost answers


def test_the_answer_of_a_cancel_can_be_lost(cloud: LocalCloud, clients: Clients) -> None:
    """The job is being cancelled all the same, and the client's second request finds it so."""
    cloud.knobs(pace="looks:5", answer_lost_after_commit=1, lost_answer_routes=":cancel$")
    job = clients.create(clients.write())
    assert cloud.knobs()["answer_lost_after_commit"] == 1
    assert clients.vertex.cancel(job.name) == "asked"
    assert cloud.knobs()["answer_lost_after_commit"] == 0
    assert clients.vertex.get(job.name).state == "JOB_STATE_CANCELLING"


def test_the_answer_of_a_write_can_be_lost(cloud: LocalCloud, clients: Clients) -> None:
    """A conditional write meets its own success: the object is there once, and is what was written."""
    cloud.knobs(answer_lost_after_commit=1, lost_answer_routes="^POST /upload/storage/")
    with pytest.raises(PreconditionLost):
        clients.write(if_generation=0)
    stored = clients.storage.read(clients.folder / "in.jsonl")
    assert stored is not None
    assert stored.data == LINES


def test_the_answer_of_a_bigquery_insert_can_be_lost(cloud: LocalCloud, clients: Clients) -> None:
    """The job ran once; who asks again under the same name is attached to it."""
    cloud.knobs(answer_lost_after_commit=1, lost_answer_routes="^POST .*/jobs$")
    job = clients.ensure("SELECT 1 AS n")
    assert cloud.knobs()["answer_lost_after_commit"] == 0
    assert (job.attempt, clients.numbers()) == (0, [1])


def test_an_answer_is_lost_only_when_there_was_an_effect(cloud: LocalCloud, clients: Clients) -> None:
    """A refusal arrives; the next creation loses its answer."""
    cloud.knobs(answer_lost_after_commit=1)
    source = clients.write()
    with pytest.raises(GeminiBatchError, match="refused"):
        clients.create(source, Label="not lower case")
    with pytest.raises(PaymentUnknownError):
        clients.create(source, run="lost")
    assert len(clients.jobs("labels.run=lost")) == 1


# ---------------------------------------------------------------------------------------------- late calls


def test_a_late_creation_takes_effect_after_its_client_gave_up(
    cloud: LocalCloud, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor has fenced the input meanwhile: the job is there, fails at import, and nothing is billed."""
    monkeypatch.setattr("airflow_batch_gemini.hooks.gemini_batch.REQUEST_SECONDS", 0.2)
    cloud.knobs(late_creates=1, late_create_seconds=0.8)
    source, before = clients.write(), cloud.stats()["billed_rows"]
    with pytest.raises(PaymentUnknownError):
        clients.create(source, run="late")
    assert clients.jobs("labels.run=late") == ()
    clients.storage.delete(source)
    deadline = time.monotonic() + 20
    while not (found := clients.jobs("labels.run=late")) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    cloud.settle()
    [job] = [clients.vertex.get(job.name) for job in found]
    assert (job.state, job.error_code) == ("JOB_STATE_FAILED", 3)
    assert cloud.stats()["billed_rows"] == before


def test_a_dropped_input_table_fails_the_import_unbilled(cloud: LocalCloud, clients: Clients) -> None:
    """What fences off a job that reads a clone of the request table."""
    cloud.knobs(stuck_pending=True)
    landed = clients.warehouse.ensure_job(
        configuration=load_requests(clients.write(), clients.table),
        project="demo",
        location="us-central1",
        purpose="test",
    )
    clients.warehouse.wait(landed, timeout=30, poll_interval=0.1)
    before = cloud.stats()["billed_rows"]
    job = clients.create(clients.table.uri)
    list(
        clients.warehouse.query_rows(f"DROP TABLE `{clients.table}`", project="demo", location="us-central1")
    )
    cloud.knobs(stuck_pending=False)
    cloud.settle()
    job = clients.vertex.get(job.name)
    assert (job.state, job.error_code) == ("JOB_STATE_FAILED", 3)
    assert cloud.stats()["billed_rows"] == before


@pytest.mark.parametrize("pace", ["looks:1000", "seconds:1000"])
def test_a_late_cancel_meets_a_job_that_has_just_succeeded(
    cloud: LocalCloud, clients: Clients, pace: str
) -> None:
    """400 FAILED_PRECONDITION, every row answered and billed; the next cancel is in time."""
    cloud.knobs(pace=pace, late_cancels=1)
    source, before = clients.write(), cloud.stats()["billed_rows"]
    first, second = clients.create(source), clients.create(source)
    assert clients.vertex.cancel(first.name) == "ended"
    assert clients.vertex.get(first.name).state == "JOB_STATE_SUCCEEDED"
    assert cloud.stats()["billed_rows"] == before + 3
    assert clients.vertex.cancel(second.name) == "asked"
    assert clients.vertex.get(second.name).state == "JOB_STATE_CANCELLING"


# ---------------------------------------------------------------------------------------------- its death


def test_a_local_cloud_inside_another_process_refuses_to_kill_it(cloud: LocalCloud) -> None:
    """The knobs that kill are for the process that is nothing else."""
    with pytest.raises(Exception, match="knobs that kill the process"):
        cloud.knobs(die_after_commit=1)
    assert cloud.knobs()["die_after_commit"] == 0


class Mortal:
    """``gemini-batch local`` as a process on one port and one folder, started again after each death."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "airflow_batch_gemini.local", "--data-dir", str(self.folder)]
        command += [
            "--port",
            str(self.port),
            "--bucket",
            "bucket-1",
            "--dataset",
            "ds",
            "--pace",
            "immediate",
        ]
        command += ["--env", str(self.folder / "env")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Local cloud: "):
                self.port = int(line.rpartition(":")[2])
            if "GOOGLE_CLOUD_DEFAULT" in line:
                return
        raise AssertionError("the local cloud did not start")

    def environment(self) -> dict[str, str]:
        pairs = (line.partition("=") for line in (self.folder / "env").read_text().splitlines())
        return {name: value.strip("'") for name, _, value in pairs}

    def admin(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/admin/{path}"
        with urllib.request.urlopen(
            urllib.request.Request(url, data, method="PUT" if data else "GET"), timeout=30
        ) as answer:
            return json.loads(answer.read())

    def dying(self, act: Callable[[], str]) -> str:
        """Do what kills the process, start it again as soon as it is dead, and return how the act ended."""
        process, codes = self.process, []
        assert process is not None

        def reborn() -> None:
            codes.append(process.wait(timeout=60))
            self.stop()
            self.start()

        thread = threading.Thread(target=reborn)
        thread.start()
        try:
            return act()
        finally:
            thread.join()
            assert codes == [-signal.SIGKILL]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=30)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mortal]:
    found = Mortal(tmp_path / "data")
    try:
        found.start()
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        yield found
    finally:
        found.stop()


def test_the_local_cloud_dies_before_or_after_any_effect_and_goes_on_where_it_was(mortal: Mortal) -> None:
    """SIGKILL at writes, BigQuery jobs and creations: each took effect once or not at all, and the clients live on."""
    clients = Clients("bucket-1", "demo.ds")
    outcomes: dict[str, Any] = {}
    for knob in ("die_before_commit", "die_after_commit"):

        def written(name: str = knob) -> str:
            with suppress(PreconditionLost):
                clients.write(name, if_generation=0)
                return "written"
            return "was there"

        def created(run: str = knob) -> str:
            with pytest.raises(PaymentUnknownError):
                clients.create(clients.folder / run, run=run)
            return f"{len(clients.jobs(f'labels.run={run}'))} jobs"

        def computed(knob: str = knob) -> str:
            clients.table = TableName.parse(f"demo.ds.{knob}")
            job = clients.ensure("SELECT n FROM UNNEST([1, 2]) AS n")
            with pytest.raises(Conflict):
                insert(
                    clients.warehouse.client("demo"),
                    replace(job, job_id=f"{job.job_id[:-1]}0"),
                    {"query": {"query": "SELECT 1"}},
                )
            return f"{clients.numbers()}"

        for act in (written, created, computed):
            mortal.admin("knobs", {knob: 1})
            outcomes[f"{knob} {act.__name__}"] = mortal.dying(act)
    assert outcomes == {
        "die_before_commit written": "written",
        "die_before_commit created": "0 jobs",
        "die_before_commit computed": "[1, 2]",
        "die_after_commit written": "was there",
        "die_after_commit created": "1 jobs",
        "die_after_commit computed": "[1, 2]",
    }
    [job] = clients.jobs()
    deadline = time.monotonic() + 30
    while not (job := clients.vertex.get(job.name)).ended and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert (job.state, job.counts.succeeded) == ("JOB_STATE_SUCCEEDED", 3)
    assert mortal.admin("stats")["billed_rows"] == 3
    assert [info.size for info in clients.storage.list(clients.folder) if "out/" not in info.uri] == [
        len(LINES)
    ] * 2
    clients.close()
