"""Rows for which nothing was sent, through the real load: copies of a request, and rows that a rule rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from load_side import World, answer, good, request_of

from airflow_batch_gemini.batch.manifest import Aside, Medium
from airflow_batch_gemini.exceptions import AccountingError, OutputError

COPIES = [{"key": "k_e", "fingerprint": "f-a"}, {"key": "k_f", "fingerprint": "f-b"}]
REJECTED = [{"key": "g", "rule": "GB108", "message": "the request is too large"}]


def put_aside(world: World, *, copies: int = 2, rejected: int = 1) -> None:
    """Mark the requests, and write what was put aside."""
    parts = []
    for part, keys in zip(world.manifest.parts, world.keys, strict=True):
        lines = [{"key": f"k_{key}", "fingerprint": f"f-{key}", "request": request_of(key)} for key in keys]
        if part.uri.startswith("bq://"):
            columns = [("key", "STRING"), ("fingerprint", "STRING"), ("request", "JSON")]
            world.table(world.tables.requests(part.index), columns, lines)
        parts.append(replace(part, checksum=world.put(world.places.requests(part.index), lines)))
    world.manifest = replace(
        world.manifest,
        parts=tuple(parts),
        fingerprinted=True,
        copies=aside(world, "copies", COPIES[:copies]),
        rejected=aside(world, "rejected", REJECTED[:rejected]),
    )
    world.put_bytes(world.places.manifest, world.manifest.to_json())


def aside(world: World, name: str, rows: Sequence[dict[str, Any]]) -> Aside | None:
    if not rows:
        return None
    if world.requests == "bigquery":
        table = getattr(world.tables, name)()
        world.table(table, [(column, "STRING") for column in rows[0]], rows)
        return Aside(uri=f"bq://{table}", rows=len(rows))
    uri = getattr(world.places, name)
    return Aside(uri=str(uri), rows=len(rows), checksum=world.put(uri, rows))


@pytest.mark.parametrize("requests", ["gcs", "bigquery"])
def test_copies_get_the_answer_that_was_paid_for_once_and_rejected_rows_are_errors(
    world: World, requests: Medium
) -> None:
    """Seven rows, four requests: each row has its outcome, and the bill is that of the requests."""
    world.requests = requests
    world.prepare()
    put_aside(world)
    world.answered(0, [answer("a", good("A")), answer("c", good("C"))])
    world.answered(1, [answer("d", good("D"))])
    report = world.load()
    assert world.outcomes() == {
        "a": "succeeded", "b": "missing", "c": "succeeded", "d": "succeeded",
        "e": "succeeded", "f": "missing", "g": "rejected",
    }  # fmt: skip
    copy = next(row for row in world.rows() if row["key"] == "e")
    assert (copy["text"], copy["copy_of"], copy["prompt_tokens"], copy["cost_usd"]) == (
        "A",
        "a",
        0,
        Decimal(0),
    )
    assert [row["fingerprint"] for row in world.rows()] == ["f-a", "f-c", "f-d", "f-a"]
    rejected = next(row for row in world.rows("results_errors") if row["key"] == "g")
    assert (rejected["reason"], rejected["message"], rejected["retryable"], rejected["cost_usd"]) == (
        "GB108", "the request is too large", False, None,
    )  # fmt: skip
    assert (report["rows"], report["copies"], report["duplicates"]) == (7, 2, 0)
    assert report["cost_usd"] == pytest.approx(3 * 0.00012)


def test_loading_them_again_changes_nothing(world: World) -> None:
    """Not one row more, and none is loaded anew."""
    put_aside(world)
    world.answered(0, [answer("a", good("A"))])
    world.answered(1, [answer("d", good("D"))])
    world.load()
    before = world.rows(), world.rows("results_errors")
    world.load()
    assert (world.rows(), world.rows("results_errors")) == before


def test_a_copy_of_a_request_that_nobody_sends_stops_the_load(world: World) -> None:
    """Its row would be lost without a trace."""
    put_aside(world)
    stray = [*COPIES[:1], {"key": "k_f", "fingerprint": "f-nobody"}]
    world.manifest = replace(world.manifest, copies=aside(world, "copies", stray))
    world.put_bytes(world.places.manifest, world.manifest.to_json())
    world.answered(0, [answer("a", good("A"))])
    world.answered(1, [answer("d", good("D"))])
    with pytest.raises(AccountingError, match="Nothing was published"):
        world.load()


@pytest.mark.parametrize("name", ["copies", "rejected"])
def test_what_was_put_aside_and_is_gone_or_changed_stops_the_load(world: World, name: str) -> None:
    """Nobody could say whose answers these are."""
    put_aside(world)
    world.answered(0, [answer("a", good("A"))])
    world.answered(1, [answer("d", good("D"))])
    world.put(getattr(world.places, name), [{"key": "k_x"}])
    with pytest.raises(OutputError, match=f"{name}.jsonl is another file than was prepared"):
        world.load()
    uri = getattr(world.places, name)
    world.cloud.parts.storage.delete(uri.bucket, uri.name)
    with pytest.raises(OutputError, match=f"{name}.jsonl is gone"):
        world.load()
