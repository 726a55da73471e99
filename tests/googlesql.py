"""Google's own GoogleSQL: its analyzer and its reference implementation."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

Tables = Mapping[object, Sequence[tuple[str, str]]]
"""Names and types of their columns."""


@functools.cache
def load() -> None:
    """Let the next use of ``zetasql`` in this process keep, or find, its compiled code in the user's cache folder.

    Compiling it from nothing takes half a minute.
    """
    import wasmtime
    from zetasql.core import wasm_client

    def config(*args: Any) -> wasmtime.Config:
        made = wasmtime.Config(*args)
        made.cache = True
        return made

    wasm_client.Config = config


class Judge:
    """GoogleSQL with empty *tables* in its catalog, in UTC as BigQuery is."""

    def __init__(self, tables: Tables = MappingProxyType({})) -> None:
        load()
        from zetasql.api import Analyzer, CatalogBuilder, PreparedQuery, TableBuilder
        from zetasql.types import AnalyzerOptions, LanguageOptions, TypeKind, ZetaSQLBuiltinFunctionOptions

        language = LanguageOptions.maximum_features()
        language.supported_statement_kinds = []
        self._options = AnalyzerOptions(language_options=language, default_timezone="UTC")
        self._analyzer, self._prepared = Analyzer, PreparedQuery
        catalog = CatalogBuilder("c").with_builtin_functions(
            ZetaSQLBuiltinFunctionOptions(language_options=language)
        )
        self._catalog = catalog.build()
        for name, columns in tables.items():
            table = TableBuilder(str(name))
            for column, kind in columns:
                plain = getattr(TypeKind, f"TYPE_{kind}", None)
                table = table.add_column(column, self.type_named(kind) if plain is None else plain)
            catalog = catalog.add_table(table.build())
        self._catalog = catalog.build()

    def type_named(self, name: str) -> Any:
        """Let GoogleSQL read the name of a STRUCT or an ARRAY."""
        [found] = self.analyse(f"SELECT CAST(NULL AS {name}) AS x").output_column_list
        return found.column.type

    def analyse(self, sql: str) -> Any:
        return self._analyzer.analyze_statement_static(sql, self._options, self._catalog)

    def analyse_script(self, script: str) -> list[str]:
        """Analyse every statement, and return what kinds they are."""
        return [
            type(statement).__name__
            for statement in self._analyzer.iterate_script(script, self._options, self._catalog)
        ]

    def texts(self, sql: str) -> list[str]:
        """Evaluate a query of one STRING column."""
        builder = self._prepared.builder().set_sql(sql)
        query = builder.set_analyzer_options(self._options).set_catalog(self._catalog)
        with query.prepare() as prepared:
            answer = prepared.execute().content.table_data
        return [row.cell[0].string_value for row in (answer.row if answer else None) or []]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Evaluate a query."""
        return [json.loads(text) for text in self.texts(f"SELECT TO_JSON_STRING(t) FROM ({sql}) AS t")]
