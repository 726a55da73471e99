"""`gemini-batch jobs` and `gemini-batch report` against the local cloud, with jobs planted that nobody owns."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from job_side import Prepared, context, in_tables, prepare

from airflow_batch_gemini import cli
from airflow_batch_gemini.batch.job_body import job_labels
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.ledger import Ledger
    from airflow_batch_gemini.local.server import LocalCloud

Run = Callable[..., tuple[int, Any]]


@dataclass
class Place:
    """A project of this test's own, so that what it finds is what it planted."""

    batch: Prepared

    @property
    def where(self) -> tuple[str, ...]:
        """The options that name it."""
        return ("--location", "us-central1", "--project-id", self.batch.manifest.project_id)

    def submit(self, part: int = 0, attempt: int = 1) -> str:
        """Submit a part, as the operator does."""
        operator = GeminiBatchSubmitOperator(
            task_id="submit", batch=self.batch.ref.to_dict(), part=part, settle_seconds=0
        )
        return str(operator.execute(context(attempt)))

    def plant(self, part: int = 0, *, epoch: int = 1, source: str = "") -> str:
        """Make a job of the part that its ledger does not name, like one whose answer was lost."""
        labels = job_labels(
            batch_id=self.batch.manifest.batch_id, part=part, epoch=epoch, nonce="lost", fingerprint="f"
        )
        copy = self.batch.folder.job_input(part, epoch, "ab12")
        self.batch.storage.copy(self.batch.folder.requests(part), copy)
        job = self.batch.vertex.create(
            project_id=self.batch.manifest.project_id,
            location="us-central1",
            display_name="planted",
            model=self.batch.manifest.model,
            source_uri=source or str(copy),
            destination_uri=str(self.batch.folder.predictions(part)),
            labels=labels,
        )
        return job.name

    def state(self, name: str) -> str:
        """Google's word, without its prefix."""
        return self.batch.vertex.get(name).state.removeprefix("JOB_STATE_")


@pytest.fixture
def place(cloud: LocalCloud, bucket: str) -> Iterator[Place]:
    """A prepared batch of three parts, of a project where nobody else's jobs run."""
    prepared = prepare(bucket, parts=3)
    manifest = replace(prepared.manifest, project_id=f"test-{uuid.uuid4().hex[:8]}")
    prepared.storage.write(prepared.folder.manifest, manifest.to_json())
    yield Place(batch=replace(prepared, manifest=manifest))
    prepared.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as a shell would; return its exit status and what it printed, read when it is JSON."""

    def go(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = cli.main(arguments)
        printed = capsys.readouterr()
        text = printed.out or printed.err
        return status, json.loads(text) if "json" in arguments and printed.out else text

    return go


def sweep(run: Run, place: Place, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Sweep the test's project, young jobs too; return the exit status, and by name what was found."""
    arguments = [*place.where, "--older-than", "0", "--format", "json", *options]
    status, found = run("jobs", "sweep", *arguments)
    return status, {one["name"]: one for one in found}


def test_a_sweep_finds_who_runs_and_who_answered_for_nobody(
    place: Place, run: Run, cloud: LocalCloud
) -> None:
    """Of five jobs three are suspect: those whose ledgers own them are not, as long as they are at work."""
    unlanded = place.submit(0)
    cloud.settle()
    cloud.knobs(pace="looks:1000")
    owned, orphan = place.submit(1), place.plant(1)
    unowned, lost = place.plant(2), place.plant(2, source=place.batch.manifest.parts[2].uri)
    status, found = sweep(run, place)
    assert status == 1
    kinds = {name: one["kind"] for name, one in found.items()}
    assert kinds == {unlanded: "unlanded", orphan: "orphan", unowned: "orphan", lost: "unknown"}
    assert found[orphan]["why"] == f"the ledger stands for {owned}"
    assert found[unowned]["why"] == "its part has no ledger"
    assert found[unlanded]["why"] == "the ledger is SUBMITTED: no load came to its end"
    assert {one["dag_id"] for name, one in found.items() if name != lost} == {"dag"}
    assert found[unlanded]["output"].startswith(str(place.batch.folder.predictions(0)))
    assert (
        "PENDING" in place.state(orphan)
        or "QUEUED" in place.state(orphan)
        or "RUNNING" in place.state(orphan)
    )


def test_a_sweep_only_reports_unless_it_is_told_to_cancel(place: Place, run: Run, cloud: LocalCloud) -> None:
    """And then it cancels orphans alone: what a ledger owns, what may yet be adopted and what is unknown runs on."""
    cloud.knobs(pace="looks:1000")
    owned, orphan = place.submit(0), place.plant(0)
    lost = place.plant(1, source=place.batch.manifest.parts[1].uri)
    unsettled = place.plant(2)
    intent: Ledger = replace(place.batch.ledger(0), state="INTENT", job_name=None)
    place.batch.write_ledger(intent, part=2)
    _, before = sweep(run, place)
    assert before[orphan]["cancelled"] is None
    assert place.state(orphan) not in {"CANCELLING", "CANCELLED"}
    for attempt in range(2):  # the second finds the work of the first done
        status, found = sweep(run, place, "--cancel")
        assert status == 1
        assert {name: one["kind"] for name, one in found.items() if name != orphan} == {
            lost: "unknown",
            unsettled: "unsettled",
        }
        assert orphan not in found or (found[orphan]["cancelled"] == "asked" and attempt == 0)
    assert place.state(orphan) in {"CANCELLING", "CANCELLED"}
    assert not {place.state(name) for name in (owned, lost, unsettled)} & {"CANCELLING", "CANCELLED"}
    assert place.batch.ledger(0).state == "SUBMITTED"


def test_a_sweep_that_has_cancelled_all_it_found_ends_with_0(
    place: Place, run: Run, cloud: LocalCloud
) -> None:
    """For a person it says so in words; nobody is billed for a row of it."""
    cloud.knobs(pace="looks:1000")
    orphan = place.plant(0)
    billed = cloud.stats()["billed_rows"]
    status, text = run("jobs", "sweep", *place.where, "--older-than", "0", "--cancel")
    assert status == 0
    assert text.startswith(f"orphan  {orphan}\n")
    assert "cancelled: asked" in text
    assert text.endswith("1 jobs looked at: 1 orphan.\n")
    assert cloud.stats()["billed_rows"] == billed


def test_what_happened_just_now_is_left_to_its_pipeline(place: Place, run: Run, cloud: LocalCloud) -> None:
    """The next task may be on its way; unless it is told otherwise a sweep gives it an hour."""
    place.plant(0)
    place.submit(1)
    cloud.settle()
    assert run("jobs", "sweep", *place.where) == (0, "2 jobs looked at: nothing found.\n")


def test_landed_answers_are_found_by_the_ledger_or_by_the_report(
    place: Place, run: Run, cloud: LocalCloud, dataset: str
) -> None:
    """A load of a job that was given up leaves its ledger CANCELLED: the report says that it was landed."""
    names = [place.submit(part) for part in range(3)]
    cloud.settle()
    assert {one["kind"] for one in sweep(run, place)[1].values()} == {"unlanded"}
    place.batch.write_ledger(replace(place.batch.ledger(1), state="CANCELLED"), part=1)
    load = GeminiBatchLoadOperator(
        task_id="load",
        batch=place.batch.ref.to_dict(),
        results_table=f"{dataset}.results",
        batch_date="2026-11-29",
    )
    load.execute(context(5))
    assert [place.batch.ledger(part).state for part in range(3)] == ["LOADED", "CANCELLED", "LOADED"]
    assert sweep(run, place) == (0, {})
    place.batch.storage.delete(place.batch.folder.report)
    assert list(sweep(run, place)[1]) == [names[1]]


def test_an_unreadable_ledger_is_reported_and_cancels_nothing(
    place: Place, run: Run, cloud: LocalCloud
) -> None:
    """Nobody can say whose the job is."""
    cloud.knobs(pace="looks:1000")
    name = place.submit(0)
    place.batch.storage.write(place.batch.folder.ledger(0), b"garbled")
    status, found = sweep(run, place, "--cancel")
    assert (status, found[name]["kind"], found[name]["cancelled"]) == (1, "unknown", None)
    assert place.state(name) not in {"CANCELLING", "CANCELLED"}


def test_a_job_over_tables_is_traced_by_its_input_table(
    place: Place, run: Run, cloud: LocalCloud, dataset: str
) -> None:
    """Its description names the ledger."""
    tables = in_tables(place.batch, dataset, cloud)
    place = replace(place, batch=tables)
    cloud.knobs(pace="looks:1000")
    name = place.submit(0)
    assert sweep(run, place) == (0, {})
    _, [listed] = run("jobs", "list", *place.where, "--format", "json")
    assert (listed["name"], listed["dag_id"], listed["part"]) == (name, "dag", 0)


def test_a_list_says_whose_each_job_is(place: Place, run: Run, cloud: LocalCloud) -> None:
    """By columns for people, by names for programs; ended ones can be left out."""
    over = place.submit(0)
    cloud.settle()
    cloud.knobs(pace="looks:1000")
    live = place.submit(2)
    status, text = run("jobs", "list", *place.where)
    head, *lines = text.splitlines()
    assert (status, head.split()) == (
        0,
        ["JOB", "STATE", "DAG", "RUN", "TASK", "PART", "CREATED", "ENDED", "ROWS"],
    )
    identity = place.batch.manifest.identity
    for line, name, part in zip(lines, (over, live), ("0", "2"), strict=True):
        assert line.split()[0] == name
        assert line.split()[2:6] == [identity.dag_id, identity.run_id, identity.task_id, part]
    assert "SUCCEEDED" in lines[0]
    _, [found] = run("jobs", "list", *place.where, "--live", "--format", "json")
    assert (found["name"], found["run_id"], found["ended"]) == (live, identity.run_id, None)
    assert found["workspace"] == str(place.batch.folder.folder)
    assert run("jobs", "list", *place.where[:-1], "nobody-here") == (0, "No jobs.\n")


def test_one_job_is_shown_with_its_ledger(place: Place, run: Run, cloud: LocalCloud) -> None:
    """Whether it stands for the job is the question."""
    cloud.knobs(pace="looks:1000")
    owned, planted, alone = place.submit(0), place.plant(0), place.plant(1)
    for name, says in ((owned, "this job"), (planted, owned)):
        _, shown = run("jobs", "show", name, "--format", "json")
        assert (shown["name"], shown["ledger"]["state"], shown["ledger"]["stands for"]) == (
            name,
            "SUBMITTED",
            says,
        )
    status, text = run("jobs", "show", alone)
    assert status == 0
    assert "ledger says" in text
    assert "there is none" in text
    place.batch.storage.write(place.batch.folder.ledger(1), b"garbled")
    assert "The ledger cannot be read" in run("jobs", "show", alone)[1]
    lost = place.plant(2, source=place.batch.manifest.parts[2].uri)
    assert "nobody knows where it lies" in run("jobs", "show", lost)[1]


def test_named_jobs_are_cancelled_and_their_ledgers_say_so(place: Place, run: Run, cloud: LocalCloud) -> None:
    """Owned or not, over or gone; a second time asks in vain and is no error."""
    over = place.submit(0)
    cloud.settle()
    cloud.knobs(pace="looks:1000")
    owned, planted = place.submit(1), place.plant(2)
    gone = "projects/demo/locations/us-central1/batchPredictionJobs/77"
    status, answers = run("jobs", "cancel", over, owned, planted, gone, "--format", "json")
    assert (status, answers) == (0, {over: "ended", owned: "asked", planted: "asked", gone: "gone"})
    assert [place.batch.ledger(part).state for part in (0, 1)] == ["SUBMITTED", "CANCELLED"]
    status, text = run("jobs", "cancel", owned)
    assert status == 0
    assert text.startswith(f"{owned}: ")


def test_a_ledger_that_cannot_be_read_keeps_its_job(place: Place, run: Run, cloud: LocalCloud) -> None:
    """The others are cancelled all the same, and the exit status tells."""
    cloud.knobs(pace="looks:1000")
    kept, other = place.submit(0), place.submit(1)
    place.batch.storage.write(place.batch.folder.ledger(0), b"garbled")
    status, text = run("jobs", "cancel", kept, other)
    assert status == 1
    assert "The ledger cannot be read" in text
    assert (place.state(kept) in {"CANCELLING", "CANCELLED"}, place.batch.ledger(1).state) == (
        False,
        "CANCELLED",
    )


def test_a_workspace_is_cancelled_whole(place: Place, run: Run, cloud: LocalCloud) -> None:
    """What its ledgers own and what only labels tell."""
    cloud.knobs(pace="looks:1000")
    owned, planted = place.submit(0), place.plant(1)
    status, text = run("jobs", "cancel", "--workspace", str(place.batch.folder.folder))
    assert status == 0
    assert {line.partition(":")[0] for line in text.splitlines()} == {owned, planted}
    assert place.batch.ledger(0).state == "CANCELLED"
    assert run("jobs", "cancel", "--workspace", f"gs://{place.batch.folder.folder.bucket}/none")[0] == 1


def test_standard_output_is_the_answer_and_nothing_else(place: Place, cloud: LocalCloud) -> None:
    """In a process of its own, where Airflow logs as it likes."""
    cloud.knobs(pace="looks:1000")
    planted = place.plant(1)
    code = "import sys; from airflow_batch_gemini.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["jobs", "cancel", "--workspace", str(place.batch.folder.folder), "--format", "json"]
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {planted: "asked"}
    assert "no ledger knows it" in done.stderr
    assert "Task Runner" not in done.stderr  # Airflow's warning of an operator that is executed by hand


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "somewhere/else"],
        ["cancel"],
        ["cancel", "somewhere/else"],
        ["cancel", "--workspace", "gs://"],
        ["cancel", "projects/demo/locations/l/batchPredictionJobs/1", "--workspace", "gs://bucket/a"],
        ["list", "--location", "../x"],
        ["list", "--location", "x", "--project-id", "a b"],
        ["list", "--location", "x", "--gcp-conn-id", "no_such_connection"],
    ],
)
def test_wrong_arguments_end_with_2(cloud: LocalCloud, run: Run, arguments: list[str]) -> None:
    """In a sentence, and nothing was done."""
    status, text = run("jobs", *arguments)
    assert status == 2
    assert "Nothing was" in text


def test_what_is_not_there_ends_with_1(place: Place, run: Run) -> None:
    """As a job that was deleted."""
    status, text = run("jobs", "show", "projects/demo/locations/us-central1/batchPredictionJobs/77")
    assert status == 1
    assert "77" in text


@pytest.mark.parametrize("kind", ["list", "show", "cancel", "sweep"])
def test_the_help_says_what_the_exit_status_means(
    kind: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts live by it."""
    with pytest.raises(SystemExit):
        cli.main(["jobs", kind, "--help"])
    assert "Exit status: 0 " in capsys.readouterr().out


def test_a_report_is_printed_from_its_workspace(
    place: Place, run: Run, cloud: LocalCloud, dataset: str
) -> None:
    """By folder or by file; before the load there is none."""
    folder = str(place.batch.folder.folder)
    status, text = run("report", folder)
    assert status == 1
    assert "no load of that batch" in text
    for part in range(3):
        place.submit(part)
    cloud.settle()
    load = GeminiBatchLoadOperator(
        task_id="load",
        batch=place.batch.ref.to_dict(),
        results_table=f"{dataset}.results",
        batch_date="2026-11-29",
    )
    report = load.execute(context(5))
    for uri in (folder, f"{folder}/", f"{folder}/report.json"):
        status, text = run("report", uri)
        assert status == 0
        assert text.splitlines()[0].split() == ["batch", report["batch_id"]]
        assert f"{dataset}.results" in text
    assert run("report", folder, "--format", "json") == (0, report)
