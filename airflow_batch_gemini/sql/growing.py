"""STRUCTs that gain fields: what the column of a table becomes, and our values in the shape of that column.

BigQuery adds a field at the end of a STRUCT, and assigns STRUCTs by the places of their fields. So the order of the
fields is that of the table, whatever the schema says, and a field that the schema has no more is NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.sql.literal import identifier
from airflow_batch_gemini.sql.typed import type_of


def grown(ours: Column, theirs: Column) -> Column | None:
    """Return the column of a table with the fields of *ours* that it lacks, wherever they are nested.

    Nothing is dropped, retyped or moved. ``None``: the two hold different values.
    """
    if ours.type != theirs.type or _is_list(ours) != _is_list(theirs):
        return None
    mine = _by_name(ours.fields)
    fields = []
    for one in theirs.fields:
        wanted = mine.pop(one.name.casefold(), None)
        known = one if wanted is None else grown(wanted, one)
        if known is None:
            return None
        fields.append(known)
    return replace(theirs, fields=(*fields, *mine.values()))


def growing(wanted: Iterable[Column], found: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of a table that have to get fields, as they have to become."""
    there = _by_name(found)
    pairs = [(there.get(one.name.casefold()), one) for one in wanted]
    become = [(theirs, grown(ours, theirs)) for theirs, ours in pairs if theirs is not None]
    return tuple(column for theirs, column in become if column is not None and column != theirs)


def item(column: Column, found: Sequence[Column]) -> str:
    """Return how a column of ours is selected into a table that has, or will have, the columns *found*."""
    name = identifier(column.name)
    theirs = _by_name(found).get(column.name.casefold(), column)
    value = _shaped(column, grown(column, theirs) or theirs, name)
    return name if value == name else f"{value} AS {name}"


def _shaped(ours: Column, theirs: Column, value: str, depth: int = 0) -> str:
    if _alike(ours, theirs):
        return value
    if _is_list(ours):
        one = f"gemini_member{depth}"
        return (
            f"ARRAY(SELECT {_struct(ours, theirs, one, depth + 1)} FROM UNNEST({value}) AS {one} "
            f"WITH OFFSET AS gemini_place{depth} ORDER BY gemini_place{depth})"
        )
    return f"IF({value} IS NULL, NULL, {_struct(ours, theirs, value, depth)})"


def _struct(ours: Column, theirs: Column, value: str, depth: int) -> str:
    mine = _by_name(ours.fields)
    fields = []
    for one in theirs.fields:
        wanted = mine.get(one.name.casefold())
        inner = (
            _nothing(one)
            if wanted is None
            else _shaped(wanted, one, f"{value}.{identifier(wanted.name)}", depth)
        )
        fields.append(f"{inner} AS {identifier(one.name)}")
    return f"STRUCT({', '.join(fields)})"


def _nothing(column: Column) -> str:
    """No value of a column: BigQuery has no NULL list."""
    kind = type_of(column)
    return f"{kind}[]" if _is_list(column) else f"CAST(NULL AS {kind})"


def _alike(one: Column, other: Column) -> bool:
    """Whether both have the same fields in the same places."""
    return [field.name.casefold() for field in one.fields] == [
        field.name.casefold() for field in other.fields
    ] and all(map(_alike, one.fields, other.fields))


def _is_list(column: Column) -> bool:
    return column.mode == "REPEATED"


def _by_name(columns: Iterable[Column]) -> dict[str, Column]:
    return {column.name.casefold(): column for column in columns}
