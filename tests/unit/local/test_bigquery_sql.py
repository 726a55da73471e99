"""The translator from GoogleSQL to DuckDB, and the parts it stands on."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from bigquery_engine import Engine
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.local.bigquery import coercion, dateformat, files, jsontext
from airflow_batch_gemini.local.bigquery.datatypes import (
    BYTES,
    DATE,
    INT64,
    JSON,
    NUMERIC,
    STRING,
    TIMESTAMP,
    Field,
)
from airflow_batch_gemini.local.bigquery.errors import BigQueryError
from airflow_batch_gemini.local.bigquery.parameters import parameters
from airflow_batch_gemini.local.bigquery.sql import json_functions, jsonpath, lexer
from airflow_batch_gemini.local.bigquery.sql.dialect import parse, parse_type

# The lexer


def test_a_script_is_cut_at_its_semicolons_and_nowhere_else() -> None:
    """Semicolons in strings, names and comments stay; an empty statement is none."""
    script = """SELECT 'a;b', "c;d", `e;f` -- g;h
    /* i;j */ # k;l
    ; ; SELECT '''m;
    n''';"""
    parts = lexer.statements(script)
    assert [part.text.split()[0] for part in parts] == ["SELECT", "SELECT"]
    assert [part.line for part in parts] == [1, 3]
    assert "g;h" not in parts[0].text
    assert "`e;f`" in parts[0].text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"'\x41\u00e9\101\U0001F600'", "AéA😀"),
        (r"'it\'s'", "it's"),
        ('"it\'s"', "it's"),
        (r"r'\n\'x'", r"\n\'x"),
        ("'''a'b\n\"'''", "a'b\n\""),
        (r'R"""\d"""', r"\d"),
        (r"'\a\b\f\n\r\t\v\?\`'", "\a\b\f\n\r\t\v?`"),
        (r"'\\\''", "\\'"),
        ("''", ""),
        ("'-- no comment'", "-- no comment"),
    ],
)
def test_a_literal_means_what_google_says(engine: Engine, written: str, meant: str) -> None:
    """Every form of string, every escape."""
    assert engine.value(written) == meant


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_any_text_survives_as_a_literal(text: str) -> None:
    """What is spelled is read back unchanged by the parser."""
    assert parse(f"SELECT {lexer.spell(text)}").expressions[0].name == text


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("SELECT 'abc", "Unclosed string literal"),
        ("SELECT 'a\nb'", "Unclosed string literal"),
        (r"SELECT '\q'", "Illegal escape sequence"),
        (r"SELECT '\ud800'", "Illegal escape sequence"),
        (r"SELECT b'\u0041'", "not allowed in bytes literals"),
        ("SELECT /* x", "Unclosed comment"),
        ("SELECT `x", "Unclosed identifier"),
        (r"SELECT '\000'", "does not support a NUL"),
    ],
)
def test_what_is_not_closed_or_not_allowed_is_refused(script: str, complaint: str) -> None:
    """Before any parser sees it."""
    with pytest.raises(BigQueryError, match=complaint):
        lexer.statements(script)


# Queries


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT 1, 2 AS b, 3", ["f0_", "b", "f1_"]),
        ("SELECT x.a.b FROM (SELECT STRUCT(STRUCT(1 AS b) AS a) AS x)", ["b"]),
        ("SELECT j.name, j['other'] FROM (SELECT JSON '{}' AS j)", ["name", "other"]),
        ("SELECT UPPER(s) FROM (SELECT 'x' AS s)", ["f0_"]),
        ("SELECT * FROM (SELECT 1 AS a, 2 AS a)", ["a", "a"]),
    ],
)
def test_columns_have_the_names_that_bigquery_gives(engine: Engine, sql: str, names: list[str]) -> None:
    """Aliases, the last part of a path, or f0_, f1_ and so on."""
    assert engine.names(sql) == names


@pytest.mark.parametrize(
    ("expression", "type_"),
    [
        ("1", "INT64"),
        ("1.0", "FLOAT64"),
        ("1 / 2", "FLOAT64"),
        ("NUMERIC '1' + 1", "NUMERIC"),
        ("NULL", "INT64"),
        ("[NULL, 'a']", "ARRAY<STRING>"),
        ("STRUCT(1 AS a, [DATE '2026-01-01'] AS b)", "STRUCT<a INT64, b ARRAY<DATE>>"),
        ("PARSE_JSON('1')", "JSON"),
        ("JSON_QUERY_ARRAY(JSON '[]')", "ARRAY<JSON>"),
        ("JSON_QUERY('{}', '$.a')", "STRING"),
        ("COUNT(*)", "INT64"),
        ("AVG(1)", "FLOAT64"),
        ("IF(true, 1, NUMERIC '2')", "NUMERIC"),
        ("TIMESTAMP_TRUNC(CURRENT_TIMESTAMP(), DAY)", "TIMESTAMP"),
    ],
)
def test_expressions_have_the_type_that_bigquery_gives(engine: Engine, expression: str, type_: str) -> None:
    """The schema of a result is decided by the translator, not by the engine below."""
    assert engine.types(f"SELECT {expression}") == [type_]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT SOUNDEX('a')",
        "SELECT NET.HOST('x')",
        "SELECT my.function(1)",
        "SELECT ANY_VALUE(x HAVING MAX y) FROM (SELECT 1 AS x, 2 AS y)",
        "SELECT FORMAT_TIMESTAMP('%c', CURRENT_TIMESTAMP())",
        "SELECT FORMAT_TIMESTAMP('%F', CURRENT_TIMESTAMP(), 'Europe/Berlin')",
        "SELECT EXTRACT(HOUR FROM CURRENT_TIMESTAMP() AT TIME ZONE 'Asia/Tokyo')",
        "SELECT FORMAT('%T', 1)",
        "SELECT CAST('1' AS BIGNUMERIC)",
        "SELECT CAST('1' AS STRING(5))",
        "SELECT CAST('1' AS STRING FORMAT 'x')",
        "SELECT JSON_VALUE(JSON '{}', p) FROM (SELECT '$.a' AS p)",
        "SELECT JSON_VALUE(JSON '[1]', '$[-1]')",
        "SELECT JSON_QUERY(JSON '{}', 'lax $.a')",
        "SELECT REGEXP_EXTRACT('a', '(b)?a')",
        "SELECT STRUCT(1) = STRUCT(1)",
        "SELECT AVG(NUMERIC '1')",
        "SELECT AVG(x) FILTER (WHERE true) FROM (SELECT 1 AS x)",
        "SELECT SAFE.SUM(1)",
        "SELECT 1 << 2",
        "SELECT DATE '2026-01-02' - DATE '2026-01-01'",
        "SELECT INTERVAL '1-2' YEAR TO MONTH",
        "SELECT @@error.message",
        "SELECT x FROM (SELECT 1 AS x) PIVOT (SUM(x) FOR x IN (1))",
        "SELECT x FROM (SELECT 1 AS x) GROUP BY ROLLUP (x)",
        "SELECT x FROM (SELECT 1 AS x) GROUP BY GROUPING SETS (x)",
        "SELECT 1 FROM (SELECT 1 AS x) TABLESAMPLE SYSTEM (1 PERCENT)",
        "WITH r (x) AS (SELECT 1) SELECT x FROM r",
        "SELECT * FROM (SELECT 1) AS t (x)",
        "WITH RECURSIVE r AS (SELECT 1 AS n) SELECT n FROM r",
        "SELECT 'a' 'b'",
        "SELECT * FROM UNNEST([1], [2])",
        "SELECT WITH DIFFERENTIAL_PRIVACY COUNT(*) FROM (SELECT 1)",
    ],
)
def test_what_is_missing_is_refused_and_never_guessed(engine: Engine, sql: str) -> None:
    """The message says that it is the local stand-in that lacks it, or that the syntax is unknown."""
    with pytest.raises(BigQueryError, match=r"the local BigQuery does not support|Syntax error"):
        engine.rows(sql)


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("SELECT nope", r"Unrecognized name: nope at \[1:8\]"),
        ("SELECT 1\nFROM (SELECT 1 AS a) AS t\nWHERE t.b = 1", r"Name b not found inside t at \[3:"),
        ("SELECT a FROM (SELECT 1 AS a), (SELECT 2 AS a)", "Column name a is ambiguous"),
        ("SELECT UPPER(1)", "No matching signature for function UPPER for argument types: INT64"),
        ("SELECT 1 = 'a'", "No matching signature for operator ="),
        ("SELECT JSON '1' = JSON '1'", "not defined for arguments of type JSON"),
        ("SELECT CAST(JSON '1' AS INT64)", "Invalid cast from JSON to INT64"),
        ("SELECT IF(1, 2, 3)", "should return type BOOL"),
        ("SELECT x FROM UNNEST(1) AS x", "must be arrays"),
        ("SELECT (SELECT 1, 2)", "Scalar subquery cannot have more than one column"),
        ("SELECT (SELECT x FROM UNNEST([1, 2]) AS x)", "more than one element"),
        ("SELECT 1 FROM t AS t", "Not found: Table t"),
        ("SELECT * FROM (SELECT 1) AS t, (SELECT 2) AS t", "Duplicate table alias t"),
        ("SELECT 1 UNION ALL SELECT 1, 2", "mismatched column count"),
        ("SELECT 9223372036854775808", "Invalid integer literal"),
        ("SELECT ARRAY_LENGTH(1)", "No matching signature"),
        ("SELECT DATE_ADD(DATE '2026-01-01', INTERVAL 1 HOUR)", "does not support the HOUR date part"),
        ("SELECT * EXCEPT (b) FROM (SELECT 1 AS a)", "does not exist"),
        ("SELECT a FROM (SELECT 1 AS a) ORDER BY 2", "out of SELECT column number range"),
        ("SELECT 1 WHERE true", "without FROM clause"),
    ],
)
def test_what_bigquery_refuses_is_refused_in_its_words(engine: Engine, sql: str, complaint: str) -> None:
    """Names, types and shapes are checked before the engine sees anything."""
    with pytest.raises(BigQueryError, match=complaint):
        engine.rows(sql)


PARTS = """JSON '{"parts": [{"text": "a"}, {"text": "b", "thought": true}, {"x": 1}, {"text": "c"}, null]}'"""


@pytest.mark.parametrize(
    "inner",
    [
        "SELECT STRING_AGG(JSON_VALUE(p, '$.text'), '+' ORDER BY o) FROM {0} WHERE JSON_VALUE(p, '$.thought') IS NULL",
        "SELECT STRING_AGG(JSON_VALUE(p, '$.text'), '+' ORDER BY o DESC) FROM {0}",
        "SELECT COUNT(*) FROM {0} WHERE o > 0",
        "SELECT COUNT(JSON_VALUE(p, '$.text')) FROM {0}",
        "SELECT COUNTIF(JSON_VALUE(p, '$.text') > r.least) FROM {0}",
        "SELECT LOGICAL_OR(JSON_VALUE(p, '$.text') = 'b') FROM {0}",
        "SELECT STRING_AGG(JSON_VALUE(p, '$.text')) FROM {0} WHERE false",
    ],
)
def test_a_folded_subquery_has_the_answer_of_the_general_one(engine: Engine, inner: str) -> None:
    """List functions instead of a correlated subquery: the same value, without UNNEST."""
    outer = f"FROM (SELECT {PARTS} AS j, 'a' AS least) AS r"
    folded = inner.format("UNNEST(JSON_QUERY_ARRAY(r.j, '$.parts')) AS p WITH OFFSET AS o")
    general = inner.format(
        "(SELECT p, o FROM UNNEST(JSON_QUERY_ARRAY(r.j, '$.parts')) AS p WITH OFFSET AS o)"
    )
    assert "unnest(" not in engine.translate(f"SELECT ({folded}) {outer}").sql
    assert "unnest(" in engine.translate(f"SELECT ({general}) {outer}").sql
    assert engine.rows(f"SELECT ({folded}) {outer}") == engine.rows(f"SELECT ({general}) {outer}")


def test_parameters_stand_for_values_in_the_order_of_their_marks(engine: Engine) -> None:
    """Question marks are counted where they stand, not in strings."""
    given_ = [
        {"parameterType": {"type": "INT64"}, "parameterValue": {"value": "7"}},
        {"parameterType": {"type": "STRING"}, "parameterValue": {"value": "x'; DROP"}},
    ]
    found = parameters({"queryParameters": given_, "parameterMode": "POSITIONAL"})
    assert engine.rows("SELECT a, '?', b FROM (SELECT ? AS a), (SELECT ? AS b)", found) == [
        [7, "?", "x'; DROP"]
    ]
    with pytest.raises(BigQueryError, match="Query parameter @nope not found"):
        engine.rows("SELECT @nope", found)


# JSON


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(JSON_VALUES)
def test_canonical_json_is_the_same_value_with_sorted_keys_and_stays_as_it_is(value: Any) -> None:
    """Whatever the spelling; a second pass changes nothing."""
    text = jsontext.of_value(value)
    assert json.loads(text) == value
    assert jsontext.canonical(text, exact=False) == text
    assert jsontext.canonical(json.dumps(value, indent=2), exact=False) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_spelled_so_that_it_reads_back(value: float) -> None:
    """The shortest digits, as a JSON number that is no integer."""
    text = jsontext.float_text(value)
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert "." in text or "e" in text


@pytest.mark.parametrize("text", ["{", "[1,]", "NaN", "01", '"\\ud800"', "1e999", "", "1 2", "'a'"])
def test_what_is_not_json_is_not_taken(text: str) -> None:
    """No lenient forms: no trailing comma, no NaN, no lone surrogate, no number beyond a double."""
    with pytest.raises(ValueError, match=r"column|infinity|surrogate|empty"):
        jsontext.canonical(text)


@pytest.mark.parametrize("levels", [1, 200, 201, 254, 255, 400, 500])
def test_json_has_no_more_levels_than_bigquery_allows(levels: int) -> None:
    """Deep is whole, deeper is refused; the writer beneath has a lower limit of its own."""
    for opened, closed in [("[", "]"), ('{"a":', "}")]:
        text = opened * levels + ("1" if opened != "[" else "") + closed * levels
        assert jsontext.canonical(text) == text
        assert jsontext.of_value(json.loads(text)) == text
        deeper = opened * 500 + "[]" + closed * 500
        for refusing in (jsontext.canonical, lambda found: jsontext.of_value(json.loads(found))):
            with pytest.raises(ValueError, match="more than 500 levels"):
                refusing(deeper)


@pytest.mark.parametrize(
    ("path", "legacy", "steps"),
    [
        ("$", False, []),
        ("$.a.b[0]", False, ["a", "b", 0]),
        ('$."a.b"[1]."c"', False, ["a.b", 1, "c"]),
        ("$.a-b", False, ["a-b"]),
        ("$['a b'].c", True, ["a b", "c"]),
    ],
)
def test_json_paths_are_read_step_by_step(path: str, legacy: bool, steps: list[str | int]) -> None:
    """The two dialects differ in how they quote a key."""
    assert jsonpath.steps(path, legacy=legacy) == steps


# Files and values


def records(tmp_path: Path, text: bytes, **shape: Any) -> list[list[tuple[str, bool]]]:
    file = tmp_path / "x.csv"
    file.write_bytes(text)
    return [
        cells for cells, _ in files.records(files.SourceFile(file, "gs://b/x.csv"), files.CsvFormat(**shape))
    ]


def test_csv_cells_know_whether_they_were_quoted(tmp_path: Path) -> None:
    """So that an empty string and a NULL stay two things."""
    assert records(tmp_path, b'a,"",\r\n"x ""y"" z","1,2",b\n') == [
        [("a", False), ("", True), ("", False)],
        [('x "y" z', True), ("1,2", True), ("b", False)],
    ]


@pytest.mark.parametrize("text", [b'"a"b,c\n', b'"open\n', b"\xff\n"])
def test_broken_csv_is_refused(tmp_path: Path, text: bytes) -> None:
    """Stray quotes, an open quote, bytes that are no text."""
    with pytest.raises(files.BadFileError):
        records(tmp_path, text)


def test_gzip_is_recognised_by_its_content(tmp_path: Path) -> None:
    """Whatever the file is called."""
    import gzip

    assert records(tmp_path, gzip.compress(b"1,2\n")) == [[("1", False), ("2", False)]]


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        (INT64, "12", 12),
        (INT64, 1.0, 1),
        (STRING, 12, "12"),
        (STRING, True, "true"),
        (BYTES, "AP8=", b"\x00\xff"),
        (JSON, {"b": 1, "a": 1e22}, '{"a":1e+22,"b":1}'),
        (JSON, "text", '"text"'),
    ],
)
def test_values_of_a_file_are_read_as_their_column_wants(type_: Any, value: Any, read: Any) -> None:
    """As load jobs do."""
    reader = coercion.RecordReader([Field("f", type_)])
    assert reader.read({"F": value}) == [read]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (INT64, "1.5"),
        (INT64, True),
        (INT64, 2**63),
        (DATE, "2026-02-30"),
        (TIMESTAMP, "x"),
        (NUMERIC, "1e30"),
        (BYTES, "*"),
        (STRING, {}),
    ],
)
def test_values_that_do_not_fit_are_refused(type_: Any, value: Any) -> None:
    """The message names the field."""
    with pytest.raises(coercion.BadValueError, match="Field: f"):
        coercion.RecordReader([Field("f", type_)]).read({"f": value})


@pytest.mark.parametrize(
    ("pattern", "text", "micros"),
    [
        ("%Y-%m-%dT%H:%M:%E*S%Ez", "2026-01-01T02:00:00.5+02:00", 1767225600500000),
        ("%Y%m%d", " 20260101 ", 1767225600000000),
        ("%d %b %Y %I:%M %p", "01 Jan 2026 12:00 AM", 1767225600000000),
        ("%s", "-1", -1000000),
        ("%y-%j", "26-001", 1767225600000000),
    ],
)
def test_times_are_parsed_by_format(pattern: str, text: str, micros: int) -> None:
    """Fractions, offsets, names, halves of the day."""
    assert dateformat.parse(pattern, text) == micros


@pytest.mark.parametrize("text", ["ARRAY<STRUCT<a INT64, b ARRAY<STRING>>>", "JSON", "TIMESTAMP"])
def test_types_are_read_as_they_are_written(text: str) -> None:
    """The words of a schema and of SQL are one."""
    assert str(parse_type(text)) == text


# Large JSON values


_LONG = '{"a": [1, 1.0, 2.5, -0.0, "é", "", true, null, {"k": {}}, []], "n": null, "s": "t", "o": {"b": 2, "a": 1}}'
_DOCUMENTS = [_LONG, '["a", {"b": "c"}]', '"text"', "1.5", "18446744073709551615", "null", "true"]
_PATHS = ["$", "$.a", "$.n", "$.s", "$.s.t", "$.o", "$.o.b", "$.missing", "$[0]", "$[1].b", "$[9]"]
_PATHS += [f"$.a[{place}]" for place in range(10)] + ["$.a[8].k"]
_CALLS = [
    "JSON_VALUE(d, '{}')",
    "JSON_QUERY(d, '{}')",
    "JSON_QUERY_ARRAY(d, '{}')",
    "JSON_TYPE(JSON_QUERY(d, '{}'))",
]


def test_a_large_json_value_is_read_as_a_small_one_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Python instead of the engine, to the same letter."""
    wanted = ", ".join(
        f"{call.format(path)} AS c{n}" for n, (call, path) in enumerate(product(_CALLS, _PATHS))
    )
    sql = [f"SELECT {wanted} FROM (SELECT PARSE_JSON('{document}') AS d)" for document in _DOCUMENTS]
    small = [engine.rows(query)[0] for query in sql]
    monkeypatch.setattr(json_functions, "_LARGE", -1)
    large = [engine.rows(query)[0] for query in sql]
    assert large == small
    assert "bq_large_json_value" in engine.translate(sql[0]).sql


def test_a_large_json_value_is_not_looked_into_by_the_engine(engine: Engine) -> None:
    """It would set aside several times the size of the value for every call in the statement."""
    found = engine.translate("SELECT JSON_VALUE(d, '$.a') FROM (SELECT JSON '1' AS d)").sql
    assert "strlen(CAST(_t1.c1 AS VARCHAR)) > 1048576 THEN bq_large_json_value(" in found
