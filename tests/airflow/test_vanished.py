"""A batch prepared anew with fewer parts: what was bought for the others is given up, once and by its owner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from job_side import Prepared, context, prepare

from airflow_batch_gemini.exceptions import OwnershipLostError, ServiceError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.ledger import LedgerState
    from airflow_batch_gemini.local.server import LocalCloud


@pytest.fixture
def batch(bucket: str, cloud: LocalCloud) -> Iterator[Prepared]:
    """A batch of two parts whose jobs do not end by themselves."""
    cloud.knobs(pace="seconds:3600")
    prepared = prepare(bucket, parts=2)
    yield prepared
    prepared.close()


def submit(batch: Prepared, part: int, number: int) -> str:
    """Attempt *number* to submit *part*."""
    operator = GeminiBatchSubmitOperator(
        task_id="submit", batch=batch.ref.to_dict(), part=part, settle_seconds=0
    )
    return operator.execute(context(number))


def shrunk(batch: Prepared) -> Prepared:
    """The same batch prepared anew, its rows now fit one part."""
    fewer = replace(batch, manifest=replace(batch.manifest, parts=batch.manifest.parts[:1]))
    fewer.storage.write(fewer.folder.manifest, fewer.manifest.to_json())
    return fewer


def owner(number: int) -> str:
    """The id of attempt *number*."""
    return str(context(number)["ti"].id)


def test_the_job_of_a_vanished_part_is_cancelled_and_the_remaining_one_is_adopted(batch: Prepared) -> None:
    """Nobody would load its answers; the first part asks for the same as before."""
    kept, vanished = submit(batch, 0, 1), submit(batch, 1, 2)
    assert submit(shrunk(batch), 0, 3) == kept
    assert batch.vertex.get(vanished).state in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert batch.vertex.get(kept).state not in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert (batch.ledger(1).state, batch.ledger(1).owner) == ("CANCELLED", owner(3))


def test_an_older_attempt_of_a_vanished_part_that_wakes_up_buys_nothing(
    batch: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the manifest of before, finds its job cancelled, and would buy it anew if the ledger were its own."""
    submit(batch, 1, 2)
    submit(shrunk(batch), 0, 3)
    monkeypatch.setattr(GeminiBatchSubmitOperator, "_manifest", lambda *_: batch.manifest)
    with pytest.raises(OwnershipLostError):
        submit(batch, 1, 2)
    assert len(batch.jobs()) == 2


def test_an_outstanding_post_of_a_vanished_part_is_fenced_off_and_its_job_found_by_labels(
    batch: Prepared,
) -> None:
    """The attempt died between intent and answer: its job exists, and no ledger names it."""
    submit(batch, 1, 2)
    [lost] = batch.jobs()
    intent = replace(batch.ledger(1), state="INTENT", job_name=None)
    batch.write_ledger(intent, part=1)
    submit(shrunk(batch), 0, 3)
    assert batch.vertex.get(lost.name).state in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert (batch.ledger(1).state, batch.ledger(1).owner) == ("FENCED", owner(3))
    assert intent.input_uri not in batch.inputs()


@pytest.mark.parametrize("state", ["REFUSED", "FENCED"])
def test_where_nothing_runs_only_the_ledger_changes_hands(batch: Prepared, state: LedgerState) -> None:
    """An older attempt would post next; it gives way instead."""
    submit(batch, 1, 2)
    batch.write_ledger(replace(batch.ledger(1), state=state, job_name=None), part=1)
    submit(shrunk(batch), 0, 3)
    assert (batch.ledger(1).state, batch.ledger(1).owner) == (state, owner(3))


@pytest.mark.parametrize("change", ["newer", "loaded"])
def test_what_is_newer_or_loaded_is_left_alone(batch: Prepared, change: str) -> None:
    """A batch that has the part again belongs to a later preparation; loaded answers are nobody's waste."""
    job_name = submit(batch, 1, 4 if change == "newer" else 2)
    if change == "loaded":
        batch.write_ledger(batch.ledger(1).loaded(), part=1)
    before = batch.ledger(1)
    submit(shrunk(batch), 0, 3)
    assert batch.ledger(1) == before
    assert not batch.vertex.get(job_name).ended


def test_a_takeover_that_died_half_way_is_finished_by_the_retry(
    batch: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is bought before the old parts are given up; the retry begins there again."""
    submit(batch, 1, 2)

    def unreachable(*_: object) -> None:
        raise ServiceError("unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "cancel", unreachable)
        with pytest.raises(ServiceError, match="unreachable"):
            submit(shrunk(batch), 0, 3)
    assert len(batch.jobs()) == 1
    submit(shrunk(batch), 0, 5)
    assert (batch.ledger(1).state, batch.ledger(1).owner) == ("CANCELLED", owner(5))
    assert len(batch.jobs()) == 2


def test_a_part_that_comes_back_is_bought_anew_once_its_cancelled_job_has_ended_without_answers(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """Its ledger is taken up where it was left."""
    given_up = submit(batch, 1, 2)
    submit(shrunk(batch), 0, 3)
    cloud.knobs(pace="immediate")
    cloud.settle()
    assert batch.vertex.get(given_up).state == "JOB_STATE_CANCELLED"
    batch.storage.write(batch.folder.manifest, batch.manifest.to_json())
    assert submit(batch, 1, 6) == batch.ledger(1).job_name != given_up
    assert (batch.ledger(1).state, batch.ledger(1).epoch) == ("SUBMITTED", 2)
