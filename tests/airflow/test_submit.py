"""GeminiBatchSubmitOperator against the local cloud: attempts die, race and repeat, and one job is paid."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from email.utils import format_datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from job_side import Prepared, context, in_tables, prepare

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    JobLostError,
    NothingPaidError,
    OwnershipLostError,
    PaymentUnknownError,
    RefusedForNowError,
    ServiceError,
    SourceError,
    SubmitRefusedError,
)
from airflow_batch_gemini.hooks import _vertex
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.local.bigquery import Column
from airflow_batch_gemini.operators._outputs import JobOutputs
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud


@pytest.fixture
def batch(bucket: str) -> Iterator[Prepared]:
    """A prepared batch of one part."""
    prepared = prepare(bucket)
    yield prepared
    prepared.close()


def operator(prepared: Prepared, **options: Any) -> GeminiBatchSubmitOperator:
    """A new process's operator."""
    values = {"task_id": "submit", "batch": prepared.ref.to_dict(), "settle_seconds": 0, **options}
    return GeminiBatchSubmitOperator(**values)


class Killed(BaseException):
    """SIGKILL: nothing catches it."""


def killed_while(
    prepared: Prepared, where: type, method: str, when: Callable[..., bool]
) -> list[dict[str, Any]]:
    """Attempt 1 dies on entering *method*; return the arguments of the calls it died in."""
    original, calls = getattr(where, method), []

    def dying(self: Any, *args: Any, **options: Any) -> Any:
        if when(*args):
            calls.append(options)
            raise Killed
        return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, method, dying)
        attempt = operator(prepared)
        with pytest.raises(Killed):
            attempt.execute(context(1))
    return calls


def test_an_attempt_killed_after_the_post_is_followed_by_one_that_adopts(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """One job, one billed row, and the second attempt owns it."""
    killed_while(batch, WorkspaceHook, "write", lambda _uri, data: b'"SUBMITTED"' in data)
    assert batch.ledger().state == "INTENT"
    second = context(2)
    job_name = operator(batch).execute(second)
    [job] = batch.jobs()
    assert job.name == job_name == batch.ledger().job_name
    assert second["ti"].pushed == {"job_name": job_name}
    assert batch.ledger().owner == str(second["ti"].id)
    cloud.settle()
    assert cloud.stats()["jobs"][job_name]["billed_rows"] == 1


def test_an_attempt_killed_before_the_post_is_fenced_off_and_followed_by_one_that_posts(
    batch: Prepared,
) -> None:
    """Its input is gone, so that its job would die at import; the next epoch pays."""
    killed_while(batch, GeminiBatchHook, "create", lambda: True)
    [fenced] = batch.inputs()
    job_name = operator(batch).execute(context(2))
    [job] = batch.jobs()
    assert job.name == job_name
    assert batch.ledger().epoch == 2
    assert batch.inputs() == [job.input_uri] != [fenced]


def test_a_job_whose_input_was_fenced_off_dies_at_import_unbilled(batch: Prepared, cloud: LocalCloud) -> None:
    """The late post of a zombie costs nothing."""
    late = killed_while(batch, GeminiBatchHook, "create", lambda: True)
    job_name = operator(batch).execute(context(2))
    zombie = batch.vertex.create(**late[0])
    cloud.settle()
    jobs = cloud.stats()["jobs"]
    assert batch.vertex.get(zombie.name).state == "JOB_STATE_FAILED"
    assert jobs[job_name]["billed_rows"] == 1
    assert jobs.get(zombie.name, {"billed_rows": 0})["billed_rows"] == 0


def test_a_lost_answer_is_resolved_by_the_labels(batch: Prepared, cloud: LocalCloud) -> None:
    """One post, and its job is found."""
    cloud.knobs(answer_lost_after_commit=1)
    job_name = operator(batch).execute(context())
    assert [job.name for job in batch.jobs()] == [job_name]


def test_a_lost_answer_under_a_listing_that_lags_is_waited_for_without_a_worker(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """A deferral of at least the settle time; the resumed attempt finds the job."""
    cloud.knobs(answer_lost_after_commit=1, listing_lag_seconds=1000)
    first = operator(batch, settle_seconds=60)
    with pytest.raises(TaskDeferred) as deferred:
        first.execute(context())
    assert deferred.value.method_name == "resume"
    moment = deferred.value.trigger.serialize()[1]["moment"]
    assert 40 < (moment - dt.datetime.now(dt.UTC)).total_seconds() <= 61
    cloud.knobs(listing_lag_seconds=0)
    job_name = operator(batch, settle_seconds=60).resume(context(), event={"x": 1})
    assert [job.name for job in batch.jobs()] == [job_name]


def test_a_human_is_asked_for_when_wanted(batch: Prepared, cloud: LocalCloud) -> None:
    """on_ambiguous="fail" posts nothing again."""
    cloud.knobs(answer_lost_after_commit=1, listing_lag_seconds=1000)
    with pytest.raises(PaymentUnknownError, match="look in the console"):
        operator(batch, on_ambiguous="fail").execute(context())
    cloud.knobs(listing_lag_seconds=0)
    assert len(batch.jobs()) == 1


def test_a_finished_job_is_adopted_and_a_loaded_one_bought_anew_only_on_demand(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """on_finished."""
    first = operator(batch).execute(context(1))
    cloud.settle()
    assert operator(batch).execute(context(2)) == first
    assert operator(batch, on_finished="rerun").execute(context(3)) == first
    batch.write_ledger(batch.ledger().loaded())
    assert operator(batch).execute(context(4)) == first
    second = operator(batch, on_finished="rerun").execute(context(5))
    assert {job.name for job in batch.jobs()} == {first, second}
    assert operator(batch, on_finished="rerun").execute(context(6)) == second


def test_changed_requests_cancel_the_job_that_still_runs(batch: Prepared, cloud: LocalCloud) -> None:
    """And buy a new one."""
    cloud.knobs(pace="looks:1000")
    old = operator(batch).execute(context(1))
    changed = batch.changed()
    new = operator(changed).execute(context(2))
    assert new != old
    assert batch.vertex.get(old).state in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert not batch.vertex.get(new).ended
    batch.vertex.cancel(new)


def test_a_refused_job_fails_at_once_and_a_corrected_one_needs_no_waiting(batch: Prepared) -> None:
    """4xx is definite."""
    wrong = batch.changed()
    wrong.manifest = type(wrong.manifest).from_json(
        wrong.manifest.to_json().replace(b"gemini-2.5-flash", b"gemini-0.1-nope")
    )
    wrong.storage.write(wrong.folder.manifest, wrong.manifest.to_json())
    with pytest.raises(SubmitRefusedError) as caught:
        operator(wrong, settle_seconds=1000).execute(context(1))
    assert isinstance(caught.value, AirflowFailException)
    assert batch.ledger().state == "REFUSED"
    batch.storage.write(batch.folder.manifest, batch.manifest.to_json())
    assert operator(batch, settle_seconds=1000).execute(context(2)) == batch.ledger().job_name


def test_what_stops_a_job_before_it_is_sent_is_written_down_as_nothing_paid(batch: Prepared) -> None:
    """The corrected attempt posts at once; there is nothing to look for or to wait for."""
    with pytest.raises(ConfigurationError, match="display name"):
        operator(batch, settle_seconds=1000, display_name=" ").execute(context(1))
    assert batch.ledger().state == "REFUSED"
    assert operator(batch, settle_seconds=1000).execute(context(2)) == batch.ledger().job_name
    assert len(batch.jobs()) == 1


def test_quota_is_waited_for_by_deferral_a_few_times_and_then_the_task_fails(
    batch: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30, 60, 120, 240 seconds; an Airflow retry begins anew."""

    def no_room(*_: Any, **__: Any) -> None:
        raise RefusedForNowError("no room", http_status=429)

    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "create", no_room)
        pauses = []
        for _ in range(4):
            with pytest.raises(TaskDeferred) as deferred:
                operator(batch).resume(context(1))
            moment = deferred.value.trigger.serialize()[1]["moment"]
            pauses.append(round((moment - dt.datetime.now(dt.UTC)).total_seconds() / 10) * 10)
        assert pauses == [30, 60, 120, 240]
        with pytest.raises(ServiceError, match="no room"):
            operator(batch).resume(context(1))
        with pytest.raises(TaskDeferred):
            operator(batch).execute(context(2))
    assert operator(batch).resume(context(2)) == batch.ledger().job_name
    assert len(batch.jobs()) == 1


def test_a_refusal_that_says_when_to_come_back_is_not_asked_again_sooner(
    batch: Prepared, cloud: LocalCloud
) -> None:
    """Retry-After is a lower bound of the pause; the own pauses are one, too."""
    cloud.knobs(http_429_rate=1, fault_routes="^POST .*batchPredictionJobs$", retry_after_seconds=45)
    pauses = []
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            operator(batch).execute(context(1))
        moment = deferred.value.trigger.serialize()[1]["moment"]
        pauses.append((moment - dt.datetime.now(dt.UTC)).total_seconds())
        assert batch.ledger().state == "REFUSED"
    assert pauses == [pytest.approx(45, abs=5), pytest.approx(60, abs=5)]
    cloud.knobs(http_429_rate=0)
    assert operator(batch).resume(context(1)) == batch.ledger().job_name
    assert len(batch.jobs()) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("999999", 3600),
        ("soon", 0),
        ("-5", 0),
        ("²", 0),
        (None, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_how_a_refusal_says_when_to_come_back(value: str | None, seconds: float) -> None:
    """Seconds or a date; nonsense says nothing, and nobody is sent away for more than an hour."""

    headers = {} if value is None else {"Retry-After": value}
    assert _vertex._retry_after(SimpleNamespace(headers=headers)) == seconds
    assert _vertex._retry_after(None) == 0


def test_a_refusal_may_name_the_moment_to_come_back() -> None:
    """RFC 9110 has both forms."""
    moment = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3000), usegmt=True)
    answer = SimpleNamespace(headers={"Retry-After": moment})
    assert _vertex._retry_after(answer) == pytest.approx(3000, abs=120)


def test_a_storage_failure_is_no_reason_to_post(batch: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is not absent."""

    def broken(*_: Any) -> None:
        raise ServiceError("storage is down", http_status=503)

    monkeypatch.setattr(WorkspaceHook, "read", broken)
    with pytest.raises(ServiceError, match="storage is down"):
        operator(batch).execute(context())
    assert batch.jobs() == ()


def test_told_to_stop_it_posts_nothing(batch: Prepared) -> None:
    """SIGTERM sets a flag; execute goes on and sees it."""
    killed = operator(batch)
    killed.on_kill()
    with pytest.raises(NothingPaidError):
        killed.execute(context())
    assert batch.jobs() == ()


def test_an_older_attempt_stops(batch: Prepared) -> None:
    """No retry helps it."""
    operator(batch).execute(context(2))
    with pytest.raises(OwnershipLostError):
        operator(batch).execute(context(1))


def test_a_job_that_was_deleted_is_not_bought_again_unasked(batch: Prepared, cloud: LocalCloud) -> None:
    """It was paid for."""
    job_name = operator(batch).execute(context(1))
    cloud.settle()
    batch.vertex.delete(job_name)
    with pytest.raises(JobLostError):
        operator(batch).execute(context(2))


class Store(dict[str, Any]):
    """A task_state_store."""

    broken = False

    def set(self, key: str, value: Any) -> None:
        if self.broken:
            raise RuntimeError("no such table")
        self[key] = value


def test_the_jobs_name_is_mirrored_for_people_and_a_broken_mirror_breaks_nothing(batch: Prepared) -> None:
    """task_state_store decides nothing."""
    store = Store()
    job_name = operator(batch).execute(context(1, task_state_store=store))
    assert store == {"gemini_batch_job": job_name}
    store.broken = True
    assert operator(batch).execute(context(2, task_state_store=store)) == job_name


def test_display_name_and_labels_reach_the_job(batch: Prepared) -> None:
    """The default names DAG, task, part and run."""
    name = operator(batch, labels={"team": "search"}, display_name="mine").execute(context())
    job = batch.vertex.get(name)
    assert (job.display_name, job.labels["team"]) == ("mine", "search")


def test_digits_that_airflow_rendered_to_numbers_are_the_text_they_were(batch: Prepared) -> None:
    """As a DAG with ``render_template_as_native_obj`` does to ``"{{ ds_nodash }}"`` and ``"4711"``."""
    name = operator(batch, display_name=20261129, labels={"team": 4711}).execute(context())
    job = batch.vertex.get(name)
    assert (job.display_name, job.labels["team"]) == ("20261129", "4711")


def test_by_default_the_display_name_says_where_the_job_comes_from(batch: Prepared) -> None:
    """In the console's list."""
    name = operator(batch).execute(context())
    assert batch.vertex.get(name).display_name.startswith("dag prepare part 0 run-")


def test_a_batch_of_several_parts_wants_to_be_mapped(bucket: str, cloud: LocalCloud) -> None:
    """So that no part is forgotten; each part has its own job."""
    batch = prepare(bucket, parts=2)
    with pytest.raises(ConfigurationError, match="map over them"):
        operator(batch).execute(context())
    with pytest.raises(ConfigurationError, match="none of the batch's 2 parts"):
        operator(batch, part=2).execute(context())
    names = {operator(batch, part=part).execute(context()) for part in (0, "1")}
    assert {job.name for job in batch.jobs()} == names
    assert len(names) == 2
    batch.close()


def test_a_workspace_without_the_batch_is_refused(batch: Prepared) -> None:
    """A killed preparation leaves no manifest; another batch in the same place is another batch."""
    other = batch.ref.to_dict() | {"batch_id": "0" * 32}
    with pytest.raises(SourceError, match="holds batch"):
        operator(batch, batch=other).execute(context())
    batch.storage.delete(batch.folder.manifest)
    with pytest.raises(SourceError, match="holds no manifest"):
        operator(batch).execute(context())
    with pytest.raises(SourceError, match="batch= wants"):
        operator(batch, batch="text").execute(context())


@pytest.fixture
def tables(batch: Prepared, dataset: str, cloud: LocalCloud) -> Prepared:
    """A batch whose requests and predictions are BigQuery tables."""
    return in_tables(batch, dataset, cloud)


def test_a_table_is_cloned_for_its_job_and_the_clone_of_a_dead_attempt_is_dropped(
    tables: Prepared, dataset: str, cloud: LocalCloud
) -> None:
    """The same fence: a zombie's job finds no input, and the source is left alone."""
    late = killed_while(tables, GeminiBatchHook, "create", lambda: True)
    job_name = operator(tables).execute(context(2))
    zombie = tables.vertex.create(**late[0])
    cloud.settle()
    job = tables.vertex.get(job_name)
    assert (job.state, job.counts.succeeded) == ("JOB_STATE_SUCCEEDED", 1)
    assert tables.vertex.get(zombie.name).state == "JOB_STATE_FAILED"
    exists = partial(cloud.parts.warehouse.table_exists, *dataset.split("."))
    clone, dropped = job.input_uri.rpartition(".")[2], late[0]["source_uri"].rpartition(".")[2]
    assert (exists(clone), exists(dropped), clone != dropped) == (True, False, True)
    assert tables.ledger().destination_uri == job.output_uri
    assert job.output_uri.endswith("_00000_e2")
    with closing(WarehouseHook()) as warehouse:
        expires = warehouse.client("demo").get_table(job.input_uri.removeprefix("bq://")).expires
    assert expires is not None
    assert (expires - dt.datetime.now(tz=dt.UTC)).days == 29


def outputs(storage: WorkspaceHook) -> JobOutputs:
    return JobOutputs(
        project_id="demo", workspace=storage, gcp_conn_id="google_cloud_default", impersonation_chain=None
    )


def test_a_job_that_failed_half_way_without_counts_is_adopted_with_what_it_answered(
    batch: Prepared, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers lie in its folder and were paid for."""
    first = operator(batch).execute(context(1))
    cloud.settle()
    original = GeminiBatchHook.get

    def failed(self: GeminiBatchHook, name: str) -> Job:
        return replace(original(self, name), state="JOB_STATE_FAILED", counts=Counts())

    monkeypatch.setattr(GeminiBatchHook, "get", failed)
    seen = batch.vertex.get(first)
    assert operator(batch).execute(context(2)) == first
    for info in batch.storage.list(GcsUri.parse(seen.output_uri)):
        batch.storage.delete(GcsUri.parse(info.uri))
    assert operator(batch).execute(context(3)) != first


def test_a_row_in_a_dead_jobs_table_is_an_answer_and_a_table_that_is_not_there_is_none(
    batch: Prepared, dataset: str, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that BigQuery does not answer leaves it open: nothing is bought then."""
    asked = outputs(batch.storage)
    project, name = dataset.split(".")
    columns = [Column(name="key", type="STRING", mode="NULLABLE")]
    assert not asked.any_answer(f"bq://{dataset}.answers")
    cloud.parts.warehouse.write_table(project, name, "answers", columns, [])
    assert not asked.any_answer(f"bq://{dataset}.answers")
    cloud.parts.warehouse.write_table(project, name, "answers", columns, [{"key": "k_1"}])
    assert asked.any_answer(f"bq://{dataset}.answers")

    def broken(*_: Any, **__: Any) -> None:
        raise SourceError("403")

    monkeypatch.setattr(WarehouseHook, "query_rows", broken)
    with pytest.raises(ServiceError, match="is not known"):
        asked.any_answer(f"bq://{dataset}.answers")


@pytest.mark.parametrize(
    "options", [{"on_finished": "ignore"}, {"on_ambiguous": "hope"}, {"settle_seconds": -1}]
)
def test_options_are_checked_when_the_dag_is_parsed(options: dict[str, Any]) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError):
        GeminiBatchSubmitOperator(task_id="submit", batch={}, **options)


def test_rendered_fields_hold_names_only() -> None:
    """And everything that names things is templated."""
    fields = {"batch", "part", "display_name", "labels", "gcp_conn_id", "impersonation_chain"}
    assert set(GeminiBatchSubmitOperator.template_fields) == fields
