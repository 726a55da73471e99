"""CREATE, DROP and ALTER: changes of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlglot import exp

from .catalog import Catalog
from .datatypes import quoted
from .errors import NotFound, duplicate, invalid_query, unsupported
from .records import Table, now_ms
from .session import Session
from .sql.dialect import only
from .sql.relations import table_path
from .sql.scope import Context, Query
from .table_options import Properties, Value, check_partitioning, column, columns
from .tables import JobTables
from .writing import insert_query, result_fields


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
        properties = Properties(self.value, kind).read(node)
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        only(target, "this", "db", "catalog")
        path = table_path(target)
        if properties.temporary:
            return self._create_temporary(node, path, properties)
        project, dataset, name = self.tables.place(path)
        self.tables.check_location(project, dataset)
        made = self._view if kind == "VIEW" else self._table
        # In one transaction with the making: of two at a time one makes it and the other finds it.
        with self.session.transaction() as catalog:
            old = catalog.find(project, dataset, name)
            if old is not None and node.args.get("exists"):
                return Done(f"CREATE_{kind}", old, operation="SKIP")
            if old is not None and not node.args.get("replace"):
                raise duplicate(kind.title(), f"{project}:{dataset}.{name}")
            if old is not None and (old.view is not None) != (kind == "VIEW"):
                now = "TABLE" if old.view is None else "VIEW"
                raise invalid_query(
                    f"{old.full_name} is not allowed for this operation because it is a {now}"
                )
            return made(node, (project, dataset, name), properties, old)

    def _table(
        self, node: exp.Create, place: tuple[str, str, str], properties: Properties, old: Table | None
    ) -> Done:
        found = self.query(node.expression, None, self.context) if node.expression is not None else None
        fields = columns(node.this, self.value) if isinstance(node.this, exp.Schema) else []
        origin = self.tables.table(table_path(node.args["clone"].this)) if node.args.get("clone") else None
        if origin is not None:
            fields = list(origin.fields)
            kept = {name: option for name, option in origin.options.items() if name != "expirationTime"}
            properties.options = {**kept, **properties.options}
        if found is not None and not fields:
            fields = result_fields(found.outputs)
        if not fields:
            raise invalid_query("A table needs at least one column")
        check_partitioning(properties.options, fields)
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

    def _create_temporary(self, node: exp.Create, path: list[str], properties: Properties) -> Done:
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

    def _view(
        self, node: exp.Create, place: tuple[str, str, str], properties: Properties, old: Table | None
    ) -> Done:
        if isinstance(node.this, exp.Schema):
            raise unsupported("a column list of a view")
        found = self.query(node.expression, None, self.context)
        body = re.search(r"\bAS\b(.*)", self.source, re.DOTALL | re.IGNORECASE)
        if body is None:
            raise invalid_query("A view needs a query")
        with self.session.transaction() as catalog:
            if old is not None:
                catalog.drop(old)
            table = catalog.create(
                *place, result_fields(found.outputs), options=properties.options, view=body[1].strip()
            )
        return Done("CREATE_VIEW", table, operation="REPLACE" if old is not None else "CREATE")

    def _create_schema(self, node: exp.Create) -> Done:
        project, dataset = _schema_path(node.this, self.tables.project)
        properties = Properties(self.value, "SCHEMA").read(node)
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
                    catalog.drop_dataset(
                        *_schema_path(target, self.tables.project), contents=bool(node.args.get("cascade"))
                    )
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
            return self.catalog.add_fields(table, [column(action, self.value)])
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
            changed = Properties(self.value, "TABLE")
            for part in action.expressions:
                changed.options_of(part)
            return self.catalog.touch(replace(table, options={**table.options, **changed.options}))
        if isinstance(action, exp.AlterRename):
            return self.catalog.rename(table, action.this.name)
        raise unsupported(f"ALTER TABLE ... {type(action).__name__.upper()}")


def _schema_path(node: exp.Expr, project: str) -> tuple[str, str]:
    parts: list[str] = []
    for part in (node.args.get("catalog"), node.args.get("db"), node.args.get("this")):
        parts += part.name.split(".") if isinstance(part, exp.Identifier) else []
    return (parts[0], parts[1]) if len(parts) == 2 else (project, parts[0])
