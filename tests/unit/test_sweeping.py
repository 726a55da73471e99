"""Which jobs somebody should look at, and whose a job is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_batch_gemini.batch.job import STATES, Counts, Job
from airflow_batch_gemini.batch.job_body import job_labels
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Identity
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.sweeping import THEN, has_answers, is_settled, suspect, unknown
from airflow_batch_gemini.batch.tracing import origin_of

NAME = "projects/p/locations/us-central1/batchPredictionJobs/"
OURS, OTHER = f"{NAME}1", f"{NAME}2"


def job(state: str, *, epoch: int = 2, succeeded: int | None = None, output: str = "", **more: Any) -> Job:
    """A job in *state*, posted in *epoch*."""
    labels = job_labels(batch_id="b", part=0, epoch=epoch, nonce="n", fingerprint="f")
    counts = Counts(succeeded=succeeded)
    return Job(name=OURS, state=f"JOB_STATE_{state}", labels=labels, counts=counts, output_uri=output, **more)


def ledger(state: str, names: str | None = None, *, epoch: int = 2, since: int = 2) -> Ledger:
    """A ledger in *state*."""
    return Ledger(
        state=state,  # type: ignore[arg-type]
        epoch=epoch,
        since=since,
        nonce="n",
        owner="o",
        fingerprint="f",
        input_uri="gs://b/i",
        destination_uri="gs://b/o",
        job_name=names,
    )


RUNNING = [
    (None, "orphan"),
    (ledger("SUBMITTED", OURS), None),
    (ledger("CANCELLING", OURS), None),
    (ledger("CANCELLED", OURS), None),
    (ledger("LOADED", OURS), None),
    (ledger("SUBMITTED", OTHER), "orphan"),
    (ledger("LOADED", OTHER), "orphan"),
    (ledger("CANCELLED", OTHER), "orphan"),
    # A submit that is under way, or died, may adopt every job of the present purchase.
    (ledger("INTENT"), "unsettled"),
    (ledger("FENCING", epoch=3), "unsettled"),
    (ledger("FENCED", epoch=3), "unsettled"),
    (ledger("INTENT", epoch=4, since=3), "orphan"),
    (ledger("REFUSED"), "orphan"),
]


@pytest.mark.parametrize("state", ["QUEUED", "PENDING", "RUNNING", "PAUSED", "UNHEARD_OF"])
@pytest.mark.parametrize(("said", "kind"), RUNNING)
def test_a_job_runs_for_whoever_the_ledger_says(state: str, said: Ledger | None, kind: str | None) -> None:
    """An orphan is one that no submit will ever adopt, so that cancelling it takes nothing from anybody."""
    found = suspect(job(state), said)
    assert (found.kind if found else None) == kind
    if found:
        assert found.why
        assert THEN[found.kind]


def test_a_job_that_is_being_cancelled_has_been_seen_to() -> None:
    """By whomever."""
    assert suspect(job("CANCELLING"), None) is None


OVER = [
    (None, "unlanded"),
    (ledger("LOADED", OURS), None),
    (ledger("SUBMITTED", OURS), "unlanded"),
    (ledger("CANCELLED", OURS), "unlanded"),
    (ledger("SUBMITTED", OTHER), "unlanded"),
    (ledger("INTENT"), "unlanded"),
    # An earlier purchase was landed or given up before the next one was made.
    (ledger("SUBMITTED", OTHER, epoch=3, since=3), None),
    (ledger("LOADED", OTHER, epoch=3, since=3), None),
]


@pytest.mark.parametrize("state", ["SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"])
@pytest.mark.parametrize(("said", "kind"), OVER)
def test_answers_that_were_paid_for_belong_into_a_table(
    state: str, said: Ledger | None, kind: str | None
) -> None:
    """However the job ended."""
    found = suspect(job(state, succeeded=5), said)
    assert (found.kind if found else None) == kind


@pytest.mark.parametrize(
    ("state", "succeeded", "output", "expected"),
    [
        ("SUCCEEDED", 3, "", True),
        ("SUCCEEDED", None, "", True),
        ("SUCCEEDED", 0, "gs://b/o", False),
        ("FAILED", 1, "gs://b/o", True),
        ("FAILED", None, "", False),
        ("FAILED", None, "gs://b/o", None),
        ("CANCELLED", None, "gs://b/o", None),
        ("EXPIRED", None, "gs://b/o", None),
        ("EXPIRED", None, "", False),
    ],
)
def test_a_job_has_answers_or_not_or_does_not_say(
    state: str, succeeded: int | None, output: str, expected: bool | None
) -> None:
    """One that answered nothing is no loss, whoever owns it."""
    ended = job(state, succeeded=succeeded, output=output)
    assert has_answers(ended) is expected
    assert (suspect(ended, None) is not None) == (expected is not False)
    assert (unknown(ended, "its ledger is garbled") is not None) == (expected is not False)


@pytest.mark.parametrize("state", sorted(STATES))
def test_no_state_is_without_a_verdict(state: str) -> None:
    """All of Google's."""
    one = job(state.removeprefix("JOB_STATE_"), succeeded=1)
    assert suspect(one, ledger("LOADED", OURS)) is None
    assert unknown(one, "why") is not None


@pytest.mark.parametrize(
    ("made", "settled"),
    [
        (job("RUNNING", create_time=100.0), False),
        (job("RUNNING", create_time=40.0), True),
        (job("SUCCEEDED", create_time=0.0, end_time=100.0), False),
        (job("SUCCEEDED", create_time=0.0, end_time=40.0), True),
        (job("SUCCEEDED"), True),
    ],
)
def test_what_is_young_may_still_be_come_for(made: Job, settled: bool) -> None:
    """A live job since it was made, an ended one since its end."""
    assert is_settled(made, now=160.0, minutes=2) is settled


IDENTITY = Identity(dag_id="dag", run_id="scheduled__2026-11-29T00:00:00+00:00", task_id="group.prepare")


def labelled(identity: Identity, **labels: str) -> Job:
    """A job of the third part of a batch."""
    ours = job_labels(batch_id=identity.batch_id, part=2, epoch=1, nonce="n", fingerprint="f")
    return Job(name=OURS, state="JOB_STATE_RUNNING", labels=ours | labels)


@pytest.mark.parametrize("index", [-1, 0, 17])
def test_a_workspace_tells_whose_the_job_is(index: int) -> None:
    """DAG, run, task and map index, and they are those that the batch is named after."""
    identity = replace(IDENTITY, map_index=index)
    workspace = Workspace(identity.workspace(GcsUri.parse("gs://bucket/a/b")))
    found = origin_of(labelled(identity), workspace.ledger(2))
    assert (found.identity, found.workspace) == (identity, workspace)
    assert (found.batch_id, found.part) == (identity.batch_id, 2)


@pytest.mark.parametrize(
    "identity",
    [
        replace(IDENTITY, run_id="by hand/at night"),  # no path holds it: written otherwise there
        replace(IDENTITY, dag_id="other"),
    ],
)
def test_nobody_is_named_whom_the_batch_does_not_prove(identity: Identity) -> None:
    """A guess would send somebody to the wrong DAG."""
    place = replace(identity, dag_id="dag").workspace(GcsUri.parse("gs://bucket/a"))
    found = origin_of(labelled(identity), Workspace(place).ledger(2))
    assert found.identity is None
    assert found.batch_id == identity.batch_id


@pytest.mark.parametrize("labels", [{}, {"gemini_batch": "7", "gemini_part": "x"}, {"gemini_part": "pp"}])
def test_labels_of_somebody_else_tell_nothing(labels: dict[str, str]) -> None:
    """And are no error."""
    found = origin_of(Job(name=OURS, state="JOB_STATE_RUNNING", labels=labels), None)
    assert (found.batch_id, found.part, found.workspace, found.identity) == (None, None, None, None)


def test_a_ledger_in_a_strange_place_tells_nothing() -> None:
    """As one that somebody moved."""
    assert origin_of(labelled(IDENTITY), GcsUri.parse("gs://bucket/ledger.json")).workspace is None
