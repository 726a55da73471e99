"""The columns, clauses and OPTIONS of CREATE and ALTER, as fields of the REST resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp

from .datatypes import Field
from .errors import invalid_query, unsupported
from .sql.dialect import only, type_of

Value = Callable[[exp.Expr], object]
_OPTIONS: Mapping[str, str] = {"description": "description", "friendly_name": "friendlyName"}


class Properties:
    """The clauses and OPTIONS of a CREATE statement, as fields of the REST resource."""

    def __init__(self, value: Value, kind: str) -> None:
        self.value, self.kind = value, kind
        self.options: dict[str, Any] = {}
        self.temporary = False

    def read(self, node: exp.Create) -> Properties:
        """Read the clauses of a CREATE statement."""
        clause = node.args.get("properties")
        if clause is not None:
            self.options_of(clause)
        return self

    def options_of(self, clause: exp.Expr) -> None:
        """Read clauses and OPTIONS; an unknown one is refused."""
        for part in clause.expressions:
            if isinstance(part, exp.PartitionedByProperty):
                self.options.update(_partitioning(part.this))
            elif isinstance(part, exp.ClusterProperty):
                self.options["clustering"] = {"fields": [column.name for column in part.expressions]}
            elif isinstance(part, exp.TemporaryProperty):
                self.temporary = True
            elif isinstance(part, exp.LocationProperty) and self.kind == "SCHEMA":
                self.options["location"] = part.this.name
            elif isinstance(part, exp.Property) and isinstance(part.this, exp.Var | exp.Identifier):
                self._option(part.this.name.lower(), part.args["value"])
            else:
                raise unsupported(
                    f"{type(part).__name__.removesuffix('Property').upper()} in CREATE {self.kind}"
                )

    def _option(self, name: str, node: exp.Expr) -> None:
        if name == "labels":
            self.options["labels"] = {
                pair.expressions[0].name: pair.expressions[1].name for pair in node.expressions
            }
            return
        value = self.value(node)
        if name in _OPTIONS:
            self.options[_OPTIONS[name]] = value
        elif name == "expiration_timestamp":
            self.options["expirationTime"] = None if value is None else str(int(str(value)) // 1000)
        else:
            raise unsupported(f"the option {name} of a {self.kind.lower()}")
        self.options = {key: kept for key, kept in self.options.items() if kept is not None}


def _partitioning(node: exp.Expr) -> dict[str, Any]:
    """Read PARTITION BY as the REST resource says it."""
    if isinstance(node, exp.Identifier | exp.Column) and node.name.upper() == "_PARTITIONDATE":
        raise unsupported("tables partitioned by ingestion time")
    if isinstance(node, exp.Identifier | exp.Column):
        return {"timePartitioning": {"type": "DAY", "field": node.name}}
    if isinstance(node, exp.Anonymous):
        name, args = str(node.this).upper(), node.expressions
        if name == "DATE" and len(args) == 1:
            return {"timePartitioning": {"type": "DAY", "field": args[0].name}}
        if name in {"DATE_TRUNC", "TIMESTAMP_TRUNC", "DATETIME_TRUNC"} and len(args) == 2:
            unit = args[1].name.upper()
            if unit in {"HOUR", "DAY", "MONTH", "YEAR"}:
                return {"timePartitioning": {"type": unit, "field": args[0].name}}
        if name == "RANGE_BUCKET" and len(args) == 2 and len(args[1].expressions) == 3:
            start, end, interval = (part.sql() for part in args[1].expressions)
            bounds = {"start": start, "end": end, "interval": interval}
            return {"rangePartitioning": {"field": args[0].name, "range": bounds}}
    raise invalid_query(
        f"PARTITION BY expression must be a date, a truncation or a range: {node.sql(dialect='bigquery')}"
    )


def check_partitioning(options: Mapping[str, Any], fields: list[Field]) -> None:
    """Require that a table has the columns it is partitioned and clustered by."""
    kinds = {field.name.lower(): field.type.kind for field in fields}
    column = (options.get("timePartitioning") or {}).get("field")
    if column is not None and kinds.get(str(column).lower()) not in {"DATE", "DATETIME", "TIMESTAMP"}:
        raise invalid_query(
            f"The field specified for partitioning cannot be found in the schema, or has a wrong type: {column}"
        )
    for name in (options.get("clustering") or {}).get("fields") or []:
        if str(name).lower() not in kinds:
            raise invalid_query(f"The field specified for clustering cannot be found in the schema: {name}")


def columns(schema: exp.Schema, value: Value) -> list[Field]:
    """Read the column list of CREATE TABLE."""
    fields = []
    for part in schema.expressions:
        if not isinstance(part, exp.ColumnDef):
            raise unsupported(f"{part.sql(dialect='bigquery')} in CREATE TABLE")
        fields.append(column(part, value))
    names = [field.name.lower() for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise invalid_query(f"Duplicate column name {name} in CREATE TABLE")
    return fields


def column(node: exp.ColumnDef, value: Value) -> Field:
    """Read one column with its type, NOT NULL and description."""
    only(node, "this", "kind", "constraints", "exists")
    if not isinstance(node.kind, exp.DataType):
        raise invalid_query(f"Column {node.name} needs a type")
    required, description = False, None
    for constraint in node.args.get("constraints") or []:
        if isinstance(constraint.kind, exp.NotNullColumnConstraint):
            required = True
        elif isinstance(constraint.kind, exp.Properties):
            for option in constraint.kind.expressions:
                if option.name.lower() != "description":
                    raise unsupported(f"the option {option.name} of a column")
                description = str(value(option.args["value"]))
        else:
            raise unsupported(f"{constraint.sql(dialect='bigquery')} of column {node.name}")
    return Field(node.name, type_of(node.kind), required=required, description=description)
