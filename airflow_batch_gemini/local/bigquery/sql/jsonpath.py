"""JSONPath as GoogleSQL writes it, read here and written as DuckDB reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

_STANDARD = re.compile(r"""\.(?:"((?:[^"\\]|\\.)*)"|([^.\[\]"'\s]+))|\[(\d+)\]""")
_LEGACY = re.compile(r"""\.([^.\[\]"'\s]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]""")


def steps(path: str, *, legacy: bool = False) -> list[str | int]:
    """Read a path; `legacy` is the dialect of the JSON_EXTRACT functions, which quotes a key as ['key']."""
    if path.startswith(("lax ", "lax recursive ")):
        raise unsupported("lax JSONPath")
    if not path.startswith("$"):
        raise invalid_query("JSONPath must start with '$'")
    found: list[str | int] = []
    place = 1
    grammar = _LEGACY if legacy else _STANDARD
    while place < len(path):
        step = grammar.match(path, place)
        if step is None:
            if path.startswith("[-", place):
                raise unsupported("a negative index in a JSONPath")
            raise invalid_query(f"Invalid token in JSONPath at: {path[place:]}")
        found.append(_step(step, legacy=legacy))
        place = step.end()
    return found


def _step(step: re.Match[str], *, legacy: bool) -> str | int:
    if legacy:
        plain, index, key = step.groups()
    else:
        key, plain, index = step.groups()
    if index is not None:
        return int(index)
    return str(plain) if plain is not None else re.sub(r"\\(.)", r"\1", key)


def duckdb(path: Sequence[str | int]) -> str:
    """Write steps as DuckDB's path, without the leading `$`; keys are always quoted, so none is special."""
    written = ""
    for step in path:
        if isinstance(step, int):
            written += f"[{step}]"
            continue
        if '"' in step or "\\" in step:
            raise unsupported("a quote or a backslash in a JSON key")
        written += f'."{step}"'
    return written
