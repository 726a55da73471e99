"""Ten thousand scenarios of spoiled output through the real load: rows in are rows out, each with the right outcome."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from load_side import World
from scenario_side import SCHEMA, TOKENS, Scenario, Written, row_of, scenario, wrong_of

from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import MISSING, Outcome, Reading
from airflow_batch_gemini.exceptions import LandingError, OutputError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.manifest import Medium

SCENARIOS = 2000
"""Loaded together; rows are judged by their keys, so those of one scenario do not see those of another."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a batch of scenarios lies there."""

    schema: dict[str, Any] | None = None
    requests: Medium = "gcs"
    predictions: Medium = "gcs"
    shards: int = 1


WAYS = {
    "typed": Way(schema=SCHEMA),
    "typed_in_many_shards": Way(schema=SCHEMA, shards=7),
    "text_in_shards": Way(shards=3),
    "requests_in_bigquery": Way(schema={"type": "OBJECT"}, requests="bigquery"),
    "all_in_bigquery": Way(schema=SCHEMA, requests="bigquery", predictions="bigquery"),
}


def first_seed(place: int) -> int:
    """In CI always the same ones; at a desk every run looks elsewhere."""
    start = 0 if os.environ.get("CI") else random.SystemRandom().randrange(10**5) * len(WAYS)
    return (start + place) * SCENARIOS


def lines_of(scenarios: list[Scenario], *, strangers: bool = False) -> list[Written]:
    """What a job wrote for many scenarios, in any order."""
    lines = [line for one in scenarios for line in (*one.lines, *(one.strangers if strangers else ()))]
    return random.Random(scenarios[0].seed).sample(lines, len(lines))


@pytest.mark.proof
@pytest.mark.parametrize("name", WAYS)
def test_every_row_of_two_thousand_scenarios_ends_as_the_reference_says(world: World, name: str) -> None:
    """In one table, and once; what is not whole or not ours publishes nothing; a second load changes nothing."""
    way, start = WAYS[name], first_seed(list(WAYS).index(name))
    scenarios = [scenario(seed) for seed in range(start, start + SCENARIOS)]
    parts = [scenarios[: SCENARIOS // 3], scenarios[SCENARIOS // 3 :]]
    prepare(world, way, parts)
    for number, part in enumerate(parts):
        world.answered(number, lines_of(part, strangers=True), shards=way.shards, epoch=1)
    corrupt = [sum(isinstance(line, bytes) for one in part for line in one.lines) for part in parts]
    with pytest.raises(OutputError, match="carry a key that is no request of this batch"):
        world.load(max_corrupt_lines=max(corrupt))
    for number, part in enumerate(parts):
        world.answered(number, lines_of(part), shards=way.shards, epoch=2)
    if way.predictions == "gcs":
        with pytest.raises(LandingError, match="failed: invalid: "):
            world.load(max_corrupt_lines=max(corrupt) - 1)
    assert nothing_published(world)

    report = world.load(max_corrupt_lines=max(corrupt))
    tables = world.rows(), world.rows("results_errors")
    expected = {key: reading for one in scenarios for key, reading in one.readings(way.schema).items()}
    check_rows(scenarios, expected, way, *tables)
    # A table has columns, and no line of it can be corrupt.
    check_report(report, scenarios, expected, corrupt=sum(corrupt) if way.predictions == "gcs" else 0)
    possible = set(Outcome) - {Outcome.REJECTED} - ({Outcome.INVALID} if way.schema is None else set())
    assert {reading.outcome for reading in expected.values()} == possible

    again = world.load(max_corrupt_lines=max(corrupt))
    assert (world.rows(), world.rows("results_errors")) == tables
    differs = {name for name in report if report[name] != again[name]}
    assert differs <= {"attempt", "times", "durations"}


def prepare(world: World, way: Way, parts: list[list[Scenario]]) -> None:
    world.keys = [[key for one in part for key in one.keys] for part in parts]
    world.schema, world.requests, world.predictions = way.schema, way.requests, way.predictions
    world.prepare()


def nothing_published(world: World) -> bool:
    hook = WarehouseHook()
    try:
        tables = [TableName.parse(f"{world.dataset}.{name}") for name in ("results", "results_errors")]
        return all(hook.table_info(table) is None for table in tables)
    finally:
        hook.close()


def check_rows(
    scenarios: list[Scenario],
    expected: dict[str, Reading],
    way: Way,
    results: list[dict[str, Any]],
    errors: list[dict[str, Any]],
) -> None:
    """Fail with the first scenario that ends otherwise, its seed and its lines."""
    assert len(results) + len(errors) == len(expected) == sum(len(one.keys) for one in scenarios)
    good, bad = {row["key"]: row for row in results}, {row["key"]: row for row in errors}
    assert good.keys() | bad.keys() == expected.keys()
    for one in scenarios:
        wrong = wrong_of({key: expected[key] for key in one.keys}, good, bad)
        lines = "\n".join(map(repr, one.lines))
        assert not wrong, f"scenario({one.seed}) under {way}: {wrong}\nof the lines\n{lines}"


def check_report(
    report: dict[str, Any], scenarios: list[Scenario], expected: dict[str, Reading], *, corrupt: int
) -> None:
    """The counts are those of the lines that were written."""
    lines = [line for one in scenarios for line in one.read]
    came = {line["key"] for line in lines}
    outcomes = Counter(reading.outcome.value for reading in expected.values())
    assert report["outcomes"] == {outcome.value: outcomes[outcome] for outcome in Outcome}
    assert report["rows"] == len(expected)
    assert report["duplicates"] == len(lines) - len(came) > 0
    assert report["corrupt_lines"] == corrupt
    unverified = sum(one.verified is None and one != MISSING for one in expected.values())
    assert report["unverified"] == unverified > 0
    rows = [row_of(reading) for reading in expected.values()]
    assert report["tokens"] == {name: sum(row[f"{name}_tokens"] or 0 for row in rows) for name in TOKENS}
    assert report["cost_usd"] == float(sum(row["cost_usd"] or Decimal(0) for row in rows))


def test_a_row_that_ended_otherwise_would_be_seen() -> None:
    """A judge who finds nothing proves nothing."""
    [one] = [found for found in map(scenario, range(1000)) if len(found.lines) == len(found.keys) == 6][:1]
    expected = one.readings(SCHEMA)
    good = {key: row_of(found) for key, found in expected.items() if found.outcome is Outcome.SUCCEEDED}
    bad = {key: row_of(found) for key, found in expected.items() if key not in good}
    assert wrong_of(expected, good, bad) == {}
    assert [*wrong_of(expected, good | bad, bad)] == [*bad]
    assert [*wrong_of(expected, good, bad | good)] == [*good]
    for key, reading in expected.items():
        tables, column = (good, bad), "text" if key in good else "reason"
        lost = [{name: row for name, row in table.items() if name != key} for table in tables]
        other = [
            {**table, key: {**table[key], column: "other"}} if key in table else table for table in tables
        ]
        assert [*wrong_of(expected, *lost)] == [*wrong_of(expected, *other)] == [key], reading
