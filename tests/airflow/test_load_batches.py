"""The table of batches: one row a round, published with the results, once, and told again in the report."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from load_side import World, answer, good, killed_before, simple
from repair_side import CALM, Story, rows

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.exceptions import ConfigurationError, InvalidNameError, OwnershipLostError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.sql.batches import BATCHES


def batches(world: World, table: str = "results_batches") -> list[dict[str, Any]]:
    """Every row of the table, in the order of batch and round."""
    return told(world.dataset, table)


def told(dataset: str, table: str) -> list[dict[str, Any]]:
    hook = WarehouseHook()
    try:
        sql = f"SELECT * FROM `{dataset}.{table}` ORDER BY batch_id, round"
        return list(hook.query_rows(sql, project="demo", location="us-central1"))
    finally:
        hook.close()


def exists(world: World, table: str) -> bool:
    hook = WarehouseHook()
    try:
        return hook.table_info(TableName.parse(f"{world.dataset}.{table}")) is not None
    finally:
        hook.close()


def at(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, tz=UTC)


def test_a_load_leaves_one_row_that_says_what_the_report_says(world: World) -> None:
    """Counts, tokens, cost, and when the batch came to which stage."""
    simple(world)
    report = world.load()
    [row] = batches(world)
    assert [*row] == [column.name for column in BATCHES]
    assert {outcome: row[outcome] for outcome in Outcome} == report["outcomes"]
    assert row["row_count"] == report["rows"] == 4
    assert {name: row[f"{name}_tokens"] for name in report["tokens"]} == report["tokens"]
    assert float(row["cost_usd"]) == pytest.approx(report["cost_usd"])
    assert row["cost_usd"] == sum(
        one["cost_usd"] or 0 for one in [*world.rows(), *world.rows("results_errors")]
    )
    assert (row["submitted_at"], row["started_at"], row["ended_at"]) == (at(1000), None, at(2000))
    assert row["prepared_at"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert row["ended_at"] < row["landed_at"] < row["loaded_at"]
    assert row["land_seconds"] == report["durations"]["land"] > 0
    expected = {
        "batch_id": world.identity.batch_id,
        "round": 0,
        "batch_fingerprint": world.manifest.batch_fingerprint,
        "dag_id": "shop",
        "run_id": world.identity.run_id,
        "model": "gemini-3.5-flash",
        "template_fingerprint": "f",
        "template_version": None,
        "parts": 2,
        "copies": 0,
        "answered_before": 0,
        "rows_of_unknown_cost": 0,
        "estimate_expected_usd": None,
        "canary_rows": None,
        "report_uri": str(world.places.report),
        "results_table": f"{world.dataset}.results",
        "errors_table": f"{world.dataset}.results_errors",
        "batch_date": date(2026, 9, 1),
    }
    assert {name: row[name] for name in expected} == expected
    assert report["tables"]["batches"] == f"{world.dataset}.results_batches"


def test_a_second_load_leaves_the_row_as_it_is(world: World) -> None:
    """Not even the time of the publish changes."""
    simple(world)
    world.load()
    before = batches(world)
    world.load()
    assert batches(world) == before


@pytest.mark.parametrize("purpose", ["publish", "view"])
def test_killed_around_the_publish_the_row_is_there_once_and_with_the_results(
    world: World, purpose: str
) -> None:
    """Neither without the other."""
    simple(world)
    with killed_before(purpose):
        world.load()
    assert exists(world, "results") == exists(world, "results_batches") == (purpose == "view")
    before = batches(world) if purpose == "view" else []
    world.load()
    assert len(batches(world)) == 1
    assert before in ([], batches(world))


def test_a_publish_that_does_not_come_to_its_end_leaves_no_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stalled attempt knows of the batch is older."""
    simple(world)
    older, context = world.operator(), world.context()
    ensure = WarehouseHook.ensure_job
    slept: list[bool] = []

    def stalled(self: WarehouseHook, **kwargs: Any) -> Any:
        if kwargs["purpose"] == "publish" and not slept:
            slept.append(True)
            world.load(price={"input": 1000, "output": 1000})
        return ensure(self, **kwargs)

    monkeypatch.setattr(WarehouseHook, "ensure_job", stalled)
    with pytest.raises(OwnershipLostError):
        older.execute(context)
    [row] = batches(world)
    assert row["cost_usd"] > Decimal("0.05")


@pytest.mark.parametrize("given", [False, None])
def test_who_wants_no_table_of_batches_has_none(world: World, given: bool | None) -> None:
    """And the report names none."""
    simple(world)
    report = world.load(batches_table=given)
    assert not exists(world, "results_batches")
    assert "batches" not in report["tables"]
    assert [one["rows"] for one in report["rounds"]] == [4]


def test_a_batch_prepared_anew_takes_the_place_of_what_it_was(world: World) -> None:
    """As its rows do in the results."""
    simple(world)
    world.load()
    world.manifest = world.prepared_from("another template")
    world.answered(0, [answer(key, good(key)) for key in "abc"], epoch=2)
    world.answered(1, [answer("d", good("d"))], epoch=2)
    world.load()
    [row] = batches(world)
    assert (row["template_fingerprint"], row["succeeded"]) == ("another template", 4)


def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks_and_keeps_its_rows(world: World) -> None:
    """A column of the user's own stays, too."""
    table = TableName.parse(f"{world.dataset}.history")
    columns = [("batch_id", "STRING"), ("round", "INT64"), ("ours", "STRING")]
    world.table(table, columns, [{"batch_id": "", "round": 0, "ours": "kept"}])
    simple(world)
    world.load(batches_table=str(table))
    old, new = batches(world, "history")
    assert (old["ours"], old["row_count"], new["ours"], new["row_count"]) == ("kept", None, None, 4)


def test_a_table_that_cannot_take_the_row_is_refused_before_any_job(world: World) -> None:
    """So is what is no name of a table."""
    simple(world)
    table = TableName.parse(f"{world.dataset}.history")
    world.table(table, [("batch_id", "STRING"), ("round", "STRING")], [])
    with pytest.raises(ConfigurationError, match="round is NULLABLE STRING, not INT64"):
        world.load(batches_table=str(table))
    with pytest.raises(InvalidNameError):
        world.load(batches_table="no name; at all")
    assert not exists(world, "results")


@pytest.mark.parametrize("names", [{"batches_table": "results"}, {"errors_table": "results"}])
def test_one_table_cannot_be_two(world: World, names: dict[str, str]) -> None:
    """Found before any job."""
    simple(world)
    with pytest.raises(ConfigurationError, match="are to be different tables"):
        world.load(**{name: f"{world.dataset}.{table}" for name, table in names.items()})
    assert not exists(world, "results")


def test_every_round_has_its_row_and_the_report_of_the_last_one_tells_them_all(story: Story) -> None:
    """What all rounds cost is what their rows cost, whichever of them succeeded."""
    story.cloud.knobs(truncate_rate=1.0)
    story.prepare(rows(6))
    reports = [story.go()]
    story.cloud.knobs(**CALM)
    story.repair(1, max_rows=4)
    reports.append(story.go(1))
    story.repair(2)
    reports.append(story.go(2))
    table = told(story.dataset, "results_batches")
    assert [(row["round"], row["row_count"]) for row in table] == [(0, 6), (1, 4), (2, 2)]
    assert {row["batch_id"] for row in table} == {story.manifest().batch_id}
    assert [row["truncated"] for row in table] == [6, 0, 0]
    assert table[0]["estimate_low_usd"] <= table[0]["estimate_expected_usd"] <= table[0]["estimate_high_usd"]
    assert table[0]["cost_usd"] <= table[0]["estimate_high_usd"]
    assert [row["estimate_high_usd"] for row in table[1:]] == [None, None]
    assert [one["round"] for one in reports[-1]["rounds"]] == [0, 1, 2]
    assert [one["rows"] for one in reports[-1]["rounds"]] == [6, 4, 2]
    assert [one["cost_usd"] for one in reports[-1]["rounds"]] == [report["cost_usd"] for report in reports]
    total = sum(row["cost_usd"] for row in table)
    assert reports[-1]["cost_usd_of_all_rounds"] == pytest.approx(float(total))
    assert reports[0]["cost_against_estimate"] == pytest.approx(
        float(table[0]["cost_usd"] / table[0]["estimate_expected_usd"]), abs=1e-4
    )
    assert Counter(story.outcomes().values()) == {"succeeded": 6}
    before = table
    story.load(1)
    assert told(story.dataset, "results_batches") == before


def test_two_batches_may_share_one_table(in_files: Story) -> None:
    """A row each, whatever their results tables are."""
    story = in_files
    for name in ("one", "two"):
        story.run_id = story.results_name = name
        story.prepare(rows(2))
        story.buy()
        story.load(batches_table=f"{story.dataset}.all_batches")
    table = told(story.dataset, "all_batches")
    assert sorted(row["results_table"].rpartition(".")[2] for row in table) == ["one", "two"]
    assert len({row["batch_id"] for row in table}) == 2


def test_the_log_of_the_load_ends_with_the_report(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """As a small table, with the tables of the batch last."""
    simple(world)
    world.load()
    said = capsys.readouterr().out
    for words in ("rows", "succeeded", "cost", "time to land", "results_batches"):
        assert words in said


def test_the_columns_are_as_the_table_has_them(world: World) -> None:
    """Types and descriptions."""
    simple(world)
    world.load()
    hook = WarehouseHook()
    try:
        info = hook.table_info(TableName.parse(f"{world.dataset}.results_batches"))
    finally:
        hook.close()
    assert info is not None
    assert [Column(one.name, one.type) for one in info.columns] == [
        Column(one.name, one.type) for one in BATCHES
    ]
