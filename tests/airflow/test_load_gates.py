"""Write, audit, publish: a load whose gates do not pass publishes nothing, and one that is cleared publishes once."""

from __future__ import annotations

from typing import Any

import pytest
from load_side import SCHEMA, World, answer, good, killed_before
from repair_side import CALM, Story, rows

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.exceptions import ConfigurationError, QualityError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.local.storage.errors import NotFound


def spoiled(world: World) -> None:
    """Four rows: one succeeded, one invalid, one failed, one missing."""
    world.schema = SCHEMA
    world.prepare()
    world.answered(
        0, [answer("a", good('{"n": 1}')), answer("b", good("no")), answer("c", {}, "Internal error")]
    )
    world.answered(1, [])


def published(world: World) -> bool:
    hook = WarehouseHook()
    try:
        found = [
            hook.table_info(TableName.parse(f"{world.dataset}.{name}"))
            for name in ("results", "results_errors")
        ]
    finally:
        hook.close()
    assert len(set(map(bool, found))) == 1
    return bool(found[0])


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_failed_rate": 0.49}, "2 have no answer (1 failed, 1 missing): 50 %, and max_failed_rate=0.49"),
        (
            {"max_invalid_rate": 0},
            "1 have an answer that cannot be used (1 invalid): 25 %, and max_invalid_rate=0",
        ),
    ],
)
def test_a_gate_that_does_not_pass_publishes_nothing_and_leaves_the_tables_for_a_look(
    world: World, limits: dict[str, float], said: str
) -> None:
    """The ledger does not say that anything is loaded, and there is no report."""
    spoiled(world)
    with pytest.raises(QualityError) as found:
        world.load(**limits)
    assert said in str(found.value)
    assert not published(world)
    assert [world.ledger(part).state for part in (0, 1)] == ["SUBMITTED", "SUBMITTED"]
    with pytest.raises(NotFound):
        world.report()
    [outcomes] = [word.rstrip(".,") for word in str(found.value).split() if "gemini_outcomes_" in word]
    assert {row["key"]: row["outcome"] for row in world.rows(outcomes.rpartition(".")[2])} == {
        "a": "succeeded", "b": "invalid", "c": "failed", "d": "missing",
    }  # fmt: skip
    assert str(world.tables.landing(0, 1)) in str(found.value)


def test_cleared_with_a_higher_limit_the_load_publishes_once_and_lands_nothing_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit itself passes."""
    spoiled(world)
    insert, begun = WarehouseHook._insert, list[str]()

    def watched(self: WarehouseHook, job: Any, *args: Any) -> bool:
        if found := insert(self, job, *args):
            begun.append(job.job_id.split("_")[1])
        return found

    monkeypatch.setattr(WarehouseHook, "_insert", watched)
    with pytest.raises(QualityError):
        world.load(max_failed_rate=0.4)
    landed = begun.count("requests"), begun.count("predictions")
    report = world.load(max_failed_rate=0.5, max_invalid_rate=0.25)
    before = world.rows(), world.rows("results_errors")
    assert (begun.count("requests"), begun.count("predictions")) == landed
    assert report["outcomes"] | {} == world.report()["outcomes"]
    assert world.outcomes() == {"a": "succeeded", "b": "invalid", "c": "failed", "d": "missing"}
    assert [world.ledger(part).state for part in (0, 1)] == ["LOADED", "LOADED"]
    world.load(max_failed_rate=0.5)
    assert (world.rows(), world.rows("results_errors")) == before


@pytest.mark.parametrize("purpose", ["publish", "view"])
def test_killed_after_the_gate_the_next_attempt_publishes_once(world: World, purpose: str) -> None:
    """Before the publish, and right after it."""
    spoiled(world)
    published_rows = list[Any]()
    with killed_before(purpose):
        world.load(max_failed_rate=0.5)
    assert published(world) == (purpose == "view")
    if published(world):
        published_rows += [world.rows(), world.rows("results_errors")]
    world.load(max_failed_rate=0.5)
    assert world.outcomes() == {"a": "succeeded", "b": "invalid", "c": "failed", "d": "missing"}
    assert not published_rows or published_rows == [world.rows(), world.rows("results_errors")]


def test_killed_after_the_gate_a_stricter_next_attempt_leaves_nothing_published(world: World) -> None:
    """What an attempt found good enough is judged anew by the next."""
    spoiled(world)
    with killed_before("publish"):
        world.load(max_failed_rate=0.5)
    with pytest.raises(QualityError):
        world.load(max_failed_rate=0.1)
    assert not published(world)


def test_a_batch_that_was_published_before_keeps_its_rows_when_a_stricter_load_stops(world: World) -> None:
    """A gate takes nothing away."""
    spoiled(world)
    world.load()
    before = world.rows(), world.rows("results_errors")
    with pytest.raises(QualityError):
        world.load(max_failed_rate=0)
    assert (world.rows(), world.rows("results_errors")) == before


def test_a_later_round_is_judged_by_how_all_rows_would_stand_with_it(in_files: Story) -> None:
    """Of ten rows six failed; of these the round mends all but those that still fail: they are judged among ten."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(4))
    story.go()
    story.cloud.knobs(**CALM)
    story.repair(1, max_rows=3)
    story.buy(1)
    before = story.tables
    with pytest.raises(
        QualityError, match=r"Of 4 rows of all rounds up to round 1, 1 have no answer \(1 failed\): 25 %"
    ):
        story.load(1, max_failed_rate=0.24)
    assert story.tables == before
    report = story.load(1, max_failed_rate=0.25)
    assert report["standing"]["succeeded"] == 3
    story.repair(2)
    story.buy(2)
    assert story.load(2, max_failed_rate=0.0)["standing"]["succeeded"] == 4


def test_a_round_that_failed_again_counts_once_among_all_rows(in_files: Story) -> None:
    """Its newer error takes the place of the older one."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(3))
    story.go()
    story.repair(1)
    story.cloud.knobs(row_error_rate=0.0, truncate_rate=1.0)
    story.buy(1)
    with pytest.raises(
        QualityError, match=r"Of 3 rows .* 3 have an answer that cannot be used \(3 truncated\): 100 %"
    ):
        story.load(1, max_failed_rate=0.0, max_invalid_rate=0.5)
    assert story.load(1, max_failed_rate=0.0)["standing"]["truncated"] == 3


def test_a_rate_that_is_none_is_refused_when_the_dag_is_read(world: World) -> None:
    """Not after the job was paid for."""
    with pytest.raises(ConfigurationError, match="max_failed_rate=5 is no share"):
        world.operator(max_failed_rate=5)
