"""The door of the translator: one GoogleSQL query in, DuckDB's text and the result's schema out."""

from __future__ import annotations

# Importing these fills the tables of nodes and functions.
from . import (
    date_functions,
    json_functions,
    operators,
    plain_functions,
    string_functions,
    subqueries,
    windows,
)
from .select import query

__all__ = [
    "date_functions", "json_functions", "operators", "plain_functions", "query", "string_functions", "subqueries",
    "windows",
]  # fmt: skip
