"""GeminiBatchCancelOperator: what runs is asked to stop, what is over is fine, and the ledger says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from job_side import Prepared, context, prepare

from airflow_batch_gemini.exceptions import ConfigurationError, InvalidNameError, ServiceError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

UNKNOWN = "projects/demo/locations/us-central1/batchPredictionJobs/77"


@pytest.fixture
def batch(bucket: str) -> Iterator[Prepared]:
    """A prepared batch of three parts."""
    prepared = prepare(bucket, parts=3)
    yield prepared
    prepared.close()


def submit(batch: Prepared, part: int = 0, *, attempt: int = 1) -> str:
    operator = GeminiBatchSubmitOperator(
        task_id="submit", batch=batch.ref.to_dict(), part=part, settle_seconds=0
    )
    return operator.execute(context(attempt))


def cancel(**options: Any) -> dict[str, str]:
    return GeminiBatchCancelOperator(task_id="cancel", **options).execute(context(9))


def test_named_jobs_are_asked_to_stop_and_those_over_or_gone_are_fine(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """One name or several."""
    ended = submit(batch, 0)
    cloud.settle()
    cloud.knobs(pace="looks:1000")
    live = submit(batch, 1)
    assert cancel(job_name=[live, None, ended, UNKNOWN]) == {live: "asked", ended: "ended", UNKNOWN: "gone"}
    assert batch.vertex.get(live).state in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert cancel(job_name=ended) == {ended: "ended"}


def test_the_live_jobs_of_a_batch_are_cancelled_and_the_ledgers_say_so(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """Ended parts and parts without a job are left alone."""
    ended = submit(batch, 0)
    cloud.settle()
    cloud.knobs(pace="looks:1000")
    live = submit(batch, 1)
    assert cancel(batch=batch.ref.to_dict()) == {ended: "ended", live: "asked"}
    assert [batch.ledger(part).state for part in (0, 1)] == ["SUBMITTED", "CANCELLED"]
    assert batch.storage.stat(batch.folder.ledger(2)) is None


def test_after_a_cancellation_the_next_submit_waits_for_its_end_and_buys_anew(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """It was given up on purpose."""
    cloud.knobs(pace="looks:2")
    old = submit(batch)
    cancel(batch=batch.ref.to_dict())
    while not batch.vertex.get(old).ended:
        pass
    new = submit(batch, attempt=2)
    assert new != old
    assert (batch.ledger().state, batch.ledger().job_name) == ("SUBMITTED", new)


def test_a_cancelled_job_that_succeeded_after_all_is_adopted(batch: Prepared, cloud: LocalCloud) -> None:
    """It was paid for in full."""
    cloud.knobs(pace="looks:2", cancel_outcome="SUCCEEDED")
    old = submit(batch)
    cancel(batch=batch.ref.to_dict())
    while not batch.vertex.get(old).ended:
        pass
    assert submit(batch, attempt=2) == old


def test_a_cancellation_that_died_half_way_is_taken_up_again(batch: Prepared, cloud: LocalCloud) -> None:
    """The ledger says CANCELLING, and nobody asked Vertex AI yet."""
    cloud.knobs(pace="looks:1000")
    live = submit(batch)
    batch.write_ledger(batch.ledger().cancelling())
    assert cancel(batch=batch.ref.to_dict()) == {live: "asked"}
    assert batch.ledger().state == "CANCELLED"


def test_a_job_that_ends_just_before_it_is_asked_keeps_its_ledger(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next submit may adopt it."""
    cloud.knobs(pace="looks:1000")
    live = submit(batch)
    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "cancel", lambda _self, _name: "ended")
        assert cancel(batch=batch.ref.to_dict()) == {live: "ended"}
    assert batch.ledger().state == "SUBMITTED"
    cancel(job_name=live)


def test_a_paused_job_is_cancelled_as_it_could_be_resumed(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends a wait, but it is not over."""
    cloud.knobs(pace="looks:1000")
    live = submit(batch)
    look = GeminiBatchHook.get
    with monkeypatch.context() as patch:
        patch.setattr(
            GeminiBatchHook, "get", lambda self, name: replace(look(self, name), state="JOB_STATE_PAUSED")
        )
        assert cancel(batch=batch.ref.to_dict()) == {live: "asked"}
    assert batch.ledger().state == "CANCELLED"


def test_a_job_that_was_deleted_is_gone(batch: Prepared, cloud: LocalCloud) -> None:
    """Not an error in a teardown."""
    job_name = submit(batch)
    cloud.settle()
    batch.vertex.delete(job_name)
    assert cancel(batch=batch.ref.to_dict()) == {job_name: "gone"}


def unanswered(batch: Prepared, part: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job whose creation nobody was told of: its submit was killed on the way. Return its name."""
    made: list[str] = []
    create = GeminiBatchHook.create

    def lost(self: GeminiBatchHook, **request: Any) -> None:
        made.append(create(self, **request).name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "create", lost)
        with pytest.raises(KeyboardInterrupt):
            submit(batch, part)
    return made[0]


def test_a_job_that_no_ledger_knows_is_found_by_its_labels(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to its creation was lost; the next submit sees that it is over."""
    cloud.knobs(pace="looks:2")
    stray = unanswered(batch, 1, monkeypatch)
    assert batch.ledger(1).state == "INTENT"
    one = batch.ref.to_dict() | {"part": 0}
    assert cancel(batch=one) == {}
    assert cancel(batch=batch.ref.to_dict()) == {stray: "asked"}
    while not batch.vertex.get(stray).ended:
        pass
    new = submit(batch, 1, attempt=2)
    assert new != stray
    assert batch.ledger(1).job_name == new


def test_without_a_manifest_the_ledgers_are_gone_by_alone(batch: Prepared, cloud: LocalCloud) -> None:
    """A prepare that was cleared and killed: nobody knows where to list."""
    cloud.knobs(pace="looks:1000")
    live = submit(batch)
    batch.storage.delete(batch.folder.manifest)
    assert cancel(batch=batch.ref.to_dict()) == {live: "asked"}


def test_a_landed_batch_has_nothing_to_cancel(
    batch: Prepared, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """LOADED is the end; a log without a word would leave a reader wondering."""
    submit(batch)
    cloud.settle()
    batch.write_ledger(batch.ledger().loaded())
    assert cancel(batch=batch.ref.to_dict()) == {}
    assert "No job is left to cancel." in capsys.readouterr().out + caplog.text


def test_one_that_cannot_be_asked_does_not_stop_the_others(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are asked, then the task fails."""
    cloud.knobs(pace="looks:1000")
    names = [submit(batch, part) for part in (0, 1)]
    original = GeminiBatchHook.cancel

    def refuse(self: GeminiBatchHook, job_name: str) -> Any:
        if job_name == names[0]:
            raise ServiceError("no permission", http_status=403)
        return original(self, job_name)

    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "cancel", refuse)
        with pytest.raises(ServiceError, match="1 jobs could not be cancelled and may run on, 1 could"):
            cancel(job_name=names)
    assert not batch.vertex.get(names[0]).ended
    assert cancel(job_name=names)[names[0]] == "asked"


def test_a_ledger_that_cannot_be_read_does_not_stop_the_others(batch: Prepared, cloud: LocalCloud) -> None:
    """The job of the part behind it runs and costs."""
    cloud.knobs(pace="looks:1000")
    live = submit(batch, 1)
    batch.storage.write(batch.folder.ledger(0), b"{broken")
    with pytest.raises(
        ServiceError, match=r"1 jobs could not be cancelled and may run on, 1 could.*cannot be read"
    ):
        cancel(batch=batch.ref.to_dict())
    assert batch.vertex.get(live).state in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert batch.ledger(1).state == "CANCELLED"


def test_a_ledger_that_somebody_else_changes_meanwhile_is_left_to_them(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job as well."""
    cloud.knobs(pace="looks:1000")
    live = submit(batch)
    original = GeminiBatchHook.get

    def race(self: GeminiBatchHook, job_name: str) -> Any:
        patch.setattr(GeminiBatchHook, "get", original)
        submit(batch, attempt=5)
        return original(self, job_name)

    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "get", race)
        with pytest.raises(ServiceError, match="Somebody else changed"):
            cancel(batch=batch.ref.to_dict())
    assert batch.ledger().state == "SUBMITTED"
    assert batch.vertex.cancel(live) == "asked"


@pytest.mark.parametrize("options", [{}, {"job_name": UNKNOWN, "batch": {}}])
def test_it_wants_either_jobs_or_a_batch(options: dict[str, Any]) -> None:
    """When the DAG is parsed."""
    with pytest.raises(ConfigurationError):
        GeminiBatchCancelOperator(task_id="cancel", **options)


def test_a_name_that_is_no_job_name_is_refused_before_any_is_cancelled(cloud: LocalCloud) -> None:
    """All names are read first."""
    with pytest.raises(InvalidNameError):
        cancel(job_name=[UNKNOWN, "x"])
