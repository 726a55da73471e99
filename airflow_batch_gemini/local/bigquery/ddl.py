"""CREATE, DROP and ALTER: changes of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from .catalog import Catalog, Table, now_ms
from .datatypes import Field, quoted
from .errors import NotFound, duplicate, invalid_query, unsupported
from .session import Session
from .sql.dialect import only, type_of
from .sql.relations import table_path
from .sql.scope import Context, Query
from .tables import JobTables
from .writing import insert_query, result_fields

Value = Callable[[exp.Expr], object]
_OPTIONS: Mapping[str, str] = {"description": "description", "friendly_name": "friendlyName", "labels": "labels"}


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement did: its type in BigQuery's words, the table it made or changed, the rows it changed."""

    kind: str
    table: Table | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    changes_rows: bool = False
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class Ddl:
    """One statement on its way into the catalogue; `value` computes a constant of an OPTIONS list."""

    session: Session
    tables: JobTables
    context: Context
    query: Callable[[exp.Expr, None, Context], Query]
    value: Value
    source: str

    @property
    def catalog(self) -> Catalog:
        """The catalogue, through the job's own cursor."""
        return self.session.catalog

    def create(self, node: exp.Create) -> Done:
        """Run CREATE TABLE, CREATE VIEW or CREATE SCHEMA."""
        only(node, "this", "kind", "replace", "exists", "properties", "expression", "clone")
        kind = str(node.args["kind"]).upper()
        if kind == "SCHEMA":
            return self._create_schema(node)
        if kind not in {"TABLE", "VIEW"}:
            raise unsupported(f"CREATE {kind}")
        properties = _Properties(self.value, kind).read(node)
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        only(target, "this", "db", "catalog")
        path = table_path(target)
        if properties.temporary:
            return self._create_temporary(node, path, properties)
        project, dataset, name = self.tables.place(path)
        self.tables.check_location(project, dataset)
        old = self.catalog.find(project, dataset, name)
        if old is not None and node.args.get("exists"):
            return Done(f"CREATE_{kind}", old, operation="SKIP")
        if old is not None and not node.args.get("replace"):
            raise duplicate(kind.title(), f"{project}:{dataset}.{name}")
        made = self._view if kind == "VIEW" else self._table
        return made(node, (project, dataset, name), properties, old)

    def _table(self, node: exp.Create, place: tuple[str, str, str], properties: _Properties, old: Table | None) -> Done:
        found = self.query(node.expression, None, self.context) if node.expression is not None else None
        fields = _columns(node.this, self.value) if isinstance(node.this, exp.Schema) else []
        origin = self.tables.table(table_path(node.args["clone"].this)) if node.args.get("clone") else properties.like
        if origin is not None:
            fields = list(origin.fields)
            kept = {name: option for name, option in origin.options.items() if name != "expirationTime"}
            properties.options = {**kept, **properties.options}
        if found is not None and not fields:
            fields = result_fields(found.outputs)
        if not fields:
            raise invalid_query("A table needs at least one column")
        _check_partitioning(properties.options, fields)
        with self.session.transaction() as catalog:
            # The new rows are read before the old table goes: a table may be made from itself.
            fresh = catalog.anonymous(place[0], fields)
            rows = insert_query(self.session, fresh, found, fields) if found is not None else 0
            if node.args.get("clone") and origin is not None:
                names = ", ".join(quoted(field.name) for field in fields)
                self.session.execute(f"INSERT INTO {fresh.storage} SELECT {names} FROM {origin.storage}")
            if old is not None:
                catalog.drop(old)
            table = catalog.create(*place, fields, options=properties.options)
            table = catalog.adopt(table, fresh)
        kind = "CREATE_TABLE_AS_SELECT" if found is not None else "CREATE_TABLE"
        if node.args.get("clone"):
            kind = "CREATE_TABLE"
        return Done(kind, table, inserted=rows, operation="REPLACE" if old is not None else "CREATE")

    def _create_temporary(self, node: exp.Create, path: list[str], properties: _Properties) -> Done:
        if len(path) != 1:
            raise invalid_query("A temporary table has no dataset")
        place = (self.tables.project, "_anonymous", f"{path[0]}_{now_ms()}_{self.context.fresh('temp')}")
        properties.options["expirationTime"] = str(now_ms() + 24 * 3600 * 1000)
        if path[0].lower() in self.tables.temporary and not node.args.get("replace"):
            raise duplicate("Table", path[0])
        done = self._table(node, place, properties, None)
        if done.table is not None:
            self.tables.temporary[path[0].lower()] = done.table
        return done

    def _view(self, node: exp.Create, place: tuple[str, str, str], properties: _Properties, old: Table | None) -> Done:
        if isinstance(node.this, exp.Schema):
            raise unsupported("a column list of a view")
        found = self.query(node.expression, None, self.context)
        body = re.search(r"\bAS\b(.*)", self.source, re.DOTALL | re.IGNORECASE)
        if body is None:
            raise invalid_query("A view needs a query")
        with self.session.transaction() as catalog:
            if old is not None:
                catalog.drop(old)
            table = catalog.create(*place, result_fields(found.outputs), options=properties.options, view=body[1].strip())
        return Done("CREATE_VIEW", table, operation="REPLACE" if old is not None else "CREATE")

    def _create_schema(self, node: exp.Create) -> Done:
        project, dataset = _schema_path(node.this, self.tables.project)
        properties = _Properties(self.value, "SCHEMA").read(node)
        with self.session.transaction() as catalog:
            if node.args.get("exists") and any(d.name == dataset for d in catalog.datasets(project)):
                return Done("CREATE_SCHEMA", operation="SKIP")
            location = properties.options.pop("location", None) or self.tables.location
            catalog.create_dataset(project, dataset, location=str(location), options=properties.options)
        return Done("CREATE_SCHEMA", operation="CREATE")

    def drop(self, node: exp.Drop) -> Done:
        """Run DROP TABLE, DROP VIEW or DROP SCHEMA."""
        only(node, "tables", "kind", "exists", "cascade", "restrict")
        kind, target = str(node.args["kind"]).upper(), node.args["tables"][0]
        if kind not in {"TABLE", "VIEW", "SCHEMA"} or len(node.args["tables"]) != 1:
            raise unsupported(f"DROP {kind}")
        try:
            with self.session.transaction() as catalog:
                if kind == "SCHEMA":
                    catalog.drop_dataset(*_schema_path(target, self.tables.project), contents=bool(node.args.get("cascade")))
                    return Done("DROP_SCHEMA", operation="DROP")
                path = table_path(target)
                table = self.tables.table(path)
                if (table.view is not None) != (kind == "VIEW"):
                    raise invalid_query(f"{table.full_name} is not a {kind.lower()}")
                catalog.drop(table)
                if len(path) == 1:
                    self.tables.temporary.pop(path[0].lower(), None)
        except NotFound:
            if not node.args.get("exists"):
                raise
            return Done(f"DROP_{kind}", operation="SKIP")
        return Done(f"DROP_{kind}", table, operation="DROP")

    def alter(self, node: exp.Alter) -> Done:
        """Run ALTER TABLE: ADD COLUMN, DROP COLUMN, SET OPTIONS and RENAME TO."""
        only(node, "this", "kind", "exists", "actions")
        if str(node.args["kind"]).upper() != "TABLE":
            raise unsupported(f"ALTER {node.args['kind']}")
        with self.session.transaction():
            table = self.tables.table(table_path(node.this))
            if table.view is not None:
                raise invalid_query(f"{table.full_name} is a view")
            for action in node.args["actions"]:
                table = self._alteration(table, action)
        return Done("ALTER_TABLE", table, operation="ALTER")

    def _alteration(self, table: Table, action: exp.Expr) -> Table:
        names = {field.name.lower() for field in table.fields}
        if isinstance(action, exp.ColumnDef):
            if action.name.lower() in names:
                if action.args.get("exists"):
                    return table
                raise invalid_query(f"Column already exists: {action.name}")
            return self.catalog.add_fields(table, [_column(action, self.value)])
        if isinstance(action, exp.Drop) and str(action.args["kind"]).upper() == "COLUMN":
            name = action.args["tables"][0].name
            if name.lower() not in names:
                if action.args.get("exists"):
                    return table
                raise invalid_query(f"Column not found: {name}")
            self.session.execute(f"ALTER TABLE {table.storage} DROP COLUMN {quoted(name)}")
            kept = tuple(field for field in table.fields if field.name.lower() != name.lower())
            return self.catalog.touch(replace(table, fields=kept))
        if isinstance(action, exp.AlterSet):
            changed = _Properties(self.value, "TABLE")
            for part in action.expressions:
                changed.options_of(part)
            return self.catalog.touch(replace(table, options={**table.options, **changed.options}))
        if isinstance(action, exp.AlterRename):
            return self.catalog.rename(table, action.this.name)
        raise unsupported(f"ALTER TABLE ... {type(action).__name__.upper()}")


class _Properties:
    """The clauses and OPTIONS of a CREATE statement, as fields of the REST resource."""

    def __init__(self, value: Value, kind: str) -> None:
        self.value, self.kind = value, kind
        self.options: dict[str, Any] = {}
        self.temporary = False
        self.like: Table | None = None

    def read(self, node: exp.Create) -> _Properties:
        clause = node.args.get("properties")
        if clause is not None:
            self.options_of(clause)
        return self

    def options_of(self, clause: exp.Expr) -> None:
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
                raise unsupported(f"{type(part).__name__.removesuffix('Property').upper()} in CREATE {self.kind}")

    def _option(self, name: str, node: exp.Expr) -> None:
        if name == "labels":
            self.options["labels"] = {pair.expressions[0].name: pair.expressions[1].name for pair in node.expressions}
            return
        value = self.value(node)
        if name in _OPTIONS:
            self.options[_OPTIONS[name]] = value
        elif name == "expiration_timestamp":
            self.options["expirationTime"] = None if value is None else str(int(str(value)) // 1000)
        elif name == "require_partition_filter":
            self.options["requirePartitionFilter"] = bool(value)
        elif name == "partition_expiration_days":
            self.options.setdefault("timePartitioning", {})["expirationMs"] = str(int(float(str(value)) * 86_400_000))
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
    raise invalid_query(f"PARTITION BY expression must be a date, a truncation or a range: {node.sql(dialect='bigquery')}")


def _check_partitioning(options: Mapping[str, Any], fields: list[Field]) -> None:
    kinds = {field.name.lower(): field.type.kind for field in fields}
    column = (options.get("timePartitioning") or {}).get("field")
    if column is not None and kinds.get(str(column).lower()) not in {"DATE", "DATETIME", "TIMESTAMP"}:
        raise invalid_query(f"The field specified for partitioning cannot be found in the schema, or has a wrong type: {column}")
    for name in (options.get("clustering") or {}).get("fields") or []:
        if str(name).lower() not in kinds:
            raise invalid_query(f"The field specified for clustering cannot be found in the schema: {name}")


def _columns(schema: exp.Schema, value: Value) -> list[Field]:
    fields = []
    for part in schema.expressions:
        if not isinstance(part, exp.ColumnDef):
            raise unsupported(f"{part.sql(dialect='bigquery')} in CREATE TABLE")
        fields.append(_column(part, value))
    names = [field.name.lower() for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise invalid_query(f"Duplicate column name {name} in CREATE TABLE")
    return fields


def _column(node: exp.ColumnDef, value: Value) -> Field:
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


def _schema_path(node: exp.Expr, project: str) -> tuple[str, str]:
    parts: list[str] = []
    for part in (node.args.get("catalog"), node.args.get("db"), node.args.get("this")):
        parts += part.name.split(".") if isinstance(part, exp.Identifier) else []
    return (parts[0], parts[1]) if len(parts) == 2 else (project, parts[0])

