"""The columns that a response schema promises: what of an answer becomes a typed column, and what stays JSON.

An object's properties become columns, nested objects STRUCTs, lists ARRAYs; a list, a word or a number alone becomes
the column :data:`ALONE`. What BigQuery has no type for stays JSON: alternatives (``anyOf``), objects without
properties, lists of lists, lists whose members may be null, and whatever lies beyond what one statement can carry.

A property whose name is taken by a column of ours gets :data:`PREFIX`: refusing it would forbid the model words like
``text`` or ``reason``, which is how people name things. A name that is no column name gets a legal one with a digest of
its own, so that no later property can take it over.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.schema import Shape, shape_of

ALONE = "value"
PREFIX = "answer_"
MAX_DEPTH = 12
"""Levels of STRUCTs and ARRAYs; BigQuery has 15, and the table itself is one."""
MAX_SQL = 200_000
"""Characters that reading and checking the columns may add to a statement; BigQuery takes 1 MB of it."""
MAX_WORDS = 20_000
"""Characters of the words of one enum; with more they are not checked."""

_MAX_DESCRIPTION = 1024
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PATHLESS = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_FORBIDDEN = re.compile(
    r"_table_|_file_|_partition|_row_timestamp|__root__|_colidentifier|_change_", re.IGNORECASE
)


class Kind(StrEnum):
    """Types of columns, in GoogleSQL's words."""

    STRING = "STRING"
    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    BOOL = "BOOL"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    JSON = "JSON"
    STRUCT = "STRUCT"
    ARRAY = "ARRAY"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value that the schema promises."""

    member: str | None
    """Its name in the answer; ``None``: the answer itself, or a member of a list."""
    name: str
    """Its name as a column, or as a field of a STRUCT."""
    kind: Kind
    required: bool = False
    nullable: bool = False
    words: tuple[str, ...] = ()
    """What a STRING or an INT64 may be, unless empty."""
    fields: tuple[Field, ...] = ()
    """Of a STRUCT."""
    item: Field | None = None
    """Of an ARRAY."""
    description: str = ""

    @property
    def step(self) -> str:
        """The step of a JSON path that leads here."""
        if self.member is None:
            return ""
        return f".{self.member}" if _PLAIN.fullmatch(self.member) else f'."{self.member}"'


@dataclass(frozen=True, kw_only=True)
class Typed:
    """The typed columns of a results table."""

    fields: tuple[Field, ...] = ()
    alone: bool = False
    """The only field is the answer itself."""
    nullable: bool = False
    """The answer as a whole may be ``null``; then all columns are."""


NO_COLUMNS = Typed()
_FORMATS = {"date": Kind.DATE, "date-time": Kind.TIMESTAMP}


def typed(schema: Mapping[str, Any] | None, *, taken: Iterable[str]) -> Typed:
    """Return the columns of *schema*, in the order of its properties.

    :param schema: in Vertex AI's words, as it is sent.
    :param taken: names of other columns of the table.
    """
    if not schema or shape_of(schema) is Shape.ANY:
        return NO_COLUMNS
    root = _field(schema, member=None, name=ALONE, required=False, depth=0)
    alone = root.kind is not Kind.STRUCT
    if root.kind is Kind.JSON and shape_of(schema) is Shape.OBJECT:
        return Typed(nullable=root.nullable)
    fields = (root,) if alone else _renamed(root.fields, frozenset(name.casefold() for name in taken))
    return Typed(fields=_bounded(fields), alone=alone, nullable=root.nullable)


def column(field: Field) -> Column:
    """Return *field* as a column of a table."""
    one = field.item if field.item is not None else field
    return Column(
        field.name,
        one.kind.value,
        "REPEATED" if field.kind is Kind.ARRAY else "NULLABLE",
        fields=tuple(column(inner) for inner in one.fields),
        description=field.description,
    )


def _renamed(fields: Iterable[Field], taken: frozenset[str]) -> tuple[Field, ...]:
    return tuple(
        replace(one, name=PREFIX + one.name) if _is_taken(one.name.casefold(), taken) else one
        for one in fields
    )


def _is_taken(name: str, taken: frozenset[str]) -> bool:
    """What a taken name is called instead is taken, too: two properties never meet, whichever comes first."""
    return name in taken or (name.startswith(PREFIX) and _is_taken(name.removeprefix(PREFIX), taken))


def _field(schema: Mapping[str, Any], *, member: str | None, name: str, required: bool, depth: int) -> Field:
    word = str(schema.get("type", "")).upper()
    plain = Field(
        member=member,
        name=name,
        kind=Kind.JSON,
        required=required,
        nullable=_may_be_null(schema),
        description=str(schema.get("description", ""))[:_MAX_DESCRIPTION],
    )
    if "anyOf" in schema or depth > MAX_DEPTH:
        return plain
    if word == "OBJECT" or "properties" in schema:
        fields = _fields(schema, depth)
        if depth:  # whoever puts properties in another order has the same STRUCT
            fields = tuple(sorted(fields, key=attrgetter("name")))
        return replace(plain, kind=Kind.STRUCT, fields=fields) if fields else plain
    if word == "ARRAY" or "items" in schema:
        item = _item(schema.get("items"), depth)
        return replace(plain, kind=Kind.ARRAY, item=item) if item else plain
    kind = {"INTEGER": Kind.INT64, "NUMBER": Kind.FLOAT64, "BOOLEAN": Kind.BOOL}.get(word, Kind.JSON)
    if word == "STRING":
        kind = _FORMATS.get(str(schema.get("format")), Kind.STRING) if "enum" not in schema else Kind.STRING
    return replace(plain, kind=kind, words=_words(schema.get("enum"), kind))


def _may_be_null(schema: Mapping[str, Any]) -> bool:
    """Also where an alternative says so, or nothing says what the value is."""
    alternatives = schema.get("anyOf", ())
    says_nothing = not {"type", "anyOf", "properties", "items", "enum"} & set(schema)
    return (
        schema.get("nullable") is True
        or says_nothing
        or any(isinstance(one, Mapping) and _may_be_null(one) for one in alternatives)
    )


def _fields(schema: Mapping[str, Any], depth: int) -> tuple[Field, ...]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return ()
    order = dict.fromkeys([*schema.get("propertyOrdering", ()), *properties])
    alike = Counter(name.casefold() for name in properties)
    return tuple(
        _field(
            properties[member],
            member=member,
            name=_legal(member, alone=alike[member.casefold()] == 1),
            required=member in schema.get("required", ()),
            depth=depth + 1,
        )
        for member in order
        if isinstance(properties.get(member), Mapping) and not _PATHLESS.search(member)
    )


def _item(schema: Any, depth: int) -> Field | None:
    """A list in BigQuery holds no lists and no NULLs."""
    if not isinstance(schema, Mapping):
        return None
    item = _field(schema, member=None, name="", required=True, depth=depth + 1)
    return None if item.nullable or item.kind in (Kind.ARRAY, Kind.JSON) else item


def _words(enum: Any, kind: Kind) -> tuple[str, ...]:
    if kind not in (Kind.STRING, Kind.INT64) or not isinstance(enum, (list, tuple)):
        return ()
    words = tuple(str(word) for word in enum)
    return words if sum(map(len, words)) <= MAX_WORDS else ()


def _legal(member: str, *, alone: bool) -> str:
    if alone and _PLAIN.fullmatch(member) and not _FORBIDDEN.match(member):
        return member
    digest = hashlib.sha256(member.encode()).hexdigest()[:6]
    return f"{PREFIX}{re.sub('[^A-Za-z0-9_]', '_', member)[:100]}_{digest}"


def _bounded(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Keep what one statement can carry: what is too large becomes JSON, or stays in the answer alone."""
    left, kept = MAX_SQL, []
    for one in fields:
        slim = replace(one, kind=Kind.JSON, fields=(), item=None) if one.fields or one.item else one
        if (weight := _weight(slim, 0)) > left:
            break
        left -= weight
        kept.append((one, slim))
    result = []
    for one, slim in kept:
        more = _weight(one, 0) - _weight(slim, 0)
        result.append(one if more <= left else slim)
        left -= more if more <= left else 0
    return tuple(result)


def _weight(field: Field, above: int) -> int:
    """About how many characters a field adds to the statements; some of them say its path eight times."""
    path = above + len(field.step)
    own = 8 * (path + 80) + 2 * sum(len(word) + 4 for word in field.words) + len(field.description)
    inner = [*field.fields, *([field.item] if field.item else [])]
    return own + sum(_weight(one, path) for one in inner)
