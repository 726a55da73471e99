"""Rounds of repair under troubles drawn anew for each: after every round each row stands as the reference says."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from repair_side import SCHEMA, Story, rows
from scenario_side import readings, wrong_of

from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.outcome import Outcome, Reading
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

pytestmark = pytest.mark.proof

COUNT = 300
ROUNDS = 4
RATES = (
    "row_error_rate", "truncate_rate", "missing_rate", "duplicate_rate", "swap_echo_rate", "invalid_json_rate",
    "line_separator_rate", "corrupt_line_rate", "invalid_utf8_rate", "thought_rate", "cached_rate",
)  # fmt: skip


def troubles(rng: random.Random) -> dict[str, Any]:
    """Knobs for one round."""
    return {rate: rng.choice((0.0, 0.02, 0.2)) for rate in RATES} | {
        "row_error_code": rng.choice((429, 499, 500, 503, 504)),
        "output_shards": rng.choice((1, 1, 3)),
        "cut_last_line": rng.choice((False, False, True)),
        "fail_after_rows": rng.choice((0, 0, 40)),
    }


def written(story: Story, number: int) -> Iterator[bytes]:
    """Yield the output lines of a round."""
    vertex = GeminiBatchHook()
    try:
        folders = [GcsUri.parse(vertex.get(name).output_uri) for name in story.jobs[number]]
    finally:
        vertex.close()
    for folder in folders:
        for one in story.storage.list(folder):
            if "/predictions.jsonl" in one.uri:
                stored = story.storage.read(GcsUri.parse(one.uri))
                assert stored is not None
                # Not splitlines: the answers have line separators of other kinds in them.
                yield from filter(None, stored.data.split(b"\n"))


def read(lines: list[bytes]) -> list[dict[str, Any]]:
    """Those that are JSON."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def bought(story: Story, number: int) -> dict[str, Reading]:
    """Buy and load a round that is prepared; return what the reference says of its rows."""
    story.buy(number)
    lines = list(written(story, number))
    came, requests = read(lines), story.requests(number)
    report = story.load(number, max_corrupt_lines=len(lines) - len(came))
    assert report["corrupt_lines"] == len(lines) - len(came)
    assert report["duplicates"] == len(came) - len({line["key"] for line in came})
    found = readings(list(requests), came, requests, SCHEMA)
    outcomes = Counter(reading.outcome.value for reading in found.values())
    assert report["outcomes"] == {outcome.value: outcomes[outcome] for outcome in Outcome}
    return found


def check(story: Story, standing: dict[str, Reading], last: dict[str, int]) -> None:
    """Fail unless every row is in one table, with its newest outcome, and loading again changes nothing."""
    results, errors = story.tables
    assert len(results) + len(errors) == COUNT
    assert wrong_of(standing, results, errors) == {}, story.run_id
    assert {key: row["round"] for key, row in (results | errors).items()} == last
    outcomes = Counter(reading.outcome.value for reading in standing.values())
    for number in story.jobs:
        again = story.load(number, max_corrupt_lines=COUNT)
        assert story.tables == (results, errors), story.run_id
        assert number == 0 or {name: count for name, count in again["standing"].items() if count} == outcomes


@pytest.mark.parametrize("place", range(3))
def test_after_every_round_each_row_is_in_one_table_as_the_reference_says(
    in_files: Story, place: int
) -> None:
    """What has succeeded stays as it is; whatever else was asked again is what the newest round says."""
    story = in_files
    seed = place if os.environ.get("CI") else random.SystemRandom().randrange(10**9)
    story.run_id, rng = f"troubles of seed {seed}", random.Random(seed)
    story.cloud.knobs(**troubles(rng), blocked_rate=0.03)
    story.prepare(rows(COUNT))
    standing = bought(story, 0)
    last = dict.fromkeys(standing, 0)
    check(story, standing, last)
    for number in range(1, ROUNDS):
        deserving = {
            key for key, one in standing.items() if one.outcome not in (Outcome.SUCCEEDED, Outcome.BLOCKED)
        }
        story.cloud.knobs(**troubles(rng))
        if not deserving:
            with pytest.raises(AirflowSkipException):
                story.repair(number)
            break
        story.repair(number)
        found = bought(story, number)
        assert found.keys() == deserving
        standing |= found
        last |= dict.fromkeys(found, number)
        check(story, standing, last)
