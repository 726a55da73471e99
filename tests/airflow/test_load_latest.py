"""The view of the newest answers: made once, kept up with the table, and no reason for a load to fail."""

from __future__ import annotations

from typing import Any

import pytest
from load_side import World, answer, good, simple

from airflow_batch_gemini.batch.landing import TableInfo, WarehouseJob
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.hooks.warehouse import WarehouseHook


def ask(sql: str) -> list[dict[str, Any]]:
    hook = WarehouseHook()
    try:
        return list(hook.query_rows(sql, project="demo", location="us-central1"))
    finally:
        hook.close()


def info(name: str) -> TableInfo | None:
    hook = WarehouseHook()
    try:
        return hook.table_info(TableName.parse(name))
    finally:
        hook.close()


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[WarehouseJob]:
    """The jobs that make a view."""
    made = []
    ensure = WarehouseHook.ensure_job

    def seen(self: WarehouseHook, **kwargs: Any) -> WarehouseJob:
        job = ensure(self, **kwargs)
        if kwargs["purpose"] == "view":
            made.append(job)
        return job

    monkeypatch.setattr(WarehouseHook, "ensure_job", seen)
    return made


def test_the_view_shows_the_newest_answer_of_every_key(world: World, views: list[WarehouseJob]) -> None:
    """Of the latest day, and of one day the one that was given last; it is made once."""
    simple(world)
    world.load()
    columns = "batch_id, key, text, batch_date, processed_time"
    later = "DATE '2026-09-02', TIMESTAMP '2026-09-01 01:00:00+00'"
    earlier, same = later.replace("09-02", "08-31"), "DATE '2026-09-01', TIMESTAMP '2026-09-01 23:00:00+00'"
    values = ", ".join(
        f"('other {n}', '{key}', '{text}', {when})"
        for n, (key, text, when) in enumerate(
            [("a", "newer", later), ("d", "older", earlier), ("d", "evening", same), ("z", "alone", earlier)]
        )
    )
    ask(f"INSERT INTO `{world.dataset}.results` ({columns}) VALUES {values}")
    world.load()
    found = ask(f"SELECT key, text FROM `{world.dataset}.results_latest`")
    assert {row["key"]: row["text"] for row in found} == {"a": "newer", "d": "evening", "z": "alone"}
    assert len(views) == 1


def test_a_column_that_comes_later_is_in_the_view_too(world: World, views: list[WarehouseJob]) -> None:
    """The view is made anew when the table has grown."""
    for epoch, name in enumerate(("n", "more"), 1):
        world.keys, world.schema = [["a"]], {"type": "OBJECT", "properties": {name: {"type": "INTEGER"}}}
        world.prepare()
        world.answered(0, [answer("a", good(f'{{"{name}": 1}}'))], epoch=epoch)
        world.load()
    assert ask(f"SELECT more FROM `{world.dataset}.results_latest`") == [{"more": 1}]
    assert len(views) == 2


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_what_somebody_else_made_under_that_name_is_left_alone(
    world: World, views: list[WarehouseJob], kind: str
) -> None:
    """It may mean something else."""
    ask(f"CREATE {kind} `{world.dataset}.results_latest` AS SELECT 'mine' AS x")
    simple(world)
    assert world.load()["notes"] == []
    assert ask(f"SELECT * FROM `{world.dataset}.results_latest`") == [{"x": "mine"}]
    assert views == []


def test_nobody_has_to_have_the_view(world: World, views: list[WarehouseJob]) -> None:
    """One switch."""
    simple(world)
    world.load(latest_view=False)
    assert info(f"{world.dataset}.results_latest") is None
    assert views == []


def test_where_no_view_can_be_made_the_load_succeeds_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody was faster, or the dataset forbids it: the results are published, and the next load tries again."""
    simple(world)
    name = TableName.parse(f"{world.dataset}.results_latest")
    look = WarehouseHook.table_info

    def blind(self: WarehouseHook, table: TableName) -> TableInfo | None:
        return None if table == name else look(self, table)

    ask(f"CREATE TABLE `{name}` AS SELECT 1 AS x")
    with monkeypatch.context() as patch:
        patch.setattr(WarehouseHook, "table_info", blind)
        report = world.load()
    assert len(world.outcomes()) == 4
    [note] = report["notes"]
    assert note.startswith(f"{name} was not made, the results are published all the same: ")
    assert "because it is a TABLE" in note
    assert ask(f"SELECT * FROM `{name}`") == [{"x": 1}]
    assert [world.ledger(part).state for part in (0, 1)] == ["LOADED", "LOADED"]
