"""Typed columns out of an answer, as SQL: the rule of :mod:`airflow_batch_gemini.batch.fitting`.

A value is named once as a column and a few times where it is checked, so a statement grows with the schema and not with
the rows; :data:`~airflow_batch_gemini.batch.columns.MAX_SQL` bounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_batch_gemini.batch.columns import Field, Kind, Typed
from airflow_batch_gemini.batch.fitting import DATE, MOMENT, NAMES
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.sql.literal import identifier, string_literal

_ZONED = string_literal("(?:Z|[+-][0-9]{2}:[0-9]{2})$")


@dataclass(frozen=True)
class _Place:
    """Where a value is found: a path below an expression, and the pieces of its path below the answer."""

    base: str
    path: str
    told: tuple[str, ...]
    depth: int = 0

    def below(self, field: Field) -> _Place:
        told = (*self.told[:-1], self.told[-1] + field.step)
        return replace(self, path=self.path + field.step, told=told)

    @property
    def member(self) -> _Place:
        """A member of the list that is found here."""
        deep = self.depth + 1
        told = (*self.told[:-1], f"{self.told[-1]}[", f"CAST(place{deep} AS STRING)", "]")
        return _Place(f"member{deep}", "$", told, deep)

    def read(self, function: str) -> str:
        return f"{function}({self.base}, {string_literal(self.path)})"

    @property
    def json(self) -> str:
        return self.base if self.path == "$" else self.read("JSON_QUERY")

    def misfit(self, reason: str) -> str:
        """Literals and places take turns."""
        first, *rest = self.told
        pieces = [string_literal(f"{reason} {first}")]
        pieces += [piece if place % 2 == 0 else string_literal(piece) for place, piece in enumerate(rest)]
        return pieces[0] if len(pieces) == 1 else f"CONCAT({', '.join(pieces)})"


def misfit(columns: Typed, answer: str) -> str:
    """Return an expression for why *answer* does not fit, a blank, and the path; NULL when it does."""
    place = _Place(answer, "$", ("$",))
    checks = (
        [_check(one, place) for one in columns.fields] if columns.alone else _members(columns.fields, place)
    )
    return _first(checks) if any(checks) else "CAST(NULL AS STRING)"


def values(columns: Typed, answer: str) -> dict[str, str]:
    """Return by column the expression for what stands in it; all are NULL, or empty lists, where *answer* is NULL."""
    place = _Place(answer, "$", ("$",))
    if columns.alone:
        return {one.name: _value(one, place) for one in columns.fields}
    return {one.name: _value(one, place.below(one)) for one in columns.fields}


def type_of(column: Column, *, described: bool = False) -> str:
    """Return the type of *column* as a statement says it."""
    kind = column.type
    if column.fields:
        inner = ", ".join(definition(one, described=described) for one in column.fields)
        kind = f"STRUCT<{inner}>"
    return f"ARRAY<{kind}>" if column.mode == "REPEATED" else kind


def definition(column: Column, *, described: bool = True) -> str:
    """Return a column, or a field of a STRUCT, with its type and what it is."""
    options = f" OPTIONS (description = {string_literal(column.description)})"
    told = options if described and column.description else ""
    return f"{identifier(column.name)} {type_of(column, described=described)}{told}"


def _first(checks: Sequence[str | None]) -> str:
    found = [check for check in checks if check]
    return found[0] if len(found) == 1 else f"COALESCE({', '.join(found)})"


def _members(fields: Sequence[Field], place: _Place) -> list[str | None]:
    return [_member(one, place.below(one)) for one in fields]


def _member(field: Field, place: _Place) -> str | None:
    """Return the check of a property; ``None`` when anything will do."""
    nothing, check = f"COALESCE(JSON_TYPE({place.json}), 'null') = 'null'", _check(field, place)
    cases = []
    if field.required:
        absent = f"{place.json} IS NULL" if field.nullable else nothing
        cases.append(f"WHEN {absent} THEN {place.misfit('REQUIRED')}")
    if check and (field.nullable or not field.required):
        cases.append(f"WHEN {nothing} THEN NULL")
    if check:
        cases.append(f"ELSE {check}")
    return f"CASE {' '.join(cases)} END" if cases else None


def _check(field: Field, place: _Place) -> str | None:
    """Return the check of a value that is there."""
    if field.kind is Kind.JSON:
        return None
    cases = f"WHEN {_is_not(field.kind, place)} THEN {place.misfit(f'NOT_{NAMES[field.kind]}')}"
    if field.words:
        words = ", ".join(map(string_literal, field.words))
        text = place.read("JSON_VALUE")
        text = text if field.kind is Kind.STRING else f"CAST(SAFE.INT64({place.json}) AS STRING)"
        cases += f" WHEN {text} NOT IN ({words}) THEN {place.misfit('NOT_IN_ENUM')}"
    inner = None
    if field.kind is Kind.STRUCT and any(checks := _members(field.fields, place)):
        inner = _first(checks)
    elif field.item is not None:
        inner = _first_member(field.item, place)
    return f"CASE {cases}{f' ELSE {inner}' if inner else ''} END"


def _first_member(item: Field, place: _Place) -> str:
    one = place.member
    return (
        f"(SELECT misfit FROM (SELECT place{one.depth} AS place, {_check(item, one)} AS misfit "
        f"FROM UNNEST({place.read('JSON_QUERY_ARRAY')}) AS {one.base} WITH OFFSET AS place{one.depth}) "
        "WHERE misfit IS NOT NULL ORDER BY place LIMIT 1)"
    )


def _is_not(kind: Kind, place: _Place) -> str:
    text, types = (
        place.read("JSON_VALUE"),
        {Kind.STRUCT: "object", Kind.ARRAY: "array", Kind.FLOAT64: "number"},
    )
    match kind:
        case Kind.INT64:
            return f"SAFE.INT64({place.json}) IS NULL"
        case Kind.BOOL:
            return f"JSON_TYPE({place.json}) != 'boolean'"
        case Kind.DATE | Kind.TIMESTAMP:
            pattern = string_literal(f"^(?:{DATE if kind is Kind.DATE else MOMENT})$")
            return (
                f"JSON_TYPE({place.json}) != 'string' OR NOT REGEXP_CONTAINS({text}, {pattern}) "
                f"OR {_time(kind, text)} IS NULL"
            )
    return f"JSON_TYPE({place.json}) != '{types.get(kind, 'string')}'"


def _time(kind: Kind, text: str) -> str:
    if kind is Kind.DATE:
        return f"SAFE_CAST({text} AS DATE)"
    cut = f"REGEXP_REPLACE({text}, '(\\\\.[0-9]{{6}})[0-9]+', '\\\\1')"
    return f"SAFE_CAST(CONCAT({cut}, IF(REGEXP_CONTAINS({text}, {_ZONED}), '', 'Z')) AS TIMESTAMP)"


def _value(field: Field, place: _Place) -> str:
    if field.item is not None:
        one = place.member
        return (
            f"ARRAY(SELECT {_value(field.item, one)} FROM UNNEST({place.read('JSON_QUERY_ARRAY')}) AS {one.base} "
            f"WITH OFFSET AS place{one.depth} ORDER BY place{one.depth})"
        )
    if field.fields:
        inner = ", ".join(
            f"{_value(one, place.below(one))} AS {identifier(one.name)}" for one in field.fields
        )
        return f"IF(JSON_TYPE({place.json}) = 'object', STRUCT({inner}), NULL)"
    text = place.read("JSON_VALUE")
    return {
        Kind.STRING: text,
        Kind.INT64: f"SAFE.INT64({place.json})",
        Kind.FLOAT64: f"LAX_FLOAT64({place.json})",
        Kind.BOOL: f"SAFE.BOOL({place.json})",
        Kind.DATE: _time(Kind.DATE, text),
        Kind.TIMESTAMP: _time(Kind.TIMESTAMP, text),
    }.get(field.kind, f"IF(JSON_TYPE({place.json}) = 'null', NULL, {place.json})")
