"""What Google's own SQL implementation says of the statements over request tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import googlesql
from bigquery_engine import Engine
from template_cases import TABLE, Case

from airflow_batch_gemini.exceptions import RowError
from airflow_batch_gemini.sql.literal import string_literal


class Judge(googlesql.Judge):
    """GoogleSQL with a request table in its catalog."""

    def __init__(self) -> None:
        super().__init__({TABLE: [("key", "STRING"), ("request", "JSON")]})


def select_of(statement: str) -> str:
    """The query of a CREATE TABLE … AS statement."""
    head, _, query = statement.partition(" AS\n")
    assert head.startswith("CREATE OR REPLACE TABLE")
    return query


def in_place(sql: str, requests: Sequence[tuple[str | None, dict[str, Any]]]) -> str:
    """Put requests in the place of the table."""
    rows = []
    for key, request in requests:
        literal = "CAST(NULL AS STRING)" if key is None else string_literal(key)
        rows.append(f"STRUCT({literal} AS key, PARSE_JSON({string_literal(json.dumps(request))}) AS request)")
    return sql.replace(TABLE.sql, f"(SELECT * FROM UNNEST([{', '.join(rows)}]))")


def held(sql: str, requests: Sequence[tuple[str | None, str]]) -> str:
    """Put requests in the place of the table: a key and a text, or a key and a file's URI."""
    made: list[tuple[str | None, dict[str, Any]]] = []
    for key, text in requests:
        parts: list[dict[str, Any]] = [{"text": text}]
        if text.startswith("file:"):
            uri, _, mime_type = text.removeprefix("file:").partition("|")
            parts.append({"fileData": {"fileUri": uri, "mimeType": mime_type}})
        made.append((key, {"contents": [{"role": "user", "parts": parts}]}))
    return in_place(sql, made)


def check_alike(judge: Judge, engine: Engine, case: Case) -> None:
    """Fail unless all three make the same requests, number for number as they are written, and the right ones."""
    wanted = {f"k_{row['key']}": _by_python(case, row) for row in case.rows}
    assert wanted == {f"k_{row['key']}": case.expected(row) for row in case.rows}
    by_google = _fitting({row["key"]: row["request"] for row in judge.rows(case.sql)})
    assert json.dumps(by_google, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    if case.suits_local_bigquery:
        found = _fitting({key: json.loads(request) for key, request in engine.rows(case.sql)})
        assert _in_one_spelling(found) == _in_one_spelling(wanted)


def _by_python(case: Case, row: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(json.loads(case.line(row))["request"])
    except RowError as error:
        if "GB126" in str(error):
            return None
        raise


def _fitting(requests: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if None in _leaves(request) else request for key, request in requests.items()}


def _in_one_spelling(requests: Mapping[str, Any]) -> str:
    """DuckDB escapes control characters inside lists with capitals: \\u001F for \\u001f."""
    return re.sub("u00[01][0-9A-F]", lambda found: found[0].lower(), json.dumps(requests, sort_keys=True))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _leaves(member)
    else:
        yield value
