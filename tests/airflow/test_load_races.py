"""Two attempts of one load at once, the older one stalled before any step: the tables say what the newer one knows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from load_side import World, answer, good

from airflow_batch_gemini.exceptions import OutputError, OwnershipLostError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = {
    "reading the manifest": (WorkspaceHook, "read", "manifest.json"),
    "reading the ledger": (WorkspaceHook, "read", "ledger/part-00000.json"),
    "starting to land the requests": (WarehouseHook, "_insert", "gemini_requests_"),
    "starting to land the answers": (WarehouseHook, "_insert", "gemini_predictions_"),
    "starting to classify": (WarehouseHook, "_insert", "gemini_classify_"),
    "letting the tables expire": (WarehouseHook, "expire_table", ""),
    "starting to count": (WarehouseHook, "_insert", "gemini_audit_"),
    "reading the counts": (WarehouseHook, "job_rows", ""),
    "starting to publish": (WarehouseHook, "_insert", "gemini_publish_"),
    "reading the report": (WorkspaceHook, "read", "report.json"),
    "writing the report": (WorkspaceHook, "write", "report.json"),
    "writing the ledger": (WorkspaceHook, "write", "ledger/part-00000.json"),
}


def stalled(
    monkeypatch: pytest.MonkeyPatch, step: tuple[type, str, str], meanwhile: Callable[[], Any]
) -> list[str]:
    """Let the first attempt that comes to *step* stand still there while *meanwhile* happens; tell who did."""
    owner, method, word = step
    original, met = getattr(owner, method), []

    def standing(self: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        if not met and word in str(target):
            met.append(str(target))
            meanwhile()
        return original(self, target, *args, **kwargs)

    monkeypatch.setattr(owner, method, standing)
    return met


@pytest.mark.parametrize("step", STEPS)
def test_an_attempt_that_slept_through_a_newer_purchase_publishes_nothing_of_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The batch was bought and loaded anew while the first load stood still: results, report and ledger stay."""
    world.keys = [["a", "b"]]
    world.prepare()
    world.answered(0, [answer("a", good("old")), answer("b", {}, "old error")])
    zombie, context = world.operator(), world.context()
    left: list[Any] = []

    def purchase() -> None:
        world.manifest = world.prepared_from("another template")
        world.answered(0, [answer("b", good("new")), answer("a", {}, "new error")], epoch=2)
        world.load()
        left.extend([world.rows(), world.rows("results_errors"), world.report(), world.ledger(0)])

    met = stalled(monkeypatch, STEPS[step], purchase)
    # It may also find nothing to publish, or that its manifest is older than the ledger.
    with suppress(OwnershipLostError, OutputError):
        zombie.execute(context)
    assert met
    assert {row["key"]: row["text"] for row in world.rows()} == {"b": "new"}
    assert [world.rows(), world.rows("results_errors"), world.report(), world.ledger(0)] == left
    assert world.ledger(0).state == "LOADED"


@pytest.mark.parametrize("step", [step for step in STEPS if "publish" in step or "report" in step])
def test_two_attempts_at_one_purchase_leave_what_one_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Not even the time at which rows were loaded changes."""
    world.keys = [["a", "b", "c"]]
    world.prepare()
    world.answered(0, [answer("a", good("1")), answer("a", good("1")), answer("c", {}, "Bad")])
    older, context = world.operator(), world.context()
    left: list[Any] = []

    def newer() -> None:
        world.load()
        left.extend([world.rows(), world.rows("results_errors"), world.ledger(0)])

    met = stalled(monkeypatch, STEPS[step], newer)
    with suppress(OwnershipLostError):
        older.execute(context)
    assert met
    assert world.outcomes() == {"a": "succeeded", "b": "missing", "c": "failed"}
    assert [world.rows(), world.rows("results_errors"), world.ledger(0)] == left
    assert world.report()["attempt"] == str(world.attempt)


def test_a_publish_that_comes_too_late_says_so_and_is_not_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry of an attempt that is not the newest cannot help."""
    world.answered(0, [])
    world.answered(1, [answer("d", good("d"))])
    stalled(monkeypatch, STEPS["starting to publish"], world.load)
    older, context = world.operator(), world.context()
    with pytest.raises(OwnershipLostError, match="a newer attempt has published this batch"):
        older.execute(context)


def test_many_attempts_at_the_same_time_leave_what_one_leaves(world: World) -> None:
    """Whoever is not the newest may be told so; the newest one always gets through."""
    world.keys = [["a", "b", "c"]]
    world.prepare()
    world.answered(0, [answer("a", good("1")), answer("c", {}, "Bad"), answer("a", good("1"))])
    attempts = [(world.operator(), world.context()) for _ in range(4)]
    with ThreadPoolExecutor(len(attempts)) as pool:
        ends = [pool.submit(operator.execute, context) for operator, context in attempts]
    assert {type(end.exception()) for end in ends[:-1]} <= {type(None), OwnershipLostError}
    assert ends[-1].result()["attempt"] == world.report()["attempt"] == str(world.attempt)
    assert world.outcomes() == {"a": "succeeded", "b": "missing", "c": "failed"}
    assert len(world.rows()) + len(world.rows("results_errors")) == 3
    assert world.ledger(0).state == "LOADED"
