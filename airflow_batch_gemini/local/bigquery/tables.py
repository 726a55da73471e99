"""How a job finds the tables that its statements name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .catalog import Catalog
from .datatypes import INT64, STRING, Field, literal
from .errors import invalid_query, not_found, unsupported
from .records import Table
from .sql.scope import TableSource


@dataclass(slots=True)
class JobTables:
    """The tables as one job sees them: its project, its default dataset, its location, its temporary tables."""

    catalog: Catalog
    project: str
    location: str
    default: tuple[str, str] | None = None
    temporary: dict[str, Table] = field(default_factory=dict)
    referenced: dict[str, Table] = field(default_factory=dict)

    def place(self, path: Sequence[str]) -> tuple[str, str, str]:
        """Complete the name of a table; raises for one without a dataset."""
        if len(path) == 1:
            if self.default is None:
                raise invalid_query(
                    f'Table "{path[0]}" must be qualified with a dataset (e.g. dataset.table).'
                )
            return (*self.default, path[0])
        if len(path) == 2:
            return self.project, path[0], path[1]
        if len(path) == 3:
            return path[0], path[1], path[2]
        raise invalid_query(f'Invalid table name: "{".".join(path)}"')

    def check_location(self, project: str, dataset: str) -> None:
        """Refuse a dataset of another location than the job's, as if it were not there."""
        found = self.catalog.dataset(project, dataset)
        if found.location.lower() != self.location.lower():
            raise not_found("Dataset", f"{project}:{dataset}", location=self.location)

    def table(self, path: Sequence[str]) -> Table:
        """Return the table that a statement names."""
        if len(path) == 1 and path[0].lower() in self.temporary:
            return self.temporary[path[0].lower()]
        if "*" in path[-1]:
            raise unsupported(f"the wildcard table {'.'.join(path)}")
        project, dataset, name = self.place(path)
        self.check_location(project, dataset)
        return self.catalog.table(project, dataset, name)

    def source(self, path: Sequence[str]) -> TableSource:
        """Return the table that a path means, for reading."""
        upper = [part.upper() for part in path]
        if "INFORMATION_SCHEMA" in upper:
            return self._information(path, upper.index("INFORMATION_SCHEMA"))
        table = self.table(path)
        self.referenced[table.full_name] = table
        return TableSource(table.full_name, table.fields, storage=table.storage, view=table.view)

    def _information(self, path: Sequence[str], place: int) -> TableSource:
        name = ".".join(path[place + 1 :]).upper()
        scope = list(path[:place])
        if name not in {"TABLES", "COLUMNS"} or not (scope or self.default):
            raise unsupported(f"INFORMATION_SCHEMA.{name}")
        project, dataset, _ = self.place([*scope, "t"])
        self.check_location(project, dataset)
        tables = self.catalog.tables(project, dataset)
        if name == "TABLES":
            names = ["table_catalog", "table_schema", "table_name", "table_type"]
            rows = [[project, dataset, t.name, "VIEW" if t.view else "BASE TABLE"] for t in tables]
        else:
            names = [
                "table_catalog",
                "table_schema",
                "table_name",
                "column_name",
                "ordinal_position",
                "data_type",
            ]
            names.append("is_nullable")
            rows = [
                [project, dataset, t.name, f.name, str(i), str(f.type), "NO" if f.required else "YES"]
                for t in tables
                for i, f in enumerate(t.fields, 1)
            ]
        return _constant_table(f"{project}:{dataset}.INFORMATION_SCHEMA.{name}", names, rows)


def _constant_table(name: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> TableSource:
    fields = [Field(n, INT64 if n == "ordinal_position" else STRING) for n in names]
    lines = [", ".join(_cell(f, cell) for f, cell in zip(fields, row, strict=True)) for row in rows]
    empty = ", ".join(
        f"CAST(NULL AS {'BIGINT' if f.type == INT64 else 'VARCHAR'}) AS {f.name}" for f in fields
    )
    body = " UNION ALL ".join([f"SELECT {empty} WHERE false", *(f"SELECT {line}" for line in lines)])
    return TableSource(name, tuple(fields), rows_sql=f"({body})")


def _cell(column: Field, text: str) -> str:
    return f"CAST({text} AS BIGINT)" if column.name == "ordinal_position" else literal(text)
