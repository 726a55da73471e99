"""The view of the newest answer to every key, whatever batch it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airflow_batch_gemini.batch.landing import Column, TableInfo
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.literal import identifier, string_literal

OURS = "The newest answer to every key of"
"""How the description of a view of ours begins; no other one is replaced."""


def view_of(results: TableName) -> TableName:
    """Return what the view of a results table is called."""
    return results.dataset_name.table(f"{results.table}_latest")


def create_view(view: TableName, results: TableName) -> str:
    """Return the statement that makes the view, or makes it anew with the columns that *results* has now.

    The newest answer is that of the latest ``batch_date``; of one day, the one that the model gave last.
    """
    newest = "batch_date DESC, processed_time DESC, loaded_at DESC, batch_id DESC"
    about = string_literal(f"{OURS} {results}.")
    return (
        f"CREATE OR REPLACE VIEW {identifier(str(view))}\nOPTIONS (description = {about})\nAS SELECT *\n"
        f"FROM {identifier(str(results))}\n"
        f"WHERE TRUE\nQUALIFY ROW_NUMBER() OVER (PARTITION BY key ORDER BY {newest}) = 1;"
    )


def is_due(found: TableInfo | None, columns: Iterable[Column]) -> bool:
    """Whether the view has to be made: it is not there, or it is ours and lacks some of *columns* or their fields."""
    if found is None:
        return True
    return found.description.startswith(OURS) and not set(_paths(columns)) <= set(_paths(found.columns))


def _paths(columns: Iterable[Column], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for column in columns:
        path = (*above, column.name.casefold())
        yield path
        yield from _paths(column.fields, path)
