"""The load operator against the local BigQuery and Cloud Storage: landed once, published once, accounted for."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import TaskDeferred
from load_side import JOB, SCHEMA, World, answer, good, killed_before, simple
from outcome_corpus import CORPUS, sent

from airflow_batch_gemini.batch.columns import typed
from airflow_batch_gemini.batch.landing import JobOutcome
from airflow_batch_gemini.batch.manifest import Medium
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.outcome import Line, Outcome, Reading, read_line
from airflow_batch_gemini.batch.pricing import cost, price_of
from airflow_batch_gemini.batch.schema import shape_of
from airflow_batch_gemini.exceptions import (
    AccountingError,
    ConfigurationError,
    LandingError,
    OutputError,
    SourceError,
)
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import PreconditionLost, WorkspaceHook
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.sql.results import ERRORS, RESULTS, TAKEN
from airflow_batch_gemini.triggers.warehouse import GeminiBatchWarehouseTrigger

# ------------------------------------------------------------------------------------------------------- the main job


def test_every_row_lands_in_exactly_one_of_two_tables(world: World) -> None:
    """With everything that is known of it."""
    simple(world)
    report = world.load()
    assert world.outcomes() == {"a": "succeeded", "b": "missing", "c": "failed", "d": "succeeded"}
    first = world.rows()[0]
    assert [*first] == [column.name for column in RESULTS]
    assert [*world.rows("results_errors")[0]] == [column.name for column in ERRORS]
    loaded_at = first.pop("loaded_at")
    assert loaded_at.tzinfo is not None
    assert (first.pop("cost_usd"), first.pop("answer")) == (Decimal("0.00012"), None)
    assert first == {
        "batch_id": world.identity.batch_id,
        "key": "a",
        "text": '{"n": 1}',
        "verified": True,
        "finish_reason": "STOP",
        "model": "gemini-3.5-flash",
        "model_version": "gemini-3.5-flash-001",
        "prompt_tokens": 100,
        "cached_tokens": None,
        "output_tokens": 10,
        "thoughts_tokens": None,
        "total_tokens": 110,
        "processed_time": datetime(2026, 9, 1, 10, 0, 0, 123000, tzinfo=UTC),
        "job_name": JOB.format(1),
        "part": 0,
        "epoch": 1,
        "round": 0,
        "batch_fingerprint": world.manifest.batch_fingerprint,
        "template_fingerprint": "f",
        "template_version": None,
        "copy_of": None,
        "fingerprint": None,
        "dag_id": "shop",
        "run_id": world.identity.run_id,
        "batch_date": datetime(2026, 9, 1, tzinfo=UTC).date(),
    }
    assert report["outcomes"] == {
        "succeeded": 2, "truncated": 0, "invalid": 0, "blocked": 0, "failed": 1, "mismatched": 0,
        "missing": 1, "rejected": 0,
    }  # fmt: skip
    assert (report["rows"], report["cost_usd"]) == (4, pytest.approx(0.0002025))
    assert world.report() == report
    assert [world.ledger(part).state for part in (0, 1)] == ["LOADED", "LOADED"]


def test_a_second_load_changes_nothing(world: World) -> None:
    """Not even when the rows were loaded."""
    simple(world)
    world.load()
    before = world.rows(), world.rows("results_errors")
    world.load()
    assert (world.rows(), world.rows("results_errors")) == before


@pytest.mark.parametrize(
    ("requests", "predictions"), [("bigquery", "bigquery"), ("gcs", "bigquery"), ("bigquery", "gcs")]
)
def test_requests_and_predictions_may_lie_in_either_place(
    world: World, requests: Medium, predictions: Medium
) -> None:
    """Predictions in BigQuery are read where they are."""
    world.requests, world.predictions, world.schema = requests, predictions, SCHEMA
    world.prepare()
    world.answered(
        0, [answer("c", {}, "Internal error"), answer("a", good('{"n": 1}')), answer("b", good("no"))]
    )
    world.answered(1, [answer("d", good('{"n": 4}'))])
    world.load()
    assert world.outcomes() == {"a": "succeeded", "b": "invalid", "c": "failed", "d": "succeeded"}
    assert [row["answer"] for row in world.rows()] == [{"n": 1}, {"n": 4}]


def test_shards_and_leftovers_of_a_running_job_are_told_apart(world: World) -> None:
    """incremental_predictions come again in the final files."""
    world.answered(0, [answer(key, good(key)) for key in "abc"], shards=3)
    world.answered(1, [answer("d", good("d"))])
    assert world.load()["duplicates"] == 0
    assert set(world.outcomes().values()) == {"succeeded"}


def test_duplicate_lines_are_counted_and_do_no_harm(world: World) -> None:
    """Success wins."""
    world.answered(
        0, [answer("a", {}, "oops"), answer("a", good("1")), answer("a", good("1")), answer("b", good("2"))]
    )
    world.answered(1, [answer("d", good("d"))])
    report = world.load()
    assert report["duplicates"] == 2
    assert world.outcomes() == {"a": "succeeded", "b": "succeeded", "c": "missing", "d": "succeeded"}


def test_what_a_dead_job_answered_is_landed_and_the_rest_is_missing(world: World) -> None:
    """Cancelled, failed or expired: what was paid for is kept."""
    world.answered(0, [answer("a", good("1"))], state="JOB_STATE_CANCELLED")
    world.answered(1, None, state="JOB_STATE_FAILED")
    report = world.load()
    assert world.outcomes() == {"a": "succeeded", "b": "missing", "c": "missing", "d": "missing"}
    assert [job["state"] for job in report["jobs"]] == ["JOB_STATE_CANCELLED", "JOB_STATE_FAILED"]


def test_without_any_output_every_row_is_missing(world: World) -> None:
    """And the load still ends, with a report that says so."""
    world.answered(0, None, state="JOB_STATE_EXPIRED")
    world.answered(1, None, state="JOB_STATE_EXPIRED")
    assert world.load()["outcomes"]["missing"] == 4


def test_an_empty_output_file_is_an_output_without_answers(world: World) -> None:
    """Nothing is lost silently: the rows are missing."""
    world.answered(0, [])
    world.answered(1, [answer("d", good("d"))])
    assert world.load()["outcomes"]["missing"] == 3


def test_a_row_that_succeeds_later_leaves_the_errors_table(world: World) -> None:
    """A new job for the same batch: a key is never in both tables, and other batches are left alone."""
    simple(world)
    world.load()
    other = {**world.rows()[0], "batch_id": "other", "key": "a"}
    hook = WarehouseHook()
    list(
        hook.query_rows(
            f"INSERT INTO `{world.dataset}.results` (batch_id, key) VALUES (@batch_id, @key)",
            project="demo",
            location="us-central1",
            params={"batch_id": other["batch_id"], "key": other["key"]},
        )
    )
    hook.close()
    world.answered(0, [answer("a", good("new")), answer("c", good("3"))], epoch=2)
    world.load()
    kept = [(row["batch_id"] == "other", row["key"], row["text"]) for row in world.rows()]
    mine = [(False, "a", "new"), (False, "c", "3"), (False, "d", "four")]
    assert sorted(kept, key=str) == sorted([(True, "a", None), *mine], key=str)
    assert {row["key"]: row["outcome"] for row in world.rows("results_errors")} == {"b": "missing"}


@pytest.mark.parametrize("schema", [None, SCHEMA, {"type": "ARRAY"}, {"type": "STRING"}, {"type": "NUMBER"}])
def test_the_local_bigquery_judges_the_corpus_as_the_reference_does(
    world: World, schema: dict[str, Any] | None
) -> None:
    """The third engine beside Python and GoogleSQL's own: the whole way through landing and publish."""
    world.keys, world.schema, world.sent = [list(CORPUS)], schema, {key: sent(key) for key in CORPUS}
    world.prepare()
    world.answered(0, [{"key": f"k_{key}", **line} for key, line in CORPUS.items()])
    world.load()
    found = {row["key"]: row for row in [*world.rows(), *world.rows("results_errors")]}
    wrong = {}
    for key, line in CORPUS.items():
        read = Line(
            key=key,
            status=line.get("status"),
            processed_time=line["processed_time"],
            response=line.get("response"),
            echo=line.get("request"),
        )
        promised = typed(schema, taken=TAKEN)
        wanted = expected(read_line(read, shape_of(schema), sent(key), promised))
        if difference := {k: (found[key].get(k), v) for k, v in wanted.items() if found[key].get(k) != v}:
            wrong[key] = difference
    assert wrong == {}
    assert len(found) == len(CORPUS)


def expected(reading: Reading) -> dict[str, Any]:
    tokens = reading.tokens
    paid = cost(
        price_of("gemini-3.5-flash"),
        prompt=tokens.prompt,
        cached=tokens.cached,
        output=tokens.output,
        thoughts=tokens.thoughts,
    )
    wanted = {
        "text": reading.text,
        "verified": reading.verified,
        "finish_reason": reading.finish_reason,
        "model_version": reading.model_version,
        "prompt_tokens": tokens.prompt,
        "cached_tokens": tokens.cached,
        "output_tokens": tokens.output,
        "thoughts_tokens": tokens.thoughts,
        "total_tokens": tokens.total,
        "cost_usd": paid,
    }
    if reading.outcome is Outcome.SUCCEEDED:
        return {**wanted, **reading.values, "answer": reading.answer}
    return {
        **wanted,
        "path": reading.path,
        "outcome": reading.outcome,
        "reason": reading.reason,
        "code": reading.code,
        "status": reading.status,
        "message": reading.message,
        "retryable": reading.retryable,
    }


# ------------------------------------------------------------------------------------------------- crashes and faults


@pytest.mark.parametrize("purpose", ["requests", "predictions", "classify", "audit", "publish"])
def test_killed_before_any_step_the_next_attempt_leaves_the_same_tables(world: World, purpose: str) -> None:
    """Whatever was done is found done."""
    simple(world)
    with killed_before(purpose):
        world.load()
    world.load()
    assert world.outcomes() == {"a": "succeeded", "b": "missing", "c": "failed", "d": "succeeded"}


def test_killed_between_publish_and_report_the_next_attempt_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the report and the ledgers are still to be written."""
    simple(world)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkspaceHook, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            world.load()
    before = world.rows(), world.rows("results_errors")
    assert world.ledger(0).state == "SUBMITTED"
    report = world.load()
    assert (world.rows(), world.rows("results_errors")) == before
    assert world.report() == report
    assert world.ledger(0).state == "LOADED"


def test_landing_is_not_repeated_by_a_second_attempt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same load jobs are found done; only what a new attempt must do again is new."""
    started: list[tuple[str, int]] = []
    ensure = WarehouseHook.ensure_job

    def seen(self: WarehouseHook, **kwargs: Any) -> Any:
        job = ensure(self, **kwargs)
        started.append((kwargs["purpose"], job.job_id))
        return job

    monkeypatch.setattr(WarehouseHook, "ensure_job", seen)
    simple(world)
    world.load()
    first, started[:] = dict.fromkeys(started), []
    world.load()
    again = dict.fromkeys(started)
    assert {p for p, _ in first.keys() & again.keys()} == {"requests", "predictions"}
    assert {p for p, _ in again.keys() - first.keys()} == {"classify", "audit", "publish"}


def test_requests_prepared_anew_are_landed_anew(world: World) -> None:
    """The same names with other contents are other work."""
    simple(world)
    world.load()
    world.keys = [["a", "b"], ["d"]]
    world.prepare()
    simple(world)
    with pytest.raises(OutputError, match="1 of 3 output lines"):
        world.load()
    world.answered(0, [answer("a", good("x")), answer("b", good("y"))])
    assert world.load()["rows"] == 3
    assert world.outcomes() == {"a": "succeeded", "b": "succeeded", "d": "succeeded"}


def test_a_line_of_an_unknown_key_publishes_nothing(world: World) -> None:
    """Not even the tables are made; the landing tables stay for a look."""
    world.answered(0, [answer("a", good("1")), answer("stranger", good("2"))])
    world.answered(1, [answer("d", good("d"))])
    with pytest.raises(OutputError, match="1 of 3 output lines"):
        world.load()
    hook = WarehouseHook()
    assert hook.table_info(TableName.parse(f"{world.dataset}.results")) is None
    tables = [table.table_id for table in hook.client("demo").list_tables(world.dataset)]
    assert any(name.startswith(world.tables.landing(0, 1).table) for name in tables)
    hook.close()
    assert world.ledger(0).state == "SUBMITTED"


def test_counts_that_do_not_add_up_publish_nothing(world: World) -> None:
    """Every row that was prepared must have an outcome."""
    world.manifest = replace(
        world.manifest, parts=(world.manifest.parts[0], replace(world.manifest.parts[1], rows=2))
    )
    world.put_bytes(world.places.manifest, world.manifest.to_json())
    simple(world)
    with pytest.raises(AccountingError, match="5 rows were prepared, but 4"):
        world.load()


@pytest.mark.parametrize("lines", [None, [{"key": "k_e", "request": {}}]])
def test_a_request_file_that_is_not_the_one_that_was_sent_publishes_nothing(
    world: World, lines: list[dict[str, Any]] | None
) -> None:
    """Gone, or written over."""
    simple(world)
    if lines is None:
        world.cloud.parts.storage.delete(world.bucket, world.places.requests(1).name)
    else:
        world.put(world.places.requests(1), lines)
    with pytest.raises(OutputError, match="whose answers"):
        world.load()


def test_a_broken_line_fails_the_load_and_names_the_reason(world: World) -> None:
    """Never a silent loss; the line itself is not quoted."""
    job = world.answered(0, [answer("a", good("1"))])
    folder = GcsUri.parse(job.output_uri)
    world.put_bytes(folder / "predictions.jsonl", b'{"key": "k_a", "response": {"secret')
    world.answered(1, [answer("d", good("d"))])
    with pytest.raises(LandingError) as caught:
        world.load()
    assert "failed:" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [
        JobOutcome(done=True, reason="invalidQuery", error="concurrent update", transient=True),
        JobOutcome(done=True, reason="duplicate", error="Already Exists: Table demo:d.results"),
    ],
)
def test_a_publish_that_lost_a_race_runs_again(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: JobOutcome
) -> None:
    """Two loads into one table may abort each other, or create it at the same moment."""
    simple(world)
    look, lost = WarehouseHook.look, []

    def racing(self: WarehouseHook, job: Any, **kwargs: Any) -> JobOutcome:
        if "publish" in job.job_id and not lost:
            lost.append(job)
            return failure
        return look(self, job, **kwargs)

    monkeypatch.setattr(WarehouseHook, "look", racing)
    world.load()
    assert len(lost) == 1
    assert len(world.outcomes()) == 4


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (JobOutcome(done=True, reason="invalidQuery", error="x"), 1),
        (JobOutcome(done=True, reason="invalidQuery", error="x", transient=True), 3),
        (JobOutcome(done=True, reason="invalidQuery", error="x", transient=True, contended=True), 20),
    ],
)
def test_a_publish_that_keeps_failing_fails_the_task(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: JobOutcome, tries: int
) -> None:
    """After three tries at most, more where others publish to the same tables; Airflow's retries go on from there."""
    simple(world)
    tried = []

    def failing(self: WarehouseHook, job: Any, **kwargs: Any) -> JobOutcome:
        if "publish" not in job.job_id:
            return JobOutcome(done=True)
        tried.append(job.attempt)
        return failure

    ensure = WarehouseHook.ensure_job

    def next_name(self: WarehouseHook, **kwargs: Any) -> Any:
        job = ensure(self, **kwargs)
        return (
            job
            if kwargs["purpose"] != "publish"
            else replace(job, job_id=f"{job.job_id.rpartition('_')[0]}_{len(tried)}")
        )

    monkeypatch.setattr(WarehouseHook, "look", failing)
    monkeypatch.setattr(WarehouseHook, "ensure_job", next_name)
    with pytest.raises(LandingError, match="a retry goes on from there"):
        world.load()
    assert tried == list(range(tries))


# ------------------------------------------------------------------------------------------------------- bad arguments


def nothing_started(world: World) -> bool:
    calls = world.cloud.stats()["calls"]
    return not any(
        call.startswith("POST") and call.endswith("/jobs") and count for call, count in calls.items()
    )


def test_a_part_without_a_job_stops_the_load(world: World) -> None:
    """So no part is forgotten."""
    world.answered(0, [answer("a", good("1"))])
    with pytest.raises(OutputError, match="Part 1 has no ledger"):
        world.load()


def test_a_job_at_work_stops_the_load(world: World) -> None:
    """Wait for it first."""
    simple(world)
    world.answered(1, None, state="JOB_STATE_RUNNING")
    with pytest.raises(OutputError, match="wait for it first"):
        world.load()


def test_a_workspace_without_a_manifest_holds_no_batch(world: World) -> None:
    """Prepare writes it last."""
    simple(world)
    world.cloud.parts.storage.delete(world.bucket, world.places.manifest.name)
    with pytest.raises(SourceError, match="holds no manifest"):
        world.load()


def test_a_batch_that_lies_elsewhere_is_not_loaded(world: World) -> None:
    """The workspace must be this batch's."""
    simple(world)
    operator = world.operator()
    operator.batch = {**operator.batch, "batch_id": "0" * 32}
    with pytest.raises(SourceError, match="holds batch"):
        operator.execute(world.context())


def test_datasets_in_two_locations_are_refused_before_any_job(world: World) -> None:
    """One BigQuery job cannot work in both."""
    simple(world)
    elsewhere = f"eu_{uuid.uuid4().hex[:8]}"
    world.cloud.parts.warehouse.create_dataset("demo", elsewhere, location="europe-west4")
    with pytest.raises(ConfigurationError, match="europe-west4"):
        world.load(landing_dataset=f"demo.{elsewhere}")
    with pytest.raises(ConfigurationError, match="here europe-west1"):
        world.load(location="europe-west1")


def test_predictions_in_another_location_are_refused_before_any_job(world: World) -> None:
    """They are read where they are."""
    simple(world)
    elsewhere = f"eu_{uuid.uuid4().hex[:8]}"
    world.cloud.parts.warehouse.create_dataset("demo", elsewhere, location="europe-west4")
    world.jobs[JOB.format(101)] = replace(world.jobs[JOB.format(101)], output_uri=f"bq://demo.{elsewhere}.t")
    with pytest.raises(ConfigurationError, match="europe-west4"):
        world.load()


def test_a_table_that_cannot_take_the_rows_is_refused_before_any_job(world: World) -> None:
    """A clash is told by column."""
    simple(world)
    world.table(TableName.parse(f"{world.dataset}.results"), [("batch_id", "STRING"), ("key", "INT64")], [])
    with pytest.raises(ConfigurationError, match="key is NULLABLE INT64, not STRING"):
        world.load()


@pytest.mark.parametrize("date", ["yesterday", "2026-02-30", "2026-09-01T00:00:00"])
def test_a_batch_date_must_be_a_date(world: World, date: str) -> None:
    """It names a partition."""
    with pytest.raises(ConfigurationError, match="is not a date"):
        world.load(batch_date=date)


def test_a_run_without_a_logical_date_lands_on_the_day_it_was_to_run(world: World) -> None:
    """The same day whenever it is loaded again."""
    simple(world)
    run = SimpleNamespace(run_after=datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    context = world.context(dag_run=run)
    del context["ds"]
    world.operator().execute(context)
    assert {str(row["batch_date"]) for row in world.rows()} == {"2026-11-30"}


def test_with_a_price_of_ones_own_the_cost_is_reckoned_by_it(world: World) -> None:
    """And the report says which."""
    simple(world)
    report = world.load(price={"input": 1000, "output": 0, "date": "2027-01"})
    assert report["cost_usd"] == pytest.approx(0.075)
    assert report["price"]["date"] == "2027-01"


def test_the_errors_table_and_the_landing_dataset_may_lie_elsewhere(world: World) -> None:
    """Names without a project are the connection's."""
    simple(world)
    other = f"other_{uuid.uuid4().hex[:8]}"
    world.cloud.parts.warehouse.create_dataset("demo", other, location="us-central1")
    report = world.load(
        results_table=f"{world.dataset.split('.')[1]}.results",
        errors_table=f"{other}.bad",
        landing_dataset=other,
    )
    assert report["tables"] == {
        "results": f"{world.dataset}.results",
        "errors": f"demo.{other}.bad",
        "batches": f"{world.dataset}.results_batches",
    }
    hook = WarehouseHook()
    tables = [table.table_id for table in hook.client("demo").list_tables(f"demo.{other}")]
    assert any(name.startswith(world.tables.landing(0, 1).table) for name in tables)
    hook.close()


# ---------------------------------------------------------------------------------------- deferral, ledgers and assets


def run_trigger(trigger: GeminiBatchWarehouseTrigger) -> dict[str, Any]:
    """Rebuild the trigger from what the database keeps, and run it to its event."""
    path, kwargs = trigger.serialize()
    assert path == "airflow_batch_gemini.triggers.warehouse.GeminiBatchWarehouseTrigger"
    again = GeminiBatchWarehouseTrigger(**json.loads(json.dumps(kwargs)))

    async def first() -> dict[str, Any]:
        events = [event.payload async for event in again.run()]
        assert len(events) == 1
        return events[0]

    return asyncio.run(first())


def test_deferred_at_every_step_the_load_ends_as_it_would_in_one_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed from the top, attached to what is done; the event carries names only."""
    simple(world)
    operator, context, deferrals = world.operator(deferrable=True), world.context(), 0
    with monkeypatch.context() as patch:
        patch.setattr(world.cloud.parts.warehouse, "job_delay_looks", 2)
        report = None
        step = partial(operator.execute, context)
        while report is None:
            try:
                report = step()
            except TaskDeferred as deferred:
                deferrals += 1
                kept = json.loads(json.dumps(deferred.kwargs))
                event = run_trigger(deferred.trigger)
                assert set(event) == {"jobs"}
                step = partial(getattr(operator, deferred.method_name), context, event=event, **kept)
    assert deferrals == 4
    assert report["rows"] == 4
    assert world.outcomes() == {"a": "succeeded", "b": "missing", "c": "failed", "d": "succeeded"}


def test_a_job_that_failed_meanwhile_is_not_started_again_by_the_same_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming looks first; the next attempt of the task starts the next one."""
    simple(world)
    monkeypatch.setattr(
        WarehouseHook, "look", lambda *_, **__: JobOutcome(done=True, reason="invalid", error="x")
    )
    with pytest.raises(LandingError, match="invalid: x"):
        world.operator(deferrable=True).resume(
            world.context(), {"jobs": [["demo", "us-central1", "j"]]}, deadline=9e9
        )


def test_past_the_deadline_the_load_gives_up_and_bigquery_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry attaches."""
    simple(world)
    monkeypatch.setattr(WarehouseHook, "look", lambda *_, **__: JobOutcome(done=False))
    with pytest.raises(LandingError, match="goes on from there"):
        world.load(deferrable=True, timeout=0)
    with pytest.raises(LandingError, match="runs on"):
        world.load(deferrable=False, timeout=0)


def test_a_ledger_that_moved_on_is_left_as_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changed it knows better; what was published stays."""
    simple(world)
    gather_list = WarehouseHook.table_info
    moved = replace(world.ledger(0), epoch=2, job_name=JOB.format(2))

    def meanwhile(self: WarehouseHook, table: TableName) -> Any:
        world.put_bytes(world.places.ledger(0), moved.to_json())
        return gather_list(self, table)

    monkeypatch.setattr(WarehouseHook, "table_info", meanwhile)
    world.load()
    assert world.ledger(0) == moved
    assert world.ledger(1).state == "LOADED"


def test_a_ledger_that_changes_at_the_last_moment_is_left_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare-and-set: the write that comes second loses."""
    simple(world)
    write = WorkspaceHook.write

    def late(self: WorkspaceHook, uri: GcsUri, data: bytes, *, if_generation: int | None = None) -> Any:
        if "/ledger/" in uri.name:
            raise PreconditionLost("another generation")
        return write(self, uri, data, if_generation=if_generation)

    monkeypatch.setattr(WorkspaceHook, "write", late)
    world.load()
    assert world.ledger(0).state == "SUBMITTED"


def test_a_cancelled_ledger_stays_cancelled(world: World) -> None:
    """What the job answered before is landed all the same."""
    simple(world)
    world.put_bytes(world.places.ledger(1), replace(world.ledger(1), state="CANCELLED").to_json())
    world.load()
    assert world.ledger(1).state == "CANCELLED"


def test_an_asset_event_carries_the_counts(world: World) -> None:
    """For the DAG that waits for the results."""
    simple(world)
    asset = Asset("gs://results")
    context = world.context(outlet_events={asset: SimpleNamespace(extra={})})
    world.operator(outlets=[asset, "no asset"]).execute(context)
    extra = context["outlet_events"][asset].extra
    assert (extra["rows"], extra["succeeded"], extra["missing"]) == (4, 2, 1)


def test_landing_tables_go_by_themselves_after_a_week(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay for a look."""
    expired: dict[TableName, float] = {}
    monkeypatch.setattr(
        WarehouseHook, "expire_table", lambda self, table, *, seconds: expired.update({table: seconds})
    )
    simple(world)
    world.load()
    assert set(expired.values()) == {7 * 24 * 3600.0}
    assert len(expired) == 6


def test_no_key_prompt_or_answer_is_in_trigger_rendered_fields_or_report(world: World) -> None:
    """Names, URIs and counts only."""
    world.answered(0, [answer("a", good("SECRETANSWER")), answer("SECRETKEY", good("x"))][:1])
    world.answered(1, [answer("d", good("SECRETANSWER"))])
    report = world.load()
    assert "SECRET" not in json.dumps(report)
    assert "price" not in GeminiBatchLoadOperator.template_fields
