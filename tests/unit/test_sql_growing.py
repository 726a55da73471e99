"""STRUCTs that gain fields: what a column becomes, and our values in its shape, before GoogleSQL's own judgement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bigquery_engine import Engine
from sql_judge import Judge

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.sql.growing import growing, grown, item
from airflow_batch_gemini.sql.typed import type_of


def struct(name: str, *fields: Column, mode: str = "NULLABLE") -> Column:
    return Column(name, "STRUCT", mode, fields=fields)


A, B, LISTED = Column("a", "STRING"), Column("b", "INT64"), Column("l", "STRING", "REPEATED")
CASES: dict[str, tuple[Column, Column, Column | None]] = {
    "the same": (struct("o", A, B), struct("o", A, B), struct("o", A, B)),
    "a field more, at the end whatever its name": (struct("o", A, B), struct("o", B), struct("o", B, A)),
    "a field less": (struct("o", A), struct("o", A, B), struct("o", A, B)),
    "one more and one less": (struct("o", A, LISTED), struct("o", B, LISTED), struct("o", B, LISTED, A)),
    "a list gone": (struct("o", A), struct("o", LISTED, A), struct("o", LISTED, A)),
    "in a list": (
        struct("o", A, B, mode="REPEATED"),
        struct("o", B, mode="REPEATED"),
        struct("o", B, A, mode="REPEATED"),
    ),
    "in a list of a struct of a list": (
        struct("o", struct("p", struct("q", A, B, mode="REPEATED")), mode="REPEATED"),
        struct("o", struct("p", struct("q", B, mode="REPEATED")), mode="REPEATED"),
        struct("o", struct("p", struct("q", B, A, mode="REPEATED")), mode="REPEATED"),
    ),
    "in a struct of a struct": (
        struct("o", A, struct("p", A, B)),
        struct("O", struct("P", B), A),
        struct("O", struct("P", B, A), A),
    ),
    "another type": (struct("o", A), struct("o", Column("a", "INT64")), None),
    "another type, deep down": (
        struct("o", struct("p", A, B), mode="REPEATED"),
        struct("o", struct("p", Column("b", "FLOAT64")), mode="REPEATED"),
        None,
    ),
    "a list of it": (struct("o", A), struct("o", A, mode="REPEATED"), None),
    "a member that is a list": (struct("o", A), struct("o", Column("a", "STRING", "REPEATED")), None),
    "no struct": (struct("o", A), Column("o", "JSON"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_column_gains_fields_and_is_never_retyped_or_moved(name: str) -> None:
    """What both sides have must hold the same values."""
    ours, theirs, become = CASES[name]
    assert grown(ours, theirs) == become
    assert growing([ours, A], [B, theirs]) == (() if become in (None, theirs) else (become,))


def test_a_column_that_is_not_there_yet_is_added_whole() -> None:
    """And selected as it is."""
    assert growing([struct("o", A)], [A]) == ()
    assert item(struct("o", A), [A]) == "`o`"


def literal(column: Column, depth: int = 0) -> str:
    """A value of a column, all of whose words say where they stand."""
    if column.mode == "REPEATED":
        one = literal(Column(column.name, column.type, fields=column.fields), depth + 1)
        other = literal(Column(column.name, column.type, fields=column.fields), depth + 2)
        return f"[{one}, {other}]"
    if column.fields:
        inner = ", ".join(f"{literal(field, depth)} AS `{field.name}`" for field in column.fields)
        return f"STRUCT({inner})"
    return str(depth) if column.type == "INT64" else f"'{column.name}{depth}'"


def expected(ours: Column, theirs: Column, value: Any) -> Any:
    """The value in the shape of theirs."""
    if value is None or not theirs.fields:
        return value
    if isinstance(value, list):
        return [expected(ours, Column("", theirs.type, fields=theirs.fields), one) for one in value]
    mine = {field.name.casefold(): field for field in ours.fields}
    found = {name.casefold(): one for name, one in value.items()}
    return {
        one.name: expected(mine[one.name.casefold()], one, found[one.name.casefold()])
        if one.name.casefold() in mine
        else ([] if one.mode == "REPEATED" else None)
        for one in theirs.fields
    }


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    found = Engine()
    yield found
    found.close()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
@pytest.mark.parametrize("nothing", [False, True])
def test_a_value_is_put_into_the_shape_of_the_table(
    judge: Judge, engine: Engine, name: str, nothing: bool
) -> None:
    """By both engines, to the order of the fields and the last type; NULL stays NULL, and no list is an empty one."""
    ours, theirs, become = CASES[name]
    assert become is not None
    value = literal(ours)
    given = f"SELECT IF({nothing}, NULL, {value}) AS o" if ours.mode != "REPEATED" else f"SELECT {value} AS o"
    if nothing and ours.mode == "REPEATED":
        given = f"SELECT {type_of(ours)}[] AS o"
    sql = f"SELECT {item(ours, [theirs])} FROM ({given})"
    [column] = judge.analyse(sql).output_column_list
    [wanted] = judge.analyse(f"SELECT CAST(NULL AS {type_of(become)}) AS o").output_column_list
    assert column.column.type == wanted.column.type
    [before] = judge.rows(given)
    [found] = judge.rows(sql)
    assert json.dumps(found["o"]) == json.dumps(expected(ours, become, before["o"]))
    [(text,)] = engine.rows(f"SELECT TO_JSON_STRING(o) FROM ({sql})")
    assert json.dumps(json.loads(text)) == json.dumps(found["o"])
