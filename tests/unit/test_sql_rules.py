"""The linter's rules where the rows are, judged by GoogleSQL and by the local BigQuery alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bigquery_engine import Engine
from sql_judge import Judge, held, in_place, select_of
from template_cases import TABLE

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.lint import RULES
from airflow_batch_gemini.batch.media import Media
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.request import GeminiTemplate
from airflow_batch_gemini.sql import prepare, rules
from airflow_batch_gemini.sql.literal import string_literal
from airflow_batch_gemini.sql.rules import TableRules

OTHER = TableName.parse("my-project.data.gemini_rejected")
FILES = GeminiTemplate(prompt="{text}", media=[Media(column="file")])
FIELDS = GeminiTemplate(
    prompt="x", config_columns={"seed": "s", "thinkingConfig.thinkingBudget": "b", "topK": "k"}
)

Requests = Sequence[tuple[str | None, Any]]


def rules_of(template: GeminiTemplate | None, *, most: int = 400, strict: bool = True) -> TableRules:
    segments = None if template is None else template.segments
    return TableRules.of(segments, max_line_bytes=most, strict=strict)


READY = [
    ('{"contents": [{"parts": [{"text": "x"}]}], "n": 1.50}', None),
    ('{"contents": {"role": "user", "parts": [{"text": "x"}]}}', None),
    (
        '{"contents": [{"role": "user", "parts": [{}]}, {"role": "model"}], "tools": [{"googleSearch": {}}]}',
        None,
    ),
    (
        '{"contents": [{}], "cachedContent": null, "tools": [{"retrieval": {"vertexRagStore": null}}]}',
        None,
    ),
    ('{"n": 1}', "GB106"),
    ('{"contents": []}', "GB106"),
    ('{"contents": "x"}', "GB106"),
    ('{"contents": [{"role": "user"}, {"role": "bot"}]}', "GB107"),
    ('{"contents": {"role": "bot"}}', "GB107"),
    ('{"contents": [{}], "tools": [{}, {"retrieval": {"vertexRagStore": {}}}]}', "GB114"),
    ('{"contents": [{}], "tools": [{"retrieval": {"vertex_rag_store": {"a": 1}}}]}', "GB114"),
    ('{"contents": [], "cachedContent": "x"}', "GB105"),
    ('{"contents": [], "cached_content": "x"}', "GB105"),
    ("[1]", "GB133"),
    ("null", "GB133"),
    ("half", "GB133"),
    (None, "GB133"),
]


BAD: list[tuple[GeminiTemplate | None, Any, str, str | None]] = [
    (FILES, {"file": "http://h/a.png", "type": "image/png"}, "GB109", None),
    (FILES, {"file": "https://h/a b", "type": "image/png"}, "GB109", None),
    (FILES, {"file": "gs://b/a\nb.png", "type": "image/png"}, "GB109", None),
    (FILES, {"file": "gs://b/a", "type": ""}, "GB110", None),
    (FIELDS, {"generationConfig": {"seed": None}}, "GB126", "request.generationConfig.seed"),
    (
        FIELDS,
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": None}}},
        "GB126",
        "request.generationConfig.thinkingConfig.thinkingBudget",
    ),
    (None, {"contents": [], "cachedContent": "x"}, "GB105", None),
]


def asking(given: Any) -> dict[str, Any]:
    """A request with a text, or with a file that is given, or what is given itself."""
    if isinstance(given, str):
        return {"contents": [{"role": "user", "parts": [{"text": given}]}]}
    if "file" in given:
        file = {"fileData": {"fileUri": given["file"], "mimeType": given["type"]}}
        return {
            "contents": [
                {"role": "user", "parts": [{"text": "an example"}]},
                {"role": "user", "parts": [{"text": "x"}, file]},
            ]
        }
    return dict(given)


def first(judge: Judge, engine: Engine, found: TableRules, requests: Requests) -> dict[str, Any] | None:
    """The first row that breaks a rule, of which both engines say the same."""
    sql = in_place(found.first_broken(TABLE), [(key, asking(given)) for key, given in requests])
    rows = judge.rows(sql)
    assert [list(row.values()) for row in rows] == engine.rows(sql)
    return rows[0] if rows else None


KEYS: list[tuple[Requests, tuple[str | None, str, int] | None]] = [
    ([("k_a", "x"), ("k_" + "é" * 512, "x")], None),
    ([("k_b", "x"), (None, "x"), (None, "x")], (None, "GB121", 2)),
    ([("k_b", "x"), ("k_", "x")], ("k_", "GB121", 1)),
    ([("k_b", "x"), ("k_a" + "é" * 513, "x")], ("k_a" + "é" * 513, "GB123", 1)),
    ([("k_b", "x"), ("k_a\n", "x"), ("k_c\x7f", "x")], ("k_a\n", "GB124", 2)),
    ([("k_b", "x"), ("k_big", "x" * 500), ("k_bigger", "x" * 600)], ("k_big", "GB108", 2)),
    ([("k_b", "x"), ("k_a", "x"), ("k_c", "x"), ("k_c", "x"), ("k_c", "y")], ("k_c", "GB122", 3)),
    ([("k_c", "x"), ("k_b", "x"), ("k_c", "y"), ("k_b", "y")], ("k_b", "GB122", 2)),
]


@pytest.mark.parametrize(("requests", "expected"), KEYS)
def test_the_first_row_by_key_that_breaks_a_rule_is_named_with_how_many_do(
    judge: Judge, engine: Engine, requests: Requests, expected: tuple[str | None, str, int] | None
) -> None:
    """Whatever the template; a key that is used twice is told with its own rows."""
    for template in (FILES, FIELDS, None):
        found = first(judge, engine, rules_of(template, most=1200 if expected is None else 400), requests)
        assert found == (
            None
            if expected is None
            else {"key": expected[0], "rule": expected[1], "path": None, "row_count": expected[2]}
        )


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_request_is_named_by_its_rule_and_its_path(
    judge: Judge, engine: Engine, case: tuple[GeminiTemplate | None, Any, str, str | None]
) -> None:
    """In the midst of good ones, and with none of them."""
    template, bad, rule, path = case
    good = {"file": "gs://b/a.png", "type": "image/png"} if template is FILES else "x"
    found = rules_of(template)
    assert first(judge, engine, found, [("k_a", good), ("k_b", bad), ("k_c", good)]) == {
        "key": "k_b", "rule": rule, "path": path, "row_count": 1,
    }  # fmt: skip
    assert first(judge, engine, found, [("k_a", good), ("k_c", good)]) is None


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("text", "rule"), READY)
def test_a_ready_made_request_is_taken_as_it_is_or_named_by_its_rule(
    judge: Judge, engine: Engine, text: str | None, rule: str | None, strict: bool
) -> None:
    """Out of a text that holds JSON; what is none becomes NULL and is found, whatever else may be sent."""
    value = "CAST(NULL AS STRING)" if text is None else string_literal(text)
    statement = prepare.create_ready_made(
        f"SELECT 7 AS key, {value} AS request",
        table=TABLE,
        key_column="key",
        columns=[Column("key", "INT64"), Column("request", "STRING")],
    )
    query = select_of(statement)
    [row] = judge.rows(query)
    assert row["key"] == "k_7"
    sql = rules_of(None, strict=strict).first_broken(TABLE).replace(TABLE.sql, f"({query})")
    found = judge.rows(sql)
    assert [list(row.values()) for row in found] == engine.rows(sql)
    told = rule if strict or rule == "GB133" else None
    assert [row["rule"] for row in found] == ([] if told is None else [told])


def test_the_rows_of_a_broken_table_are_kept_or_listed_each_once(judge: Judge, engine: Engine) -> None:
    """By key where that is the row's own alone; of two good rows with one key the first stays."""
    requests = [
        (None, "x"), ("k_", "y"), ("k_a", "x"), ("k_b", "z"), ("k_b", "y"), ("k_c\n", "x"), ("k_d", "x" * 500),
        ("k_e", "x" * 500), ("k_e", "y"), ("k_f", "x"), ("k_f", "x"),
    ]  # fmt: skip
    marked = held(select_of(rules_of(FILES).mark(TABLE)), requests)
    kept = select_of(rules.leave_out_broken(TABLE)).replace(TABLE.sql, f"({marked})")
    assert sorted(row["key"] for row in judge.rows(kept)) == ["k_a", "k_b", "k_e", "k_f"]
    texts = {row["key"]: row["request"]["contents"][0]["parts"][0]["text"] for row in judge.rows(kept)}
    assert texts["k_b"] == texts["k_e"] == "y"

    listing = rules.create_rejected(OTHER, table=TABLE, rules=["GB108", "GB121", "GB122", "GB124"])
    sql = select_of(listing).replace(TABLE.sql, f"({marked})")
    found = judge.rows(sql)
    assert sorted(map(list, (row.values() for row in found))) == sorted(engine.rows(sql))
    by_key = {row["key"]: row["rule"] for row in found}
    assert len(by_key) == len(found) == 7
    assert by_key.pop("d") == "GB108"
    assert sorted(by_key) == [f"{rules.PLACE}{number}" for number in range(1, 7)]
    assert sorted(by_key.values()) == ["GB108", "GB121", "GB121", "GB122", "GB122", "GB124"]
    messages = {row["rule"]: row["message"] for row in found}
    assert messages["GB122"] == 'key "f": the key is used twice; make keys unique.'
    assert messages["GB124"] == 'key "c\\n": the key has control characters; remove them.'
    assert RULES["GB108"].says in messages["GB108"]

    counts = rules.broken_rules(TABLE).replace(TABLE.sql, f"({marked})")
    assert judge.rows(counts) == [
        {"rule": "GB108", "row_count": 2}, {"rule": "GB121", "row_count": 2},
        {"rule": "GB122", "row_count": 2}, {"rule": "GB124", "row_count": 1},
    ]  # fmt: skip


def test_where_a_value_does_not_fit_is_told_of_a_rejected_row(judge: Judge) -> None:
    """With its path, and never with the value."""
    requests = [("k_a", {"generationConfig": {"topK": None}}), ("k_b", {"generationConfig": {"topK": 1}})]
    marked = in_place(select_of(rules_of(FIELDS).mark(TABLE)), requests)
    listing = rules.create_rejected(OTHER, table=TABLE, rules=["GB126"])
    [row] = judge.rows(select_of(listing).replace(TABLE.sql, f"({marked})"))
    assert row == {
        "key": "a",
        "rule": "GB126",
        "message": f"{RULES['GB126'].says} (request.generationConfig.topK); {RULES['GB126'].fix}.",
    }


@pytest.mark.parametrize("template", [FILES, FIELDS, None])
def test_every_statement_is_good_googlesql(judge: Judge, template: GeminiTemplate | None) -> None:
    """Analysed with full type checking; what makes a table lets it expire."""
    found = rules_of(template)
    columns = [column.name for column in judge.analyse(found.first_broken(TABLE)).output_column_list]
    assert columns == ["key", "rule", "path", "row_count"]
    resolved = judge.analyse(found.mark(TABLE))
    assert type(resolved).__name__ == "ResolvedCreateTableAsSelectStmt"
    assert [option.name for option in resolved.option_list] == ["expiration_timestamp"]
