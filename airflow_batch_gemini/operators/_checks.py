"""What the prepare operator refuses before it asks anybody anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, get_args

from airflow_batch_gemini.batch import canary, names
from airflow_batch_gemini.batch.embedding import EmbeddingTemplate, check_kind, is_embedding_model
from airflow_batch_gemini.batch.lint import OnLint
from airflow_batch_gemini.batch.names import DatasetName, TableName
from airflow_batch_gemini.batch.parameters import query_parameters
from airflow_batch_gemini.batch.parts import MAX_ROWS, Limits
from airflow_batch_gemini.batch.pricing import budget_of, price_of
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.rows import Format
from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.operators._place import check_region

if TYPE_CHECKING:
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

MAX_COUNTED = 1000
_TYPES = (int, float, Decimal, bytes, dt.date, dt.time, type(None))
"""Values of query parameters that are what they are from the beginning."""


def check_arguments(operator: GeminiBatchPrepareOperator, *, rendered: bool) -> None:
    """Refuse arguments that cannot work together or are not well formed.

    :param rendered: whether templated arguments have their values; until then only plain text is judged.
    """
    if not isinstance(operator.template, Template | None):
        raise ConfigurationError(
            "template= wants a GeminiTemplate or an EmbeddingTemplate, or None where the rows are requests. Nothing "
            "was sent."
        )
    _check_source(operator, rendered=rendered)
    if operator.on_lint not in get_args(OnLint):
        raise ConfigurationError(
            f"on_lint={operator.on_lint!r} is none of {', '.join(get_args(OnLint))}. Nothing was sent."
        )
    if operator.incremental != (operator.results_table is not None):
        raise ConfigurationError(
            "incremental=True and results_table= go together: that is where earlier answers are. Nothing was sent."
        )
    if operator.source_format is not None and operator.source_format not in get_args(Format):
        raise ConfigurationError(
            f"source_format={operator.source_format!r} is none of {', '.join(get_args(Format))}. Nothing was sent."
        )
    limits_of(operator)
    _check_price(operator, rendered=rendered)
    _check_canary(operator, rendered=rendered)
    for value, parse in (
        (operator.model, names.model_path),
        (operator.location, names.location),
        (operator.work_uri, names.work_folder),
        *((uri or None, names.source_uri) for uri in as_uris(operator.source_uri)),
        (operator.source_table or None, _table),
        (operator.requests_dataset or None, _dataset),
        (operator.predictions_dataset or None, _dataset),
        (operator.results_table, _table),
        (operator.project_id or None, names.project_id),
    ):
        if value is not None and (rendered or _is_plain(value)):
            parse(value)
    tables = bool(operator.requests_dataset or operator.predictions_dataset)
    if tables and _is_plain(operator.location):
        check_region(operator.location)
    if rendered or _is_plain(operator.model):
        check_kind(operator.template, model=names.model_path(operator.model), tables=tables)


def _check_price(operator: GeminiBatchPrepareOperator, *, rendered: bool) -> None:
    """Refuse a price or a budget that is none, and a budget that nobody can keep, before a row is read."""
    rows = operator.count_tokens_rows
    if isinstance(rows, bool) or not isinstance(rows, int) or not 0 <= rows <= MAX_COUNTED:
        raise ConfigurationError(
            f"count_tokens_rows must be a whole number from 0 to {MAX_COUNTED:,}. Nothing was sent."
        )
    if operator.price is not None:
        price_of("", operator.price)
    if not rendered and _has_template(operator.max_cost_usd):
        return
    if budget_of(operator.max_cost_usd) is not None and rendered:
        model = names.model_path(operator.model)
        if price_of(model, operator.price) is None:
            raise ConfigurationError(
                f"Nobody knows the price of {names.model_id(model)}, so max_cost_usd= cannot be kept. Nothing was "
                "sent; give price=, USD per million tokens, like {'input': 1.5, 'output': 9}."
            )


def _check_canary(operator: GeminiBatchPrepareOperator, *, rendered: bool) -> None:
    """Refuse a canary that cannot sing: too few or too many rows, vectors, or a gate without one."""
    rows, rate = operator.canary_rows, operator.max_failure_rate
    if isinstance(rows, bool) or not isinstance(rows, int) or not (rows == 0 or 2 <= rows <= canary.MAX_ROWS):
        raise ConfigurationError(
            f"canary_rows must be a whole number from 2 to {canary.MAX_ROWS:,}, or 0 for no canary: a single row tells "
            "nothing of the others. Nothing was sent."
        )
    if rate is not None and (
        isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1
    ):
        raise ConfigurationError(
            f"max_failure_rate={rate!r} is no share of rows from 0 to 1. Nothing was sent."
        )
    if rate is not None and not rows:
        raise ConfigurationError(
            "max_failure_rate= is judged by a canary. Nothing was sent; give canary_rows= too, like 20."
        )
    embeds = (rendered or _is_plain(operator.model)) and is_embedding_model(names.model_path(operator.model))
    if rows and (embeds or isinstance(operator.template, EmbeddingTemplate)):
        raise ConfigurationError(
            "canary_rows= asks generateContent, which answers no embedding request. Nothing was sent; leave it out."
        )


def limits_of(operator: GeminiBatchPrepareOperator) -> Limits:
    """Return what fits into one part: by default as much as a job of the template's kind takes."""
    most = MAX_ROWS if operator.template is None else operator.template.max_rows
    rows = most if operator.max_rows_per_part is None else operator.max_rows_per_part
    return Limits(rows=rows, size=operator.max_bytes_per_part, most_rows=most)


def _check_source(operator: GeminiBatchPrepareOperator, *, rendered: bool) -> None:
    """Refuse rows from several places, from none, or with arguments that belong to another place."""
    given = {name: getattr(operator, name) for name in ("sql", "source_table", "source_uri", "rows")}
    if sum(value is not None for value in given.values()) != 1:
        raise ConfigurationError(
            f"Rows come either from {', '.join(f'{name}=' for name in given)}: give one. Nothing was sent."
        )
    if operator.requests_dataset and operator.sql is None and operator.source_table is None:
        raise ConfigurationError(
            "requests_dataset= lets BigQuery make the requests: it needs sql= or source_table=. Nothing was sent."
        )
    for name, needs in (("parameters", "sql"), ("op_args", "rows"), ("op_kwargs", "rows")):
        if getattr(operator, name) and given[needs] is None:
            raise ConfigurationError(f"{name}= goes with {needs}=. Nothing was sent.")
    if operator.rows is not None and (not callable(operator.rows) or isasyncgenfunction(operator.rows)):
        raise ConfigurationError("rows= wants a function that yields rows, not async. Nothing was sent.")
    if isinstance(operator.parameters, Mapping):
        if rendered or not _has_template(operator.parameters):
            query_parameters(operator.parameters)
    elif operator.parameters is not None and rendered:
        raise ConfigurationError("parameters= wants a dict: by name a value. Nothing was sent.")
    uris = as_uris(operator.source_uri)
    if rendered and not all(
        (operator.key_column, *uris, operator.rows or uris or operator.sql or operator.source_table)
    ):
        raise ConfigurationError("The source of the rows or key_column= is empty. Nothing was sent.")


def as_uris(source_uri: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the URIs of ``source_uri=``, which may be one or several, or come from a task once it has run.

    What the instances of a mapped task return comes as a sequence that is no list.
    """
    if isinstance(source_uri, str):
        return (source_uri,)
    return tuple(source_uri) if isinstance(source_uri, Sequence) else ()


def _has_template(value: object) -> bool:
    """Whether Airflow will render any text in *value*."""
    if isinstance(value, Mapping):
        return any(map(_has_template, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_template, value))
    return not isinstance(value, (str, *_TYPES)) or (isinstance(value, str) and not _is_plain(value))


def _table(value: object) -> TableName:
    return TableName.parse(value, default_project="project")


def _dataset(value: object) -> DatasetName:
    """Judge a dataset's name while the connection's project, which may complete it, is not known yet."""
    return DatasetName.parse(value, default_project="project")


def _is_plain(value: Any) -> bool:
    """Whether *value* is text that Airflow will not render."""
    return isinstance(value, str) and not any(mark in value for mark in ("{{", "{%", "{#"))
