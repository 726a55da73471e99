"""Rounds that are loaded in whatever order, and however often: the tables end the same, or nothing is published."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest
from repair_side import Story, rows

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.landing import JobOutcome
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.exceptions import AccountingError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.sql.landing import query
from airflow_batch_gemini.sql.publishing import UNACCOUNTED, Publication, publish, published_table
from airflow_batch_gemini.sql.results import ERRORS, LoadedBatch

Round = Mapping[str, bool]
"""By key, whether it succeeded."""


def three_rounds(story: Story) -> None:
    """Some rows succeed in each round, and some never."""
    for number in range(3):
        story.cloud.knobs(row_error_rate=0.5)
        if number:
            story.repair(number)
        else:
            story.prepare(rows(24))
        story.go(number)


def test_rounds_end_the_same_in_whatever_order_they_are_loaded_again(in_files: Story) -> None:
    """Not even the time at which a row was loaded changes."""
    three_rounds(in_files)
    tables = in_files.tables
    assert {row["round"] for row in (tables[0] | tables[1]).values()} == {0, 1, 2}
    for order in [(2, 0, 1), (1, 2, 0)]:
        for number in order:
            in_files.load(number)
            assert in_files.tables == tables


def test_a_first_round_that_is_prepared_anew_takes_everything_back(in_files: Story) -> None:
    """Another template asks something else, and what was answered before is no answer to that."""
    three_rounds(in_files)
    in_files.cloud.knobs(row_error_rate=0.3)
    in_files.prepare(rows(24), GeminiTemplate(prompt="Who is {text}?"))
    in_files.go()
    found = in_files.tables
    assert {row["round"] for row in (found[0] | found[1]).values()} == {0}
    with pytest.raises(AccountingError, match="changed nothing: the rows of all rounds do not add up"):
        in_files.load(2)
    assert in_files.tables == found


def test_a_round_is_not_published_where_the_first_one_is_not(in_files: Story) -> None:
    """Half of the rows without the other half would be no account of them."""
    three_rounds(in_files)
    in_files.results_name = "elsewhere"
    with pytest.raises(AccountingError, match="The first round is not in these tables"):
        in_files.load(1)
    assert in_files.tables == ({}, {})


# ------------------------------------------------------------------------------------ the script alone, against a model


class Bench:
    """A batch of which nothing exists but outcomes."""

    def __init__(self, dataset: str, keys: int) -> None:
        self.hook = WarehouseHook()
        self.keys = [f"key-{number}" for number in range(keys)]
        self.dataset = dataset
        self.batch = self.of("f")
        self.published = published_table(self.batch.results, self.batch.errors, "b")
        self.jobs = 0

    def of(self, fingerprint: str) -> LoadedBatch:
        return LoadedBatch(
            batch_id="b",
            fingerprint=fingerprint,
            results=TableName.parse(f"{self.dataset}.results"),
            errors=TableName.parse(f"{self.dataset}.errors"),
        )

    def run(self, sql: str) -> JobOutcome:
        self.jobs += 1
        job = self.hook.ensure_job(
            configuration=query(sql),
            project="demo",
            location="us-central1",
            purpose="test",
            salt=str(self.jobs),
        )
        return self.hook.until_done(job, timeout=60, poll_interval=0)

    def load(self, number: int, outcomes: Round, batch: LoadedBatch, *, attempt: str = "a") -> JobOutcome:
        """Publish a round."""
        table = TableName.parse(f"{self.dataset}.outcomes_{self.jobs}")
        rows = ", ".join(f"STRUCT('{key}' AS key, {good} AS good)" for key, good in outcomes.items())
        known = {
            "batch_id": "'b'",
            "key": "key",
            "outcome": "IF(good, 'succeeded', 'failed')",
            "text": f"'{number}'",
            "round": str(number),
            "batch_fingerprint": f"'{batch.fingerprint}'",
            "batch_date": "DATE '2026-09-01'",
        }
        columns = ", ".join(
            f"{known.get(one.name, f'CAST(NULL AS {one.type})')} AS `{one.name}`"
            for one in ERRORS
            if one.name != "loaded_at"
        )
        made = self.run(
            f"CREATE TABLE `{table}` AS SELECT {columns}, CAST(NULL AS JSON) AS answer FROM UNNEST([{rows}])"
        )
        assert not made.failed, made.error
        publication = Publication(batch=batch, rows=len(self.keys), round=number)
        return self.run(publish(publication, attempt=attempt, outcomes=table, published=self.published))

    def state(self) -> dict[str, tuple[bool, int]]:
        """By key, whether it stands in the results, and of which round."""
        found: dict[str, tuple[bool, int]] = {}
        for good, table in ((True, "results"), (False, "errors")):
            sql = f"SELECT key, round, text FROM `{self.dataset}.{table}`"
            for row in self.hook.query_rows(sql, project="demo", location="us-central1"):
                assert row["key"] not in found
                assert row["text"] == str(row["round"])
                found[row["key"]] = (good, row["round"])
        return found


def expected(loaded: Mapping[int, Round], keys: Sequence[str]) -> dict[str, tuple[bool, int]]:
    """Success wins over failure, and the later round over the earlier one."""
    return {
        key: max((outcomes[key], number) for number, outcomes in loaded.items() if key in outcomes)
        for key in keys
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("cloud")
def test_the_script_leaves_what_the_rule_says_after_any_sequence_of_loads(dataset: str, seed: int) -> None:
    """Any rounds, over any rows, in any order, repeated, and the first one with another outcome each time."""
    chance, bench = random.Random(seed), Bench(dataset, 8)

    def outcomes(keys: Sequence[str]) -> Round:
        return {key: chance.random() < 0.4 for key in keys}

    rounds = {number: outcomes(chance.sample(bench.keys, 5)) for number in (1, 2, 3)}
    loaded: dict[int, Round] = {0: outcomes(bench.keys)}
    assert not bench.load(0, loaded[0], bench.batch).failed
    for _ in range(8):
        number = chance.choice([0, 1, 2, 3])
        # The first round may have been bought anew; a later one is what it was.
        loaded[number] = (
            outcomes(bench.keys)
            if number == 0 and chance.random() < 0.5
            else loaded.get(number) or rounds[number]
        )
        done = bench.load(number, loaded[number], bench.batch)
        assert not done.failed, done.error
        found, wanted = bench.state(), expected(loaded, bench.keys)
        # Of a row that has succeeded for a while its earlier errors are forgotten; they come back with their round.
        assert {key: good for key, (good, _) in found.items()} == {
            key: good for key, (good, _) in wanted.items()
        }
        assert {key: one for key, one in found.items() if one[0]} == {
            k: one for k, one in wanted.items() if one[0]
        }
    for _ in range(3):
        for number, outcome in sorted(loaded.items(), key=lambda _: chance.random()):
            bench.load(number, outcome, bench.batch)
    assert bench.state() == expected(loaded, bench.keys)


@pytest.mark.usefixtures("cloud")
def test_an_attempt_gives_way_to_a_newer_one_of_its_own_round_only(dataset: str) -> None:
    """The tasks of two rounds get their ids in no order that means anything."""
    bench = Bench(dataset, 2)
    assert not bench.load(0, dict.fromkeys(bench.keys, False), bench.batch, attempt="b").failed
    assert not bench.load(1, dict.fromkeys(bench.keys, True), bench.batch, attempt="a").failed
    assert "newer attempt" in str(
        bench.load(0, dict.fromkeys(bench.keys, False), bench.batch, attempt="a").error
    )
    assert bench.state() == dict.fromkeys(bench.keys, (True, 1))


@pytest.mark.usefixtures("cloud")
def test_a_round_of_an_earlier_preparation_changes_nothing(dataset: str) -> None:
    """Whatever it knows answers other requests."""
    bench = Bench(dataset, 2)
    bench.load(0, dict.fromkeys(bench.keys, False), bench.of("old"))
    bench.load(0, dict.fromkeys(bench.keys, False), bench.of("new"))
    assert UNACCOUNTED in str(bench.load(1, dict.fromkeys(bench.keys, True), bench.of("old")).error)
    assert bench.state() == dict.fromkeys(bench.keys, (False, 0))
