"""Datasets and tables as the catalogue keeps them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from .datatypes import Field, duckdb_type, fields_from_rest, fields_to_rest, quoted


def now_ms() -> int:
    """The time in milliseconds, as BigQuery's resources say it."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: its location never changes; `options` are the other fields of the resource, as given."""

    project: str
    name: str
    location: str
    created: int
    modified: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view; `storage` is where its rows lie, `options` are the other fields of the resource."""

    project: str
    dataset: str
    name: str
    fields: tuple[Field, ...]
    storage: str | None
    created: int
    modified: int
    view: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The name as BigQuery's messages say it."""
        return f"{self.project}:{self.dataset}.{self.name}"

    @property
    def expired(self) -> bool:
        """Say whether its expiration time has passed."""
        moment = self.options.get("expirationTime")
        return moment is not None and int(moment) <= now_ms()


def column_list(fields: Sequence[Field]) -> str:
    """Render columns for CREATE TABLE."""
    columns = []
    for column in fields:
        extra = " NOT NULL" if column.required else " DEFAULT []" if column.type.kind == "ARRAY" else ""
        columns.append(f"{quoted(column.name)} {duckdb_type(column.type)}{extra}")
    return ", ".join(columns)


def packed(value: Dataset | Table) -> str:
    """Write an entry of the catalogue."""
    doc = {name: getattr(value, name) for name in value.__slots__}
    if isinstance(value, Table):
        doc["fields"] = fields_to_rest(value.fields)
    return orjson.dumps(doc).decode()


def unpacked(doc: str) -> Table:
    """Read an entry of the catalogue."""
    raw = orjson.loads(doc)
    return Table(**{**raw, "fields": fields_from_rest(raw["fields"])})


def etag(*parts: object) -> str:
    """Make an entity tag out of what may change."""
    return hashlib.md5(repr(parts).encode(), usedforsecurity=False).hexdigest()
