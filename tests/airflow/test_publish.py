"""Write, repair, audit, publish: rows held back over all rounds are judged as they stand, and published at once."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from repair_side import CALM, Story, rows

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.exceptions import (
    AccountingError,
    ConfigurationError,
    QualityError,
    SourceError,
)
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.publish import GeminiBatchPublishOperator
from airflow_batch_gemini.sql.releasing import held_back

Reports = Sequence[dict[str, Any] | None]


def operator(story: Story, reports: Reports, **options: Any) -> GeminiBatchPublishOperator:
    given = {"results_table": story.results, "poll_interval": 0, **options}
    return GeminiBatchPublishOperator(task_id="publish", batch=story.batches[0], reports=reports, **given)


def publish(story: Story, reports: Reports, **options: Any) -> dict[str, Any]:
    return operator(story, reports, **options).execute(story.context("publish"))


def held(story: Story, number: int = 0) -> dict[str, Any]:
    """Buy and load a round that is prepared, and hold its rows back."""
    story.buy(number)
    return story.load(number, hold=True)


def is_published(story: Story) -> bool:
    found = [
        story.warehouse.table_info(TableName.parse(f"{story.results}{name}")) for name in ("", "_errors")
    ]
    assert len(set(map(bool, found))) == 1
    return bool(found[0])


def mended(story: Story, count: int = 12) -> list[dict[str, Any]]:
    """Two rounds over rows that all fail at first, and are all cut off then; the second one mends four of them."""
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(count))
    reports = [held(story)]
    story.cloud.knobs(row_error_rate=0.0, truncate_rate=1.0)
    story.repair(1, hold=True)
    reports.append(held(story, 1))
    story.cloud.knobs(**CALM)
    story.repair(2, hold=True, max_rows=4)
    reports.append(held(story, 2))
    return reports


def test_rows_are_judged_after_the_last_round_and_nobody_sees_them_before(story: Story) -> None:
    """Every row is billed for each job that answered it and no other; a second publish changes nothing."""
    reports = mended(story)
    assert [report["standing"]["succeeded"] for report in reports] == [0, 0, 4]
    assert not is_published(story)
    with pytest.raises(
        QualityError, match=r"up to round 2, 8 have an answer that cannot be used \(8 truncated\)"
    ):
        publish(story, reports, max_failed_rate=0.0, max_invalid_rate=0.5)
    assert not is_published(story)
    billed = story.bill()
    report = publish(story, reports, max_failed_rate=0.0, max_invalid_rate=0.7)
    assert report["standing"]["truncated"] == 8
    assert (report["round"], report["tables"]["results"]) == (
        2,
        f"demo.{story.results.split('.')[-2]}.results",
    )
    good, bad = story.tables
    assert {row["round"] for row in good.values()} == {2}
    assert ({row["round"] for row in bad.values()}, {row["outcome"] for row in bad.values()}) == (
        {1},
        {"truncated"},
    )
    assert (len(good), len(bad), story.bill()) == (4, 8, billed)
    assert [story.billed(number) for number in range(3)] == [0, 12, 4]
    publish(story, reports)
    assert story.tables == (good, bad)


def test_the_tables_are_those_of_a_batch_that_was_published_round_by_round(in_files: Story) -> None:
    """But for the time of the publish; the table of batches tells of every round in both."""
    story = in_files
    reports = mended(story)
    publish(story, reports)
    ours, batches = (
        story.tables,
        story.warehouse.query_rows(
            f"SELECT round, row_count, truncated FROM `{story.results}_batches` ORDER BY round",
            project="demo",
            location="us-central1",
        ),
    )
    told = list(batches)
    assert [(row["round"], row["row_count"], row["truncated"]) for row in told] == [
        (0, 12, 0), (1, 12, 12), (2, 4, 0),
    ]  # fmt: skip
    story.results_name = "plain"
    for number in range(3):
        story.load(number)
    assert unlike(ours, story.tables) == set()


def test_the_table_of_batches_names_the_tables_that_are_published_to(in_files: Story) -> None:
    """Those that hold the rows back are gone in a week."""
    story = in_files
    story.prepare(rows(2))
    held(story)
    sql = f"SELECT results_table, errors_table FROM `{story.results}_batches`"
    [told] = story.warehouse.query_rows(sql, project="demo", location="us-central1")
    results = TableName.parse(story.results, default_project="demo")
    assert told == {"results_table": str(results), "errors_table": f"{results}_errors"}


def unlike(one: Any, other: Any) -> set[str]:
    """Names of columns in which two pairs of tables differ."""
    return {
        name
        for these, those in zip(one, other, strict=True)
        for key in these.keys() | those.keys()
        for name in these[key]
        if name != "loaded_at" and these[key][name] != those[key][name]
    }


def test_where_no_round_was_needed_the_first_one_is_published(story: Story) -> None:
    """What was skipped has no report."""
    story.prepare(rows(3))
    first = held(story)
    with pytest.raises(AirflowSkipException):
        story.repair(1, hold=True)
    assert publish(story, [first, None, None], max_failed_rate=0.0)["standing"]["succeeded"] == 3
    assert set(story.outcomes().values()) == {"succeeded"}


def test_where_no_round_was_loaded_it_is_skipped(in_files: Story) -> None:
    """Prepare has succeeded, so Airflow runs it although every load was skipped."""
    story = in_files
    story.prepare(rows(1))
    with pytest.raises(AirflowSkipException, match=r"No round .* was loaded\. Nothing was published"):
        publish(story, [None, None])
    assert not is_published(story)


@pytest.mark.parametrize("purpose", ["judge", "release", "publish", "view"])
def test_killed_at_any_step_the_next_attempt_publishes_once(
    in_files: Story, monkeypatch: pytest.MonkeyPatch, purpose: str
) -> None:
    """All rows or none are there in between, and nothing is bought."""
    story = in_files
    reports = mended(story)
    billed, ensure = story.bill(), WarehouseHook.ensure_job

    def killed(self: WarehouseHook, **kwargs: Any) -> Any:
        if kwargs["purpose"] == purpose:
            raise KeyboardInterrupt
        return ensure(self, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(WarehouseHook, "ensure_job", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(story, reports)
    assert is_published(story) == (purpose == "view")
    before = story.tables if purpose == "view" else None
    publish(story, reports)
    assert before in (None, story.tables)
    assert (len(story.outcomes()), story.bill()) == (12, billed)


def test_what_is_published_is_what_was_judged_though_a_load_is_cleared_meanwhile(
    in_files: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first round is bought anew and fails, between two statements of a publish that lets no failed row through."""
    story = in_files
    story.prepare(rows(4))
    reports, ensure, asked = [held(story)], WarehouseHook.ensure_job, list[str]()

    def slow(self: WarehouseHook, **kwargs: Any) -> Any:
        asked.append(kwargs["purpose"])
        if len(asked) == 2:
            monkeypatch.setattr(WarehouseHook, "ensure_job", ensure)
            story.cloud.knobs(row_error_rate=1.0)
            story.buy(0, on_finished="rerun")
            assert story.load(0, hold=True)["standing"]["failed"] == 4
        return ensure(self, **kwargs)

    monkeypatch.setattr(WarehouseHook, "ensure_job", slow)
    assert publish(story, reports, max_failed_rate=0.0)["standing"]["succeeded"] == 4
    assert set(story.outcomes().values()) == {"succeeded"}
    with pytest.raises(QualityError, match="4 have no answer"):
        publish(story, reports, max_failed_rate=0.0)
    assert set(story.outcomes().values()) == {"succeeded"}


def test_what_was_published_of_the_batch_before_gives_way_whatever_round_it_was(in_files: Story) -> None:
    """All its rows are held, as all rounds left them."""
    story = in_files
    reports = mended(story)
    publish(story, reports)
    was = story.outcomes()
    # Bought anew, everything succeeds at once, and no row is of a later round any more.
    story.buy(0, on_finished="rerun")
    again = story.load(0, hold=True)
    publish(story, [again])
    assert set(was.values()) == {"succeeded", "truncated"}
    assert story.outcomes() == dict.fromkeys(was, "succeeded")


def test_an_attempt_that_is_not_the_newest_publishes_nothing(in_files: Story) -> None:
    """As with a load."""
    from airflow_batch_gemini.exceptions import OwnershipLostError

    story = in_files
    story.prepare(rows(2))
    first, late = held(story), story.context("publish")
    publish(story, [first])
    before = story.tables
    with pytest.raises(OwnershipLostError):
        operator(story, [first]).execute(late)
    assert story.tables == before


def test_rows_that_are_not_held_back_any_more_are_missed_before_anything_is_published(
    in_files: Story,
) -> None:
    """The message says what to clear; the answers are there still."""
    story = in_files
    story.prepare(rows(3))
    report = story.go()
    with pytest.raises(SourceError, match=r"no load held back rows of this batch.*Nothing was published"):
        publish(story, [report])
    first, where = (
        story.load(0, hold=True),
        held_back(
            story.manifest(), TableName.parse(story.results), TableName.parse(f"{story.results}_errors")
        ),
    )
    before = story.tables
    list(
        story.warehouse.query_rows(
            f"DELETE FROM `{where.results}` WHERE key = 'row-00001'", project="demo", location="us-central1"
        )
    )
    with pytest.raises(AccountingError, match="has 3 rows, but 2 of them are held back"):
        publish(story, [first])
    assert story.tables == before


def test_a_gate_that_does_not_pass_keeps_the_rows_for_as_long_as_it_says(in_files: Story) -> None:
    """Seven days from then, however long ago they were loaded."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(2))
    first, almost, day = held(story), time.time() + 60, 24 * 3600
    tables = [TableName.parse(first["tables"][name]) for name in ("results", "errors")]
    for table in tables:
        story.warehouse.expire_table(table, seconds=60)
    with pytest.raises(QualityError, match=r"for outcomes and reasons: it stays for seven days"):
        publish(story, [first], max_failed_rate=0.0)
    for table in tables:
        expires = story.warehouse.client("demo").get_table(str(table)).expires
        assert expires is not None
        assert expires.timestamp() > almost + 6 * day


def test_held_rows_pass_and_a_batch_prepared_anew_holds_others(in_files: Story) -> None:
    """They are deleted by BigQuery in seven days, and are not mistaken for those of another preparation."""
    story = in_files
    story.prepare(rows(2))
    first = held(story)
    for name in first["tables"]["results"], first["tables"]["errors"]:
        assert re.fullmatch(r".*\.gemini_held_(errors_)?[0-9a-f]{32}_[0-9a-f]{8}", name)
        assert story.warehouse.client("demo").get_table(name).expires is not None
    story.prepare(rows(3))
    assert held(story)["tables"]["results"] != first["tables"]["results"]


def test_gates_are_for_what_publishes_and_it_wants_the_first_round(in_files: Story) -> None:
    """Both are said before anything is done."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(2))
    first = held(story)
    with pytest.raises(ConfigurationError, match="hold=True publishes nothing"):
        story.load(0, hold=True, max_failed_rate=0.1)
    story.repair(1, hold=True)
    with pytest.raises(ConfigurationError, match="wants what prepare returned"):
        GeminiBatchPublishOperator(
            task_id="publish", batch=story.batches[1], reports=[first], results_table=story.results
        ).execute(story.context("publish"))


def test_a_table_that_cannot_take_the_rows_is_told_before_they_are_held_back(in_files: Story) -> None:
    """Not after all rounds were paid for."""
    story = in_files
    list(
        story.warehouse.query_rows(
            f"CREATE TABLE `{story.results}` (batch_id STRING, key STRING, topic INT64)",
            project="demo",
            location="us-central1",
        )
    )
    story.prepare(rows(1))
    story.buy()
    with pytest.raises(ConfigurationError, match="topic is NULLABLE INT64, not STRING"):
        story.load(0, hold=True)


def test_a_place_that_no_publish_could_write_to_is_told_before_rows_are_held_back(in_files: Story) -> None:
    """One BigQuery job writes both tables, so both have to lie in one location."""
    from google.cloud.bigquery import Dataset

    story = in_files
    elsewhere = Dataset(f"demo.{story.dataset.rpartition('.')[2]}_elsewhere")
    elsewhere.location = "EU"
    story.warehouse.client("demo").create_dataset(elsewhere)
    story.prepare(rows(1))
    story.buy()
    with pytest.raises(ConfigurationError, match=r"_elsewhere in EU\. Nothing was loaded"):
        story.load(0, hold=True, errors_table=f"{elsewhere.project}.{elsewhere.dataset_id}.errors")


def test_it_holds_no_worker_while_bigquery_works_and_tells_its_outlets_once(in_files: Story) -> None:
    """By the counts of the last round, with the standing of all."""
    story, asset, extra = in_files, Asset("labels"), dict[str, Any]()
    reports = mended(story)
    waiting = operator(story, reports, deferrable=True, outlets=[asset])
    context = story.context("publish")
    context["outlet_events"] = {asset: SimpleNamespace(extra=extra)}
    said, deferrals, step = None, 0, lambda: waiting.execute(context)
    while said is None:
        try:
            said = step()
        except TaskDeferred as deferred:
            kwargs, deferrals = {**(deferred.kwargs or {})}, deferrals + 1
            jobs = deferred.trigger.jobs
            step = lambda: waiting.resume(context, event={"jobs": jobs}, **kwargs)  # noqa: B023, E731  # called at once
    assert len(story.outcomes()) == 12
    assert (extra["round"], extra["rows"], extra["standing"]) == (2, 4, said["standing"])
    assert Decimal(str(extra["cost_usd"])) == Decimal(str(reports[2]["cost_usd"]))


def test_a_load_that_holds_makes_no_view(in_files: Story) -> None:
    """It would show what nobody has judged."""
    story = in_files
    story.prepare(rows(1))
    first = held(story)
    view = TableName.parse(f"{story.results}_latest")
    assert story.warehouse.table_info(view) is None
    publish(story, [first])
    assert story.warehouse.table_info(view) is not None
    assert "hold" not in GeminiBatchLoadOperator.template_fields
