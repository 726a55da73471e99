"""Preparation inside BigQuery, judged by GoogleSQL: every statement analysed, and each request what Python renders."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from bigquery_engine import Engine
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sql_judge import Judge, check_alike, held, select_of
from template_cases import DEFAULTS, TABLE, TEXTS, WORDS, Case, cases

from airflow_batch_gemini.batch.fields import PER_ROW
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.media import Media
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.render import Renderer
from airflow_batch_gemini.batch.request import GeminiTemplate
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.batch.text import text_of
from airflow_batch_gemini.batch.typed import Kind
from airflow_batch_gemini.exceptions import InvalidNameError, SourceError, TemplateError
from airflow_batch_gemini.sql import prepare, reuse, sampling
from airflow_batch_gemini.sql.literal import identifier, string_literal

OTHER = TableName.parse("my-project.data.gemini_requests_2")
SOURCE = "SELECT 'a' AS key, 'b' AS text, 'gs://b/c.png' AS file -- a comment at the end;"
COLUMNS = [Column("key", "STRING"), Column("text", "STRING"), Column("file", "STRING")]
TEMPLATE = GeminiTemplate(prompt="{text}", media=[Media(column="file")])
LIMITS = Limits(rows=3, size=1000)


def made(
    judge: Judge, template: GeminiTemplate, columns: Sequence[Column], values: Mapping[str, str]
) -> dict[str, Any]:
    """The one request that BigQuery makes of a row with these SQL values."""
    source = "SELECT " + ", ".join(f"{value} AS {identifier(name)}" for name, value in values.items())
    statement = prepare.create_requests(
        source, table=TABLE, template=template, key_column="key", columns=columns
    )
    [row] = judge.rows(select_of(statement))
    return row


def rendered(template: GeminiTemplate, row: Mapping[str, Any]) -> dict[str, Any]:
    """The one request that Python makes of a row."""
    renderer = Renderer(template, key_column="key")
    batch = RowBatch(source="s", unit="row", first=1, rows=[row])
    _, [line] = renderer.make(batch)
    return dict(json.loads(line))


@pytest.mark.parametrize(
    "statement",
    [
        prepare.create_probe(SOURCE, table=OTHER),
        *(
            prepare.create_ready_made(
                f"SELECT 'a' AS key, {value} AS request -- requests;",
                table=OTHER,
                key_column="key",
                columns=[Column("key", "STRING"), Column("request", kind)],
            )
            for kind, value in (("JSON", "JSON '{}'"), ("STRING", "'{}'"))
        ),
        prepare.create_requests(SOURCE, table=OTHER, template=TEMPLATE, key_column="key", columns=COLUMNS),
        prepare.create_part(OTHER, source=TABLE, part=1, limits=LIMITS, largest=500),
        prepare.create_part(TABLE, source=TABLE, part=0, limits=LIMITS, largest=500),
    ],
)
def test_every_table_is_made_by_one_statement_that_lets_it_expire(judge: Judge, statement: str) -> None:
    """Analysed with full type checking."""
    resolved = judge.analyse(statement)
    assert type(resolved).__name__ == "ResolvedCreateTableAsSelectStmt"
    assert [option.name for option in resolved.option_list] == ["expiration_timestamp"]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        (prepare.source_query(SOURCE, key_column="key"), ["key", "text", "file"]),
        (prepare.select_columns(TABLE, ["request", "key", "request"]), ["request", "key"]),
        (prepare.totals(TABLE), ["row_count", "total_size", "largest"]),
        (prepare.last_part(TABLE, limits=LIMITS, largest=500), ["last_part"]),
        (prepare.checksum(TABLE), ["row_count", "total_size", "checksum"]),
        (sampling.sample(TABLE, share=3), ["line"]),
    ],
)  # fmt: skip
def test_every_query_is_good_googlesql(judge: Judge, query: str, columns: list[str]) -> None:
    """And answers the columns that are read from it."""
    assert [column.name for column in judge.analyse(query).output_column_list] == columns


CEST = dt.timezone(dt.timedelta(hours=2))
STRUCT = (
    "STRUCT(1 AS a, 'é\\u2028\"' AS b, 2.0 AS c, NUMERIC '1.5' AS d, DATE '2014-01-02' AS e, b'abc' AS f, "
    "TIMESTAMP '2014-01-01 12:00:00.1+00' AS g, 9007199254740993 AS h, CAST('inf' AS FLOAT64) AS i)"
)
TYPED = [
    ("STRING", "'it''s'".replace("''", "\\'"), "it's"),
    ("BOOL", "TRUE", True),
    ("INT64", "-9223372036854775808", -(2**63)),
    ("FLOAT64", "1.0", 1.0),
    ("FLOAT64", "CAST('-0' AS FLOAT64)", -0.0),
    ("FLOAT64", "1/3", 1 / 3),
    ("FLOAT64", "1e15", 1e15),
    ("FLOAT64", "1.5e-7", 1.5e-7),
    ("FLOAT64", "5e-324", 5e-324),
    ("FLOAT64", "123456789012345678.0", 123456789012345678.0),
    ("FLOAT64", "CAST('inf' AS FLOAT64)", float("inf")),
    ("FLOAT64", "CAST('nan' AS FLOAT64)", float("nan")),
    ("NUMERIC", "NUMERIC '1.50'", Decimal("1.500000000")),
    ("NUMERIC", "NUMERIC '-0.000000001'", Decimal("-1E-9")),
    ("BIGNUMERIC", "BIGNUMERIC '100'", Decimal("1E+2")),
    ("DATE", "DATE '0001-02-03'", dt.date(1, 2, 3)),
    ("DATETIME", "DATETIME '2014-01-02 03:04:05.1'", dt.datetime(2014, 1, 2, 3, 4, 5, 100_000)),  # noqa: DTZ001
    ("TIME", "TIME '01:02:03.000004'", dt.time(1, 2, 3, 4)),
    ("TIMESTAMP", "TIMESTAMP '2014-01-01 12:00:00+02'", dt.datetime(2014, 1, 1, 12, tzinfo=CEST)),
    (
        "TIMESTAMP",
        "TIMESTAMP '2014-01-01 12:00:00.12+00'",
        dt.datetime(2014, 1, 1, 12, 0, 0, 120_000, tzinfo=dt.UTC),
    ),
    ("BYTES", "b'abc'", b"abc"),
    ("JSON", "JSON '\"text\"'", "text"),
    ("JSON", "JSON 'true'", True),
    ("JSON", "JSON '7'", 7),
    ("JSON", 'JSON \'{"b": [1, "x"], "a": null}\'', {"a": None, "b": [1, "x"]}),
    ("JSON", "JSON 'null'", None),
    (
        "STRUCT",
        STRUCT,
        {
            "a": 1,
            "b": 'é\u2028"',
            "c": 2.0,
            "d": Decimal("1.5"),
            "e": dt.date(2014, 1, 2),
            "f": b"abc",
            "g": dt.datetime(2014, 1, 1, 12, 0, 0, 100_000, tzinfo=dt.UTC),
            "h": 9007199254740993,
            "i": float("inf"),
        },
    ),
    ("INT64[]", "[1, 2]", [1, 2]),
    ("STRING[]", "CAST([] AS ARRAY<STRING>)", []),
    ("STRING[]", "CAST(NULL AS ARRAY<STRING>)", []),
    ("STRUCT[]", "[STRUCT(1 AS a)]", [{"a": 1}]),
]


def column_of(name: str, kind: str) -> Column:
    return Column(name, kind.removesuffix("[]"), "REPEATED" if kind.endswith("[]") else "NULLABLE")


def test_a_value_of_any_type_reads_the_same_in_bigquery_and_in_python(judge: Judge) -> None:
    """Type by type, in one prompt."""
    names = [f"c{i}" for i in range(len(TYPED))]
    template = GeminiTemplate(prompt="\n".join(f"{{{name}}}" for name in names), null_as="none")
    columns = [
        Column("key", "INT64"),
        *(column_of(n, kind) for n, (kind, _, _) in zip(names, TYPED, strict=True)),
    ]
    values = {"key": "7", **{name: sql for name, (_, sql, _) in zip(names, TYPED, strict=True)}}
    row = {"key": 7, **{name: value for name, (_, _, value) in zip(names, TYPED, strict=True)}}
    in_bigquery, in_python = made(judge, template, columns, values), rendered(template, row)
    assert _lines(in_bigquery) == _lines(in_python)
    assert in_bigquery == in_python


def _lines(request: dict[str, Any]) -> list[str]:
    return list(request["request"]["contents"][0]["parts"][0]["text"].split("\n"))


def test_null_is_what_the_template_says_in_bigquery_and_in_python(judge: Judge) -> None:
    """Of every type; only an array is never NULL."""
    kinds = sorted({kind for kind, _, _ in TYPED if not kind.endswith("[]")})
    types = {"STRUCT": "STRUCT<a INT64>"}
    template = GeminiTemplate(prompt="|".join(f"{{{kind}}}" for kind in kinds), null_as="'none'")
    columns = [Column("key", "STRING"), *(Column(kind, kind) for kind in kinds)]
    values = {"key": "'a'", **{kind: f"CAST(NULL AS {types.get(kind, kind)})" for kind in kinds}}
    assert made(judge, template, columns, values) == rendered(template, {"key": "a", **dict.fromkeys(kinds)})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_bigquery_and_python_make_the_same_requests(judge: Judge, engine: Engine, case: Case) -> None:
    """Hostile prompts, names and values: a prompt stays one literal, a name one identifier.

    GoogleSQL's own implementation is asked, and the local BigQuery. What does not fit is null where Python refuses it.
    """
    check_alike(judge, engine, case)


FLOATS = [
    0.1,
    1.0,
    0.1 + 0.2,
    0.7999999999999999,  # has more digits as GoogleSQL writes it than it needs
    1e15,
    123456789012345678.0,
    1e-7,
    5e-324,
    1e300,
    7.5,
    2147483648.0,
    -2147483648.0,
]
FLOATS += [float("nan"), float("inf"), -0.0]


@pytest.mark.parametrize("field", ["temperature", "seed", "audioTimestamp", "mediaResolution"])
@pytest.mark.parametrize("default", [True, False])
def test_every_value_means_the_same_to_a_field_in_bigquery_and_in_python(
    judge: Judge, engine: Engine, field: str, default: bool
) -> None:
    """Texts good and bad, numbers at every edge, and NULL; a path never changes its type."""
    kind = PER_ROW[field]
    rows = [(text, None) for text in TEXTS[kind]] + [(None, number) for number in FLOATS]
    for column, type_ in (("text", "STRING"), ("number", "FLOAT64"))[: 1 if kind is Kind.WORD else 2]:
        case = Case(
            {
                "prompt": ["x"],
                "system_instruction": None,
                "turns": [],
                "media": [],
                "generation_config": {field: DEFAULTS[kind]} if default else {},
                "config_columns": {field: column},
                "null_as": "",
            },
            {"key": "STRING", column: type_},
            [{"key": f"a{i}", "text": text, "number": number} for i, (text, number) in enumerate(rows)],
        )
        check_alike(judge, engine, case)


@settings(max_examples=15, deadline=None)
@given(WORDS)
def test_a_hostile_schema_and_key_stay_what_they_are(judge: Judge, words: str) -> None:
    """They are literals like the prompt."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": words}}}
    template = GeminiTemplate(prompt="x", response_schema=schema)
    found = made(judge, template, [Column("key", "STRING")], {"key": string_literal(f"a{words}")})
    assert found == {**rendered(template, {"key": "a"}), "key": f"k_a{words}"}


@pytest.mark.parametrize("said", [None, "image/x"])
@pytest.mark.parametrize(
    "uri",
    ["gs://b/a.PNG", "gs://b/é \"'x.mp4", "https://h/x.pdf?y=1.png", "gs://b/x.jpg#a", "", None],
)
def test_a_file_is_the_same_part_in_bigquery_and_in_python(
    judge: Judge, uri: str | None, said: str | None
) -> None:
    """NULL and empty are left out; the type comes from the extension unless it is said."""
    template = GeminiTemplate(prompt="x", media=[Media(column="m", mime_type=said), Media(column="n")])
    columns = [Column("key", "STRING"), Column("m", "STRING"), Column("n", "STRING")]
    literal = "CAST(NULL AS STRING)" if uri is None else string_literal(uri)
    values = {"key": "'a'", "m": literal, "n": "'gs://b/z.gif'"}
    assert made(judge, template, columns, values) == rendered(
        template, {"key": "a", "m": uri, "n": "gs://b/z.gif"}
    )


def test_a_column_that_has_no_text_is_refused_before_the_statement_runs() -> None:
    """And so is a media column that holds no text."""
    for kind in ("GEOGRAPHY", "RANGE"):
        columns = [Column("key", "STRING"), Column("text", kind)]
        template = GeminiTemplate(prompt="{text}")
        with pytest.raises(TemplateError, match=f"Column text is of type {kind}"):
            prepare.create_requests(
                "SELECT 1", table=TABLE, template=template, key_column="key", columns=columns
            )
    for kind, mode in (("INT64", "NULLABLE"), ("INT64", "REPEATED"), ("JSON", "NULLABLE")):
        columns = [Column("key", "STRING"), Column("m", kind, mode)]
        template = GeminiTemplate(prompt="x", media=[Media(column="m")])
        with pytest.raises(TemplateError, match="Media column m"):
            prepare.create_requests(
                "SELECT 1", table=TABLE, template=template, key_column="key", columns=columns
            )


def test_a_column_that_cannot_fill_a_field_is_refused_before_the_statement_runs() -> None:
    """A date is no temperature, nor is a list of numbers one."""
    numbers = GeminiTemplate(prompt="x", config_columns={"temperature": "t"})
    words = GeminiTemplate(prompt="x", config_columns={"mediaResolution": "t"})
    for template, kind, mode in (
        (numbers, "DATE", "NULLABLE"),
        (numbers, "FLOAT64", "REPEATED"),
        (numbers, "STRUCT", "NULLABLE"),
        (words, "FLOAT64", "NULLABLE"),
        (words, "JSON", "NULLABLE"),
    ):
        columns = [Column("key", "STRING"), Column("t", kind, mode)]
        with pytest.raises(
            TemplateError, match=rf"Column t is of type {kind}.* \w+ wants (a number|one word)"
        ):
            prepare.create_requests(
                "SELECT 1", table=TABLE, template=template, key_column="key", columns=columns
            )


def test_the_totals_count_and_measure_lines_as_a_file_would_hold_them(judge: Judge) -> None:
    """So one limit serves both media."""
    line = {"key": "k_a", "request": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}}
    size = len(json.dumps(line, separators=(",", ":"))) + 1
    [found] = judge.rows(held(prepare.totals(TABLE), [("k_a", "x"), ("k_b", "xy")]))
    assert found == {"row_count": 2, "total_size": 2 * size + 1, "largest": size + 1}
    [found] = judge.rows(held(prepare.totals(TABLE), [("k_a", "x")])[:-1] + " WHERE FALSE)")
    assert found == {"row_count": 0, "total_size": 0, "largest": 0}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 5), st.integers(420, 1200))
@example(lengths=[1, 300, 1, 300, 1], rows=2, size=420)
def test_parts_hold_every_request_once_and_every_limit(
    judge: Judge, lengths: list[int], rows: int, size: int
) -> None:
    """In order of keys, none of them empty; the count of parts is what the last one says."""
    requests = [(f"k_{i:03d}", "x" * length) for i, length in enumerate(lengths)]
    [one] = judge.rows(held(prepare.totals(TABLE), [("k_000", "")]))
    sizes = {key: one["largest"] + len(text) for key, text in requests}
    limits = Limits(rows=rows, size=size)
    largest = max(sizes.values())
    [last] = judge.rows(held(prepare.last_part(TABLE, limits=limits, largest=largest), requests))
    keys = []
    for part in range(last["last_part"] + 1):
        statement = prepare.create_part(OTHER, source=TABLE, part=part, limits=limits, largest=largest)
        found = sorted(row["key"] for row in judge.rows(held(select_of(statement), requests)))
        assert 0 < len(found) <= rows
        assert sum(sizes[key] for key in found) <= size
        keys += found
    assert keys == [key for key, _ in requests]


def test_a_checksum_is_of_the_requests_and_not_of_their_order(judge: Judge) -> None:
    """Another text, another key: another checksum."""
    requests = [("k_a", "x"), ("k_b", "y"), ("k_c", "z")]

    def checksum(rows: Sequence[tuple[str | None, str]]) -> str:
        [found] = judge.rows(held(prepare.checksum(TABLE), rows))
        assert found["row_count"] == len(rows)
        return str(found["checksum"])

    assert checksum(requests) == checksum(requests[::-1])
    others = [[("k_a", "y"), *requests[1:]], [("k_d", "x"), *requests[1:]], requests[:2]]
    assert len({checksum(requests), *map(checksum, others)}) == 4


def test_a_sample_is_of_lines_as_a_file_would_hold_them(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no order of the keys, the same however the rows lie, one at least; and within its bounds."""
    requests = [(f'k_{i:02d}"é', "x" * i) for i in range(40)]
    lines = [row["line"] for row in judge.rows(held(sampling.sample(TABLE, share=1), requests))]
    request = {"contents": [{"parts": [{"text": "xxx"}], "role": "user"}]}
    line = {"key": 'k_03"é', "request": request}
    assert json.dumps(line, separators=(",", ":"), ensure_ascii=False) in lines
    assert len(lines) == 40
    assert lines not in (sorted(lines), sorted(lines, reverse=True))
    monkeypatch.setattr(sampling, "MAX_ROWS", 20)
    few = judge.rows(held(sampling.sample(TABLE, share=4), requests[::-1]))
    assert [row["line"] for row in few] == lines[:5]
    monkeypatch.setattr(sampling, "MAX_BYTES", len(f"{lines[0]}{lines[1]}".encode()))
    assert [row["line"] for row in judge.rows(held(sampling.sample(TABLE, share=1), requests))] == lines[:2]
    assert [row["line"] for row in judge.rows(held(sampling.sample(TABLE, share=4), requests))] == lines[:1]


@pytest.mark.parametrize(
    ("parts", "chosen"), [(0, []), (1, [0]), (16, [*range(16)]), (32, [*range(0, 32, 2)]), (17, [*range(16)])]
)
def test_not_every_part_of_many_is_looked_into(parts: int, chosen: list[int]) -> None:
    """Each look reads a whole part."""
    assert sampling.chosen_parts(parts) == chosen


@settings(max_examples=40, deadline=None)
@given(st.floats())
def test_any_float_reads_as_googlesql_prints_it(judge: Judge, value: float) -> None:
    """Digit for digit."""
    [row] = judge.rows(f"SELECT CAST(CAST({string_literal(repr(value))} AS FLOAT64) AS STRING) AS x")
    assert text_of(value) == row["x"]


def test_what_cannot_be_part_of_a_statement_is_refused() -> None:
    """Half a character, and a name that is none."""
    with pytest.raises(InvalidNameError, match="half a character"):
        string_literal("\ud800")
    with pytest.raises(InvalidNameError, match="empty"):
        identifier("")


@pytest.mark.parametrize("column", [Column("request", "INT64"), Column("request", "JSON", "REPEATED")])
def test_a_request_column_holds_json_or_its_text(column: Column) -> None:
    """Anything else is told before the statement runs."""
    with pytest.raises(SourceError, match="TO_JSON"):
        prepare.create_ready_made(
            "SELECT 1", table=TABLE, key_column="key", columns=[Column("key", "STRING"), column]
        )


def test_a_checksum_of_rows_put_aside_is_of_every_column_and_not_of_their_order(judge: Judge) -> None:
    """As many rows as need it are digested in groups."""
    rows = [(f"k_{n}", "x") for n in range(50)]

    def checksum(rows: Sequence[tuple[str | None, str]]) -> str:
        [found] = judge.rows(held(reuse.checksum(TABLE, ("key", "TO_JSON_STRING(request)")), rows))
        return str(found["checksum"])

    assert checksum(rows) == checksum(rows[::-1])
    others = [[("k_0", "y"), *rows[1:]], [("k_50", "x"), *rows[1:]], rows[1:]]
    assert len({checksum(rows), *map(checksum, others)}) == 4
