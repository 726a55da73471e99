"""The statements of a job's own input, before GoogleSQL's analyzer."""

from __future__ import annotations

from typing import Any

import googlesql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.sql.clone import clone_table, copy_table, drop_table

SOURCE = TableName.parse("google.com:proj-x.d.gemini_requests-1")
TARGET = TableName.parse("proj-x.d.gemini_input_e1_abc")


@pytest.fixture(scope="module")
def analyse() -> Any:
    """Analyse a statement with the source table in the catalog."""
    googlesql.load()
    from zetasql.api import Analyzer, CatalogBuilder, TableBuilder
    from zetasql.types import (
        AnalyzerOptions,
        LanguageFeature,
        LanguageOptions,
        TypeKind,
        ZetaSQLBuiltinFunctionOptions,
    )

    language = LanguageOptions.maximum_features()
    language.supported_statement_kinds = []
    # BigQuery has it; the open-source analyzer keeps it behind a switch.
    language.enabled_language_features.append(LanguageFeature.FEATURE_CREATE_TABLE_CLONE)
    table = TableBuilder(str(SOURCE)).add_column("key", TypeKind.TYPE_STRING).build()
    functions = ZetaSQLBuiltinFunctionOptions(language_options=language)
    catalog = CatalogBuilder("c").with_builtin_functions(functions).add_table(table).build()
    options = AnalyzerOptions(language_options=language)
    return lambda sql: Analyzer.analyze_statement_static(sql, options, catalog)


def test_a_clone_is_a_create_table_statement_of_the_source(analyse: Any) -> None:
    """And does nothing when the target exists."""
    statement = analyse(clone_table(SOURCE, TARGET, description="of gs://b/it's `one`\\"))
    assert type(statement).__name__ == "ResolvedCreateTableStmt"
    assert list(statement.name_path) == [str(TARGET)]
    assert "IF NOT EXISTS" in clone_table(SOURCE, TARGET, description="")
    [option, expires] = statement.option_list
    assert (option.name, option.value.value.value.string_value) == ("description", "of gs://b/it's `one`\\")
    assert expires.name == "expiration_timestamp"


def test_a_copy_selects_all_there_is(analyse: Any) -> None:
    """And does nothing when the target exists."""
    statement = analyse(copy_table(SOURCE, TARGET, description="of gs://b/it's `one`\\"))
    assert type(statement).__name__ == "ResolvedCreateTableAsSelectStmt"
    assert list(statement.name_path) == [str(TARGET)]
    assert [column.name for column in statement.output_column_list] == ["key"]
    assert [option.name for option in statement.option_list] == ["description", "expiration_timestamp"]
    assert "IF NOT EXISTS" in copy_table(SOURCE, TARGET, description="")


def test_a_drop_names_the_table_and_does_not_mind_its_absence(analyse: Any) -> None:
    """Twice is as good as once."""
    statement = analyse(drop_table(TARGET))
    assert type(statement).__name__ == "ResolvedDropStmt"
    assert (list(statement.name_path), statement.is_if_exists) == ([str(TARGET)], True)


GRAMMARS = (names._PROJECT, names._DATASET, names._TABLE)


@given(st.tuples(*(st.from_regex(grammar, fullmatch=True) for grammar in GRAMMARS)))
@settings(deadline=None, max_examples=60)
def test_no_table_name_that_is_accepted_changes_the_statement_around_it(
    analyse: Any, parts: tuple[str, str, str]
) -> None:
    """GoogleSQL reads one statement that names that one table."""
    table = TableName(*parts)
    statement = analyse(drop_table(table))
    assert (type(statement).__name__, list(statement.name_path)) == ("ResolvedDropStmt", [str(table)])
