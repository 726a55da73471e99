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
from airflow_batch_gemini.exceptions import ConfigurationError, QualityError, ServiceError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.sql.results import ERRORS, RESULTS, TAKEN, create

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
            {"o": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}, "b": {"type": "STRING"}}}},
            "o is NULLABLE STRUCT<`a` STRING>, not STRUCT<`a` INT64, `b` STRING>",
        ),
        (
            {
                "o": {
                    "type": "OBJECT",
                    "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING"}}},
                }
            },
            "o is NULLABLE STRUCT<`a` STRING>, not STRUCT<`a` ARRAY<STRING>>",
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


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "OBJECT", "properties": properties}


def many(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ARRAY", "items": of}


WORD, NUMBER = {"type": "STRING"}, {"type": "INTEGER"}
SHALLOW = of(
    who=of(name=WORD, old=many(WORD)),
    lines=many(of(sku=WORD, parts=many(of(n=NUMBER)))),
)
DEEPER = of(
    who=of(name=WORD, age={**NUMBER, "description": "in years"}, home=of(city=WORD)),
    lines=many(of(sku=WORD, amount=NUMBER, parts=many(of(n=NUMBER, marks=many(WORD))))),
)
BEFORE = {"who": {"name": "Ada", "old": ["x"]}, "lines": [{"sku": "a", "parts": [{"n": 1}, {"n": 2}]}]}
AFTER = {
    "who": {"name": "Bo", "age": 7, "home": {"city": "Rome"}},
    "lines": [{"sku": "b", "amount": 3, "parts": [{"n": 4, "marks": ["m"]}]}, {"sku": "c"}],
}


@pytest.fixture
def grown(batch: World) -> tuple[World, World]:
    """A batch under one schema, loaded, and one of a later run under a schema with more fields, answered."""
    answered(batch, {"a": BEFORE, "b": {}, "c": {"who": None}}, SHALLOW)
    batch.load()
    later = World(batch.cloud, batch.bucket, batch.dataset, [["a"]], jobs=batch.jobs, run="later")
    answers = {"a": AFTER, "d": {"who": {}, "lines": []}, "e": {"who": {"age": "old"}}}
    answered(later, answers, DEEPER, epoch=2)
    return batch, later


def test_a_field_that_comes_later_is_added_within_structs_and_lists_of_them(
    grown: tuple[World, World],
) -> None:
    """Rows from before have NULL there and are not touched, and a field that the schema has no more stays, as NULL."""
    batch, later = grown
    before, [old] = batch.rows(), ask(f"SELECT batch_id FROM `{batch.dataset}.results` LIMIT 1")
    report = later.load()
    assert (report["outcomes"]["succeeded"], report["outcomes"]["invalid"], report["notes"]) == (2, 1, [])
    found = columns(batch)
    assert [field.name for field in found["who"].fields] == ["name", "old", "age", "home"]
    assert found["who"].fields[2].description == "in years"
    assert [field.name for field in found["lines"].fields] == ["parts", "sku", "amount"]
    rows = {(row["batch_id"] == old["batch_id"], row["key"]): row for row in batch.rows()}
    earlier = {key: rows[True, key] for key in "abc"}
    assert earlier["a"]["who"] == {"name": "Ada", "old": ["x"], "age": None, "home": None}
    assert earlier["a"]["lines"] == [
        {"sku": "a", "parts": [{"n": 1, "marks": []}, {"n": 2, "marks": []}], "amount": None}
    ]
    assert (earlier["b"]["who"], earlier["b"]["lines"], earlier["c"]["who"]) == (None, [], None)
    assert [row["loaded_at"] for row in earlier.values()] == [row["loaded_at"] for row in before]
    assert rows[False, "a"]["who"] == {"name": "Bo", "old": [], "age": 7, "home": {"city": "Rome"}}
    assert rows[False, "a"]["lines"] == [
        {"parts": [{"n": 4, "marks": ["m"]}], "sku": "b", "amount": 3},
        {"parts": [], "sku": "c", "amount": None},
    ]
    assert rows[False, "d"]["who"] == {"name": None, "old": [], "age": None, "home": None}
    view = f"`{batch.dataset}.results_latest`"
    assert ask(f"SELECT who.home.city AS city FROM {view} WHERE key = 'a'") == [{"city": "Rome"}]


def test_loading_either_batch_again_after_a_struct_has_grown_changes_nothing(
    grown: tuple[World, World],
) -> None:
    """Whichever schema it was asked with; the fields have found their places."""
    batch, later = grown
    later.load()
    rows, shape = batch.rows(), columns(batch)
    later.load()
    batch.load()
    assert (batch.rows(), columns(batch)) == (rows, shape)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_a_struct_grows_the_next_attempt_leaves_the_same_tables(
    grown: tuple[World, World], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Fields more harm nobody; nothing is published until they are there."""
    batch, later = grown
    before, grow = batch.rows(), WarehouseHook.grow_table

    def killed(self: WarehouseHook, *args: Any) -> None:
        if moment == "after":
            grow(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WarehouseHook, "grow_table", killed)
        with pytest.raises(KeyboardInterrupt):
            later.load()
    assert [row["text"] for row in batch.rows()] == [row["text"] for row in before]
    later.load()
    assert len(batch.rows()) == len(before) + 2


def test_a_batch_that_is_too_bad_to_be_published_gives_no_struct_a_field(grown: tuple[World, World]) -> None:
    """What is judged comes before what is changed."""
    batch, later = grown
    shape = columns(batch)
    with pytest.raises(QualityError):
        later.load(max_invalid_rate=0.1)
    assert columns(batch) == shape


@pytest.mark.parametrize("there", [False, True])
def test_a_struct_that_another_load_makes_meanwhile_keeps_its_places(
    batch: World, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """BigQuery goes by the places of fields, not by their names: a city would become a name, and nobody be told."""
    if there:
        answered(batch, {"a": {"n": 1}}, OLD)
        batch.load()
    answered(
        batch, {"a": {"who": {"city": "Rome", "name": "Ada"}}}, of(who=of(city=WORD, name=WORD)), epoch=2
    )
    made, ensure = "ADD COLUMN who STRUCT<name STRING, city STRING>", WarehouseHook.ensure_job

    def meanwhile(self: WarehouseHook, **kwargs: Any) -> Any:
        if kwargs["purpose"] == "audit":
            table = TableName.parse(f"{batch.dataset}.results", default_project="demo")
            ask(f"{create(table, RESULTS)} ALTER TABLE {table.sql} {made}")
        return ensure(self, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(WarehouseHook, "ensure_job", meanwhile)
        batch.load()
    assert [row["who"] for row in batch.rows()] == [{"name": "Ada", "city": "Rome"}]


def test_a_struct_that_another_load_makes_meanwhile_without_our_fields_stops_the_publish(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt adds them."""
    answered(batch, {"a": {"n": 1}}, OLD)
    batch.load()
    answered(batch, {"a": {"who": {"city": "Rome"}}}, of(who=of(city=WORD)), epoch=2)
    ensure = WarehouseHook.ensure_job

    def meanwhile(self: WarehouseHook, **kwargs: Any) -> Any:
        if kwargs["purpose"] == "audit":
            ask(f"ALTER TABLE `{batch.dataset}.results` ADD COLUMN who STRUCT<name STRING>")
        return ensure(self, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(WarehouseHook, "ensure_job", meanwhile)
        with pytest.raises(
            ServiceError, match=r"changed while the load ran\. Nothing was published; a retry"
        ):
            batch.load()
    batch.load()
    assert [row["who"] for row in batch.rows()] == [{"name": None, "city": "Rome"}]


LATER = {"verified", "path", "round", "template_fingerprint", "template_version"}


def test_without_a_schema_there_is_the_text_alone(batch: World) -> None:
    """Whatever it looks like."""
    answered(batch, {"a": GOOD}, {})
    batch.load()
    assert list(columns(batch)) == [one.name for one in RESULTS]
