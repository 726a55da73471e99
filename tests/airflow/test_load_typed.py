"""Typed columns through the real load: what fits lands in them, what does not is invalid, and tables only ever grow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from load_side import World, answer, good, killed_before
from typed_corpus import GOOD, INVOICE, INVOICES, OF_SCHEMAS

from airflow_batch_gemini.batch.columns import column, typed
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Line, read_line
from airflow_batch_gemini.batch.schema import shape_of
from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.sql.results import ERRORS, RESULTS, TAKEN

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture
def batch(world: World) -> World:
    """A workspace; each test prepares its own rows in it."""
    return world


def answered(batch: World, answers: Mapping[str, Any], schema: dict[str, Any], *, epoch: int = 1) -> None:
    """Prepare a batch under *schema*, and let a job answer it."""
    batch.keys, batch.schema = [list(answers)], schema
    batch.prepare()
    batch.answered(
        0,
        [
            answer(key, good(said if isinstance(said, str) else json.dumps(said)))
            for key, said in answers.items()
        ],
        epoch=epoch,
    )


def columns(batch: World, table: str = "results") -> dict[str, Column]:
    hook = WarehouseHook()
    try:
        found = hook.table_info(TableName.parse(f"{batch.dataset}.{table}"))
        return {} if found is None else {one.name: one for one in found.columns}
    finally:
        hook.close()


def ask(sql: str) -> list[dict[str, Any]]:
    hook = WarehouseHook()
    try:
        return list(hook.query_rows(sql, project="demo", location="us-central1"))
    finally:
        hook.close()


@pytest.mark.parametrize("name", ["invoices", *OF_SCHEMAS])
def test_the_local_bigquery_judges_every_answer_as_the_reference_does(batch: World, name: str) -> None:
    """The third engine: the whole way through landing, classification and publish."""
    schema, answers = (
        (INVOICE, INVOICES)
        if name == "invoices"
        else (
            OF_SCHEMAS[name][0],
            {str(place): json.dumps(one) for place, one in enumerate(OF_SCHEMAS[name][1])},
        )
    )
    answered(batch, answers, schema)
    batch.load()
    promised, shape = typed(batch.manifest.response_schema, taken=TAKEN), shape_of(schema)
    found = {row["key"]: row for row in [*batch.rows(), *batch.rows("results_errors")]}
    wrong = {}
    for key, said in answers.items():
        response = good(said if isinstance(said, str) else json.dumps(said))
        reading = read_line(Line(key=key, status="", response=response), shape, None, promised)
        wanted: dict[str, Any] = {"text": reading.text}
        if reading.outcome == "succeeded":
            wanted |= {"answer": reading.answer, **reading.values}
        else:
            wanted |= {"outcome": reading.outcome.value, "reason": reading.reason, "path": reading.path}
        got = {column: found[key][column] for column in wanted}
        if got != wanted:
            wrong[key] = {
                column: (got[column], wanted[column]) for column in wanted if got[column] != wanted[column]
            }
    assert wrong == {}
    assert len(found) == len(answers)
    made = [*RESULTS, *map(column, promised.fields)]
    assert sorted(columns(batch).values(), key=str) == sorted(made, key=str)


def test_columns_are_named_and_described_by_the_schema_down_to_the_fields(batch: World) -> None:
    """A name that is ours gets a prefix."""
    answered(batch, {"a": GOOD}, INVOICE)
    batch.load()
    found = columns(batch)
    assert (found["answer_text"].type, found["answer_text"].description) == ("STRING", 'What it\'s "about"')
    assert found["text"].description == ""
    assert (found["order"].type, found["order"].description) == ("STRUCT", "nested")
    assert [field.name for field in found["order"].fields] == ["days", "of", "select"]
    assert (found["lines"].type, found["lines"].mode) == ("STRUCT", "REPEATED")
    assert found["either"].type == found["matrix"].type == found["free"].type == "JSON"
    assert ask(
        f"SELECT `order`.`select` AS x, lines[SAFE_OFFSET(0)].sku AS sku FROM `{batch.dataset}.results`"
    ) == [{"x": "x", "sku": "a"}]


def test_a_second_load_of_typed_rows_changes_nothing(batch: World) -> None:
    """Lists, structs and JSON are compared by their texts."""
    answered(batch, {"a": GOOD, "b": {"count": 1, "total": None, "either": {"x": [1.0]}}, "c": "{}"}, INVOICE)
    batch.load()
    before = batch.rows(), batch.rows("results_errors")
    batch.load()
    assert (batch.rows(), batch.rows("results_errors")) == before


def test_a_property_that_comes_later_becomes_a_column_and_nothing_is_dropped(batch: World) -> None:
    """Rows from before have NULL there; a property that goes leaves its column."""
    answered(batch, {"a": {"n": 1, "old": "x"}}, OLD)
    batch.load()
    answered(batch, {"a": {"n": 2, "new": [1, 2]}}, NEW, epoch=2)
    report = batch.load()
    [row] = batch.rows()
    assert (row["n"], row["new"]) == (2, [1, 2])
    assert list(columns(batch))[-3:] == ["n", "old", "new"]
    assert report["notes"] == []


OLD = {
    "type": "OBJECT",
    "properties": {"n": {"type": "INTEGER"}, "old": {"type": "STRING"}},
    "propertyOrdering": ["n", "old"],
}
NEW = {
    "type": "OBJECT",
    "properties": {"n": {"type": "INTEGER"}, "new": {"type": "ARRAY", "items": {"type": "INTEGER"}}},
}


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"n": {"type": "NUMBER"}}, "n is NULLABLE INT64, not FLOAT64"),
        ({"N": {"type": "STRING"}}, "N is NULLABLE INT64, not STRING"),
        ({"n": {"type": "ARRAY", "items": {"type": "INTEGER"}}}, "n is NULLABLE INT64, not ARRAY<INT64>"),
        (
            {"o": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}}}},
            "o is NULLABLE STRUCT<`a` STRING>, not STRUCT<`a` STRING, `b` STRING>",
        ),
    ],
)
def test_a_property_of_another_type_is_refused_before_anything_is_started(
    batch: World, properties: dict[str, Any], says: str
) -> None:
    """No column is retyped; what was paid for stays where it is."""
    first = {"n": {"type": "INTEGER"}, "o": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
    answered(batch, {"a": {"n": 1}}, {"type": "OBJECT", "properties": first})
    batch.load()
    before = batch.rows()
    answered(batch, {"a": {"n": 2}}, {"type": "OBJECT", "properties": properties}, epoch=2)
    jobs = posted(batch)
    with pytest.raises(ConfigurationError, match="Nothing was loaded") as caught:
        batch.load()
    assert says in str(caught.value)
    assert (batch.rows(), posted(batch) - 1) == (before, jobs)


def posted(batch: World) -> int:
    calls = batch.cloud.stats()["calls"]
    return sum(
        count
        for call, count in calls.items()
        if call.startswith("POST") and call.endswith(("/jobs", "/queries"))
    )


def test_tables_of_an_earlier_version_get_the_columns_they_lack(batch: World) -> None:
    """Their rows stay as they are, and so do columns of the user's own."""
    old = [(one.name, one.type) for one in RESULTS if one.name not in LATER]
    batch.table(
        TableName.parse(f"{batch.dataset}.results"),
        [*old, ("mine", "STRING")],
        [{"batch_id": "before", "key": "z", "mine": "kept"}],
    )
    old = [(one.name, one.type) for one in ERRORS if one.name not in LATER]
    batch.table(TableName.parse(f"{batch.dataset}.results_errors"), old, [])
    answered(batch, {"a": GOOD, "b": "{}"}, INVOICE)
    batch.load()
    rows = {row["key"]: row for row in batch.rows()}
    assert (rows["z"]["mine"], rows["z"]["lines"], rows["a"]["mine"], rows["a"]["count"]) == (
        "kept",
        [],
        None,
        3,
    )
    [error] = batch.rows("results_errors")
    assert (error["reason"], error["path"]) == ("REQUIRED", "$.count")


@pytest.mark.parametrize("purpose", ["extend", "publish", "view"])
def test_killed_while_a_table_grows_the_next_attempt_leaves_the_same_tables(
    batch: World, purpose: str
) -> None:
    """A column more harms nobody; nothing is published twice."""
    answered(batch, {"a": {"n": 1}}, OLD)
    batch.load()
    answered(batch, {"a": {"n": 2, "new": [1]}, "b": "{}", "c": "[]"}, NEW, epoch=2)
    with killed_before(purpose):
        batch.load()
    batch.load()
    assert [(row["key"], row["n"], row["new"]) for row in batch.rows()] == [("a", 2, [1]), ("b", None, [])]
    assert [row["key"] for row in batch.rows("results_errors")] == ["c"]
    assert ask(f"SELECT COUNT(*) AS n FROM `{batch.dataset}.results_latest` WHERE `new` IS NOT NULL") == [
        {"n": 2}
    ]


LATER = {"verified", "path", "round", "template_fingerprint", "template_version"}


def test_without_a_schema_there_is_the_text_alone(batch: World) -> None:
    """Whatever it looks like."""
    answered(batch, {"a": GOOD}, {})
    batch.load()
    assert list(columns(batch)) == [one.name for one in RESULTS]
