"""The ledger: what it says, what it never takes for nothing."""

from __future__ import annotations

import json

import pytest

from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.exceptions import OutputError, PaymentUnknownError

JOB = "projects/p/locations/us-central1/batchPredictionJobs/7"
INTENT = Ledger(
    state="INTENT",
    epoch=2,
    since=1,
    nonce="n",
    owner="o",
    fingerprint="f",
    input_uri="gs://b/input",
    destination_uri="gs://b/out",
    fences=("gs://b/older",),
    refusals=1,
)
SUBMITTED = INTENT.submitted(owner="o", job_name=JOB, destination_uri="gs://b/out")


def test_a_ledger_is_its_bytes() -> None:
    """Written and read, it is equal, and so are the bytes."""
    for ledger in (
        INTENT,
        SUBMITTED,
        INTENT.refused(),
        SUBMITTED.loaded(),
        SUBMITTED.cancelling().cancelled(),
    ):
        assert Ledger.from_json(ledger.to_json()) == ledger
        assert Ledger.from_json(ledger.to_json()).to_json() == ledger.to_json()


def test_a_submitted_ledger_names_its_job_and_forgets_troubles() -> None:
    """One job stands for the part."""
    assert (SUBMITTED.state, SUBMITTED.job_name, SUBMITTED.fences, SUBMITTED.refusals) == (
        "SUBMITTED",
        JOB,
        (),
        0,
    )


def test_taking_over_begins_an_epoch_and_remembers_what_must_go() -> None:
    """The fences of a take-over that never finished are kept."""
    taken = INTENT.fencing(owner="p", nonce="m", fingerprint="g", since=3)
    assert (taken.state, taken.epoch, taken.owner, taken.job_name) == ("FENCING", 3, "p", None)
    assert taken.fences == ("gs://b/older", "gs://b/input")
    assert taken.fenced(owner="q").fences == ()


@pytest.mark.parametrize("change", [Ledger.loaded, Ledger.cancelling, Ledger.cancelled])
def test_what_has_no_job_can_neither_be_loaded_nor_cancelled(change: object) -> None:
    """An intent is not yet a job."""
    with pytest.raises(OutputError, match="names no job"):
        change(INTENT)  # type: ignore[operator]  # one of three methods


def broken(**changes: object) -> bytes:
    document = json.loads(SUBMITTED.to_json())
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value != "DELETE"}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"format": 1}',
        SUBMITTED.to_json()[:-5],
        broken(format=2),
        broken(format="DELETE"),
        broken(state="PAID"),
        broken(state=None),
        broken(epoch=0),
        broken(epoch="1"),
        broken(epoch=True),
        broken(since=9),
        broken(nonce=""),
        broken(owner=7),
        broken(job_name=None),
        broken(job_name="x"),
        broken(state="INTENT"),
        broken(fences=None),
        broken(unknown="x"),
        "\ufeff".encode("utf-16"),
    ],
)
def test_garbage_is_never_taken_for_nothing_paid(data: bytes) -> None:
    """A paid job may exist: no submit."""
    with pytest.raises(PaymentUnknownError, match="a paid job may exist"):
        Ledger.from_json(data)
