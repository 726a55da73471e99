"""Typed columns: the SQL before GoogleSQL's reference implementation, held against the rule in Python."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from outcome_corpus import CALL, THOUGHT, candidate, line, response
from test_sql_results import (
    BESIDE,
    MARKED,
    OUTCOME_COLUMNS,
    OUTCOMES,
    PART,
    PRO,
    PROVENANCE,
    PUBLICATION,
    PUBLISHED,
    RESULTS,
    Judge,
    inline,
    reference,
)
from typed_corpus import GOOD, INVOICE, INVOICES, OF_SCHEMAS

from airflow_batch_gemini.batch.columns import Field, Kind, Typed, column, typed
from airflow_batch_gemini.batch.outcome import Reading
from airflow_batch_gemini.batch.schema import Shape, shape_of
from airflow_batch_gemini.sql import outcomes, publishing, releasing, results
from airflow_batch_gemini.sql.results import TAKEN
from airflow_batch_gemini.sql.typed import type_of


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def judged(judge: Judge, schema: dict[str, Any], lines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what is wrong, by key: what GoogleSQL says and what Python says."""
    columns, shape = typed(schema, taken=TAKEN), shape_of(schema)
    sql = outcomes.classify([PART], PROVENANCE, shape=shape, price=PRO, columns=columns)
    found = {
        row["key"]: row
        for row in judge.rows(
            inline(sql, [f"k_{k}" for k in lines], [(f"k_{k}", v) for k, v in lines.items()])
        )
    }
    wrong = {}
    for key, reading in reference(lines, shape, columns).items():
        wanted, got = (
            told(reading, columns),
            {name: found[key][name] for name in ("outcome", "reason", "path", "text", "answer")},
        )
        got |= {one.name: plain(found[key][one.name], one) for one in columns.fields}
        if got != wanted:
            wrong[key] = {name: (got[name], wanted[name]) for name in wanted if got[name] != wanted[name]}
    assert len(found) == len(lines)
    return wrong


def told(reading: Reading, columns: Typed) -> dict[str, Any]:
    names = ("reason", "path", "text", "answer")
    return {
        "outcome": reading.outcome.value,
        **{name: getattr(reading, name) for name in names},
        **reading.values,
    }


def plain(value: Any, field: Field) -> Any:
    """Read dates and numbers out of the text that a whole row is written as."""
    if field.item is not None:
        return [plain(one, field.item) for one in value]
    if value is None:
        return None
    if field.kind is Kind.STRUCT:
        return {one.name: plain(value[one.name], one) for one in field.fields}
    if field.kind is Kind.INT64:
        return int(value)  # wide ones are written as text
    if field.kind is Kind.DATE:
        return dt.date.fromisoformat(value)
    return dt.datetime.fromisoformat(value) if field.kind is Kind.TIMESTAMP else value


def said(answer: Any) -> dict[str, Any]:
    return line(response(candidate(answer if isinstance(answer, str) else json.dumps(answer))))


def test_every_answer_lands_in_typed_columns_or_says_what_does_not_fit(judge: Judge) -> None:
    """GoogleSQL's own evaluation agrees with the rule in Python, column by column."""
    names = list(INVOICES)
    for start in range(0, len(names), 60):
        lines = {name: said(INVOICES[name]) for name in names[start : start + 60]}
        assert judged(judge, INVOICE, lines) == {}


@pytest.mark.parametrize("name", OF_SCHEMAS)
def test_whatever_the_schema_is_about(judge: Judge, name: str) -> None:
    """A word, a number, a list alone; names that are no column names."""
    schema, answers = OF_SCHEMAS[name]
    lines = {str(place): said(json.dumps(answer)) for place, answer in enumerate(answers)}
    lines |= {f"bare_{place}": said(str(answer)) for place, answer in enumerate(answers)}
    assert judged(judge, schema, lines) == {}


@pytest.mark.parametrize("name", [name for name in OF_SCHEMAS if name.endswith("_or_none")])
def test_an_answer_that_may_be_none_is_no_error_when_it_is(name: str) -> None:
    """It would be asked for again, and paid for again, for ever."""
    schema, answers = OF_SCHEMAS[name]
    columns = typed(schema, taken=TAKEN)
    readings = reference(
        {str(n): said(json.dumps(one)) for n, one in enumerate(answers)}, shape_of(schema), columns
    )
    assert [readings[place].outcome.value for place in "02"] == ["succeeded", "succeeded"]
    assert readings["0"].answer is None
    assert not any(readings["0"].values.values())


def test_a_property_of_any_type_may_be_null() -> None:
    """Where a schema, or an alternative of it, lets it be."""
    schema, answers = OF_SCHEMAS["anything"]
    columns = typed(schema, taken=TAKEN)
    readings = reference(
        {str(n): said(json.dumps(one)) for n, one in enumerate(answers)}, Shape.OBJECT, columns
    )
    assert [reading.path for reading in readings.values()] == [None, None, "$.either", "$.any"]


def test_functions_that_are_called_are_the_answer_and_fill_no_column(judge: Judge) -> None:
    """Nothing of them can fail to fit."""
    lines = {
        "call": line(response(candidate(CALL))),
        "call_beside": line(response(candidate(json.dumps(GOOD), CALL, THOUGHT))),
        "truncated": line(response(candidate(json.dumps(GOOD), finish="MAX_TOKENS"))),
        "wrong_and_truncated": line(response(candidate("{}", finish="MAX_TOKENS"))),
        "wrong_and_failed": line(response(candidate("{}")), "Internal error"),
        "missing": line({}),
    }
    assert judged(judge, INVOICE, lines) == {}


def test_every_statement_about_typed_columns_is_googlesql() -> None:
    """Tables made with them and given them, and the publish that fills them; types agree to the last field."""
    columns = typed(INVOICE, taken=TAKEN)
    made = [column(one) for one in columns.fields]
    judge = Judge(made)
    sql = outcomes.classify(
        [MARKED], PROVENANCE, shape=Shape.OBJECT, price=PRO, beside=BESIDE, columns=columns
    )
    found = {c.name: c.column.type for c in judge.analyse(sql).output_column_list}
    wanted = {c.name: judge.type_named(type_of(c)) for c in (*OUTCOME_COLUMNS, *made)}
    assert found == wanted
    script = publishing.publish(
        PUBLICATION, attempt="a", outcomes=OUTCOMES, published=PUBLISHED, columns=made
    )
    assert judge.analyse_script(script).count("ResolvedMergeStmt") == 2
    assert judge.analyse_script(results.extend(RESULTS, made)) == ["ResolvedAlterTableStmt"]


def test_rows_that_were_held_back_are_put_together_as_they_were_classified() -> None:
    """Column by column, so that one script publishes either; whatever round is there gives way to all of them."""
    columns = typed(INVOICE, taken=TAKEN)
    made = [column(one) for one in columns.fields]
    judge = Judge(made)
    sql = releasing.outcomes(PUBLICATION.batch, made)
    found = {c.name: c.column.type for c in judge.analyse(sql).output_column_list}
    assert found == {c.name: judge.type_named(type_of(c)) for c in (*OUTCOME_COLUMNS, *made)}
    judge.analyse(releasing.standings(OUTCOMES))
    script = publishing.publish(
        replace(PUBLICATION, whole=True), attempt="a", outcomes=OUTCOMES, published=PUBLISHED, columns=made
    )
    assert judge.analyse_script(script).count("ResolvedMergeStmt") == 2
    assert f"{results.TARGET}.round" not in script


def test_a_property_may_be_called_like_anything_that_a_statement_names() -> None:
    """A column called like the table that a MERGE changes would be taken for its whole row."""
    words = {
        "target",
        "source",
        *re.findall(
            r"\bAS ([a-z_]+)\b", outcomes.classify([PART], PROVENANCE, shape=Shape.OBJECT, price=PRO)
        ),
    }
    for _ in range(2):  # what the publish calls things is known once there is one
        schema = {"type": "OBJECT", "properties": {word: {"type": "STRING"} for word in sorted(words)}}
        made = [column(one) for one in typed(schema, taken=TAKEN).fields]
        script = publishing.publish(
            PUBLICATION, attempt="a", outcomes=OUTCOMES, published=PUBLISHED, columns=made
        )
        words |= set(re.findall(r"\bAS ([a-z_]+)\b", script))
    judge = Judge(made)
    assert judge.analyse_script(script).count("ResolvedMergeStmt") == 2
    assert judge.analyse_script(results.extend(RESULTS, made)) == ["ResolvedAlterTableStmt"]


def test_a_large_schema_makes_no_statement_that_bigquery_refuses(judge: Judge) -> None:
    """What does not fit into one stays JSON, or in the answer alone; GoogleSQL still reads it."""
    wide = {"type": "OBJECT", "properties": {f"property_{n:04d}": INVOICE for n in range(60)}}
    many = {
        "type": "OBJECT",
        "properties": {f"property_{n:04d}_{'x' * 90}": {"type": "STRING"} for n in range(5000)},
    }
    for schema in (wide, many):
        columns = typed(schema, taken=TAKEN)
        sql = outcomes.classify([PART], PROVENANCE, shape=Shape.OBJECT, price=PRO, columns=columns)
        script = publishing.publish(
        PUBLICATION,
        attempt="a",
        outcomes=OUTCOMES,
        published=PUBLISHED,
            columns=[column(one) for one in columns.fields],
        )  # fmt: skip
        assert 20 < len(columns.fields) < 1000
        assert len(sql) < 500_000
        assert len(script) < 800_000
        judge.analyse(sql)
    kinds = [one.kind for one in typed(wide, taken=TAKEN).fields]
    assert kinds[0] is Kind.STRUCT
    assert kinds[-1] is Kind.JSON
