"""What may be given to the linter, the readers and the renderers, and what must be true whatever it is.

Each hunt raises for an input that breaks what it promises. Errors of this package are promises kept.
"""

from __future__ import annotations

import atexit
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import orjson
from bigquery_engine import Engine
from hypothesis import strategies as st
from line_cases import JSON, LINE, told, variants
from request_corpus import requests
from sql_judge import Judge, check_alike
from template_cases import WORDS, Case, cases

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.lint import RULES
from airflow_batch_gemini.batch.lint_file import FileLinter
from airflow_batch_gemini.batch.lint_request import lint_request
from airflow_batch_gemini.batch.ready import ReadyMade
from airflow_batch_gemini.batch.render import Renderer
from airflow_batch_gemini.batch.response_schema import vertex_schema
from airflow_batch_gemini.batch.row_files import csv_batches, jsonl_batches
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import NothingPaidError


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """What is drawn, and what is looked at."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    of_bytes: Callable[[bytes], Any] | None = None
    """Makes an input of any bytes, where that is more than the strategy would make of them."""
    seeds: Sequence[bytes] = ()
    """Bytes to begin with."""


def _linter_is_sure(lines: Sequence[bytes]) -> None:
    """It has findings or none, and what it remembers of earlier lines lets no row pass and warns of none.

    Of a row with an error it need not say everything: what it says of the file is forgotten with the row.
    """
    with_memory, without = _verdicts(told(lines)), _verdicts(told(lines, memory=False))
    assert with_memory == without


def _verdicts(findings: Sequence[tuple[str, str]]) -> Mapping[str, set[str]]:
    """Return what is said of each row: that it is wrong, or what it is warned of."""
    said: dict[str, set[str]] = {}
    for rule, row in findings:
        said.setdefault(row, set()).add("error" if RULES[rule].severity == "error" else rule)
    return {row: {"error"} if "error" in rules else rules for row, rules in said.items()}


def _ready_made_are_taken_byte_for_byte(lines: Sequence[bytes]) -> None:
    """A line is refused, or its request goes out as it came in."""
    for strict in (True, False):
        with suppress(NothingPaidError):
            renderer = ReadyMade(key_column="key", strict=strict)
            stream = io.BytesIO(b"\n".join(lines))
            for batch in jsonl_batches(stream, source="f", keep_lines=True):
                for row, line in zip(batch.rows, renderer.make(batch)[1], strict=True):
                    sent = orjson.loads(line)["request"]
                    assert sent == row.get("request", row)


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False) | st.just(Decimal("NaN")),  # a signalling one has no hash
    st.binary(max_size=6),
    st.text(st.characters(), max_size=6),  # lone surrogates too
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
)
ANYTHING = st.recursive(
    _ODD | st.builds(object),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_ODD, inner, max_size=2),
    max_leaves=4,
)
"""What a cell of a row may hold, whoever yields it."""


@st.composite
def _cells(draw: st.DrawFn) -> Case:
    """Draw a template and rows that were not made for it."""
    case = draw(cases(max_rows=3))
    rows = []
    for row in case.rows:
        odd = draw(st.dictionaries(st.sampled_from(sorted(row)), ANYTHING, max_size=3))
        left_out = draw(st.sets(st.sampled_from(sorted(row)), max_size=1)) if draw(st.booleans()) else set()
        rows.append({name: value for name, value in (row | odd).items() if name not in left_out})
    return Case(case.arguments, case.types, rows)


def _a_row_is_refused_or_becomes_a_request(case: Case) -> None:
    """A request that is made breaks no rule, in files and in tables."""
    template, linter = case.template, FileLinter()
    for row in case.rows:
        renderer = Renderer(template, key_column="key")
        batch = RowBatch(source="f", unit="line", first=1, rows=[row])
        with suppress(NothingPaidError):
            _, [line] = renderer.make(batch)
            made = orjson.loads(line)
            assert set(made) == {"key", "request"}
            found = linter.findings(orjson.dumps(made["request"]), made["request"])
            assert not [finding for finding in found if finding.rule.severity == "error"]


def _a_template_is_refused_or_made(arguments: Mapping[str, Any]) -> None:
    with suppress(NothingPaidError):
        template = GeminiTemplate(**arguments)
        list(lint_request(template.request, importer=True))


_SCHEMA_WORDS = [
    "type", "properties", "items", "anyOf", "$ref", "$defs", "enum", "required", "format", "nullable", "const",
    "additionalProperties", "allOf", "oneOf", "prefixItems", "title", "description",
]  # fmt: skip
_SCHEMAS = st.recursive(
    st.sampled_from(["string", "object", "array", "null", "integer", "#/$defs/a", "#", "a", "date-time"])
    | JSON,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_SCHEMA_WORDS, "a", "b"]), inner, max_size=4)
    ),
    max_leaves=10,
)


def _a_schema_is_refused_or_taken(schema: Any) -> None:
    """What is taken is JSON again, and within what Vertex AI knows: taken once more it stays as it is."""
    with suppress(NothingPaidError):
        taken = vertex_schema(schema)
        assert json.loads(json.dumps(taken)) == taken


def _a_file_is_refused_or_read(data: bytes) -> None:
    """As lines or as a table; every row has its place."""
    for read in (jsonl_batches, csv_batches):
        with suppress(NothingPaidError):
            for batch in read(io.BytesIO(data), source="f"):
                assert all(isinstance(row, Mapping) for row in batch.rows)
                assert batch.place(len(batch.rows) - 1).startswith("f ")


@cache
def _engines() -> tuple[Judge, Engine]:
    engine = Engine()
    atexit.register(engine.close)
    return Judge(), engine


def _python_and_bigquery_agree(case: Case) -> None:
    """Python, GoogleSQL and the local BigQuery make the same request; hostile words stay one literal."""
    check_alike(*_engines(), case)


def _of_lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")


_REQUEST_FILES = [
    b"\n".join(json.dumps({"key": f"k{i}", "request": one}).encode() for i in range(3))
    for one in requests().values()
]
_LINES = st.lists(LINE, max_size=6) | variants()
HUNTS: dict[str, Hunt] = {
    "linter": Hunt(inputs=_LINES, check=_linter_is_sure, of_bytes=_of_lines, seeds=_REQUEST_FILES),
    "ready": Hunt(
        inputs=_LINES, check=_ready_made_are_taken_byte_for_byte, of_bytes=_of_lines, seeds=_REQUEST_FILES
    ),
    "files": Hunt(
        inputs=st.binary(max_size=200), check=_a_file_is_refused_or_read, of_bytes=bytes, seeds=_REQUEST_FILES
    ),
    "rows": Hunt(inputs=_cells(), check=_a_row_is_refused_or_becomes_a_request),
    "templates": Hunt(
        inputs=st.fixed_dictionaries(
            {"prompt": WORDS},
            optional={
                "system_instruction": WORDS,
                "generation_config": JSON,
                "safety_settings": JSON,
                "tools": JSON,
                "response_schema": _SCHEMAS,
            },
        ),
        check=_a_template_is_refused_or_made,
    ),
    "schemas": Hunt(inputs=_SCHEMAS, check=_a_schema_is_refused_or_taken),
    "rendering": Hunt(inputs=cases(max_rows=4), check=_python_and_bigquery_agree),
}
"""By name."""
