"""The door of the translator: one GoogleSQL query in, DuckDB's text and the result's schema out."""

from __future__ import annotations

# Importing these fills the tables of nodes and functions.
from . import aggregates, calls, date_functions, fold, json_functions, operators, plain_functions, string_functions
from .select import query

__all__ = [
    "aggregates", "calls", "date_functions", "fold", "json_functions", "operators", "plain_functions", "query",
    "string_functions",
]  # fmt: skip
