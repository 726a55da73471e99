"""A compiled template as a BigQuery expression: the request that ``batch/render.py`` makes of the same row.

A value that does not fit is told apart afterwards, in the table: a media part of no known type has an empty MIME type,
and a field of the generation config is ``null``, which nothing else in a request is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from airflow_batch_gemini.batch import landing
from airflow_batch_gemini.batch.media import EXTENSION_PATTERN, MIME_TYPES
from airflow_batch_gemini.batch.template import FilePart, Fixed, Members, Segment, Value
from airflow_batch_gemini.batch.typed import INT32, PATTERNS, Kind
from airflow_batch_gemini.exceptions import TemplateError
from airflow_batch_gemini.sql.literal import identifier, string_literal

ROWS = "gemini_rows"
"""What the rows are called in a statement."""

Columns = Mapping[str, landing.Column]

_CASTABLE = frozenset(
    {"BOOL", "BYTES", "INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "DATE", "DATETIME", "TIME", "TIMESTAMP"}
)
_TYPED = frozenset({"STRING", "BOOL", "INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "JSON"})


def request_expression(segments: Sequence[Segment], *, columns: Columns, null_as: str) -> str:
    """Return the JSON expression of a compiled template over the columns of one row."""
    rendered = [_segment(segment, columns, null_as) for segment in segments]
    # A double may be written with more digits than are needed to tell it from the next one.
    mode = ", wide_number_mode => 'round'" if list(value_paths(segments)) else ""
    return f"PARSE_JSON(CONCAT({', '.join(rendered)}){mode})"


def value_paths(segments: Sequence[Segment]) -> Iterator[str]:
    """Yield the JSON paths of the fields that columns fill, as ``JSON_QUERY`` wants them."""
    for segment in segments:
        if isinstance(segment, Members):
            yield from _paths(segment, "$")


def text_expression(column: landing.Column) -> str:
    """Return the text of a column, as ``batch.text.text_of`` writes it."""
    name = f"{ROWS}.{identifier(column.name)}"
    if column.mode == "REPEATED":
        return f"TO_JSON_STRING(IFNULL({name}, []))"
    if column.type == "STRING":
        return name
    if column.type in _CASTABLE:
        return f"CAST({name} AS STRING)"
    if column.type == "STRUCT":
        return f"IF({name} IS NULL, NULL, TO_JSON_STRING({name}))"
    if column.type == "JSON":
        return f"IFNULL(JSON_VALUE({name}), NULLIF(TO_JSON_STRING({name}), 'null'))"
    raise TemplateError(
        f"Column {column.name} is of type {column.type}, which has no text here. Nothing was sent; cast it."
    )


def _segment(segment: Segment, columns: Columns, null_as: str) -> str:
    if isinstance(segment, Fixed):
        return string_literal(segment.json)
    if isinstance(segment, FilePart):
        return _file_parts(segment, columns[segment.column])
    if isinstance(segment, Members):
        return f"IFNULL(CONCAT(',', {_members(segment, columns)}), '')"
    pieces = [
        string_literal(piece)
        if isinstance(piece, str)
        else f"IFNULL({text_expression(columns[piece.name])}, {string_literal(null_as)})"
        for piece in segment.pieces
    ]
    return f"TO_JSON_STRING(CONCAT({', '.join(pieces)}))"


def _file_parts(part: FilePart, column: landing.Column) -> str:
    if column.type != "STRING":
        raise TemplateError(
            f"Media column {column.name} is of type {column.type}; URIs are STRING. Nothing was sent; cast it."
        )
    name = f"{ROWS}.{identifier(column.name)}"
    if column.mode != "REPEATED":
        return f"IF(IFNULL({name}, '') = '', '', {_file_part(part, name)})"
    files = (
        f"SELECT {_file_part(part, 'uri')} FROM UNNEST({name}) AS uri WITH OFFSET AS place "
        "WHERE IFNULL(uri, '') != '' ORDER BY place"
    )
    return f"ARRAY_TO_STRING(ARRAY({files}), '')"


def _file_part(part: FilePart, uri: str) -> str:
    mime_type = string_literal(part.mime_type) if part.mime_type else _mime_type(uri)
    texts = (',{"fileData":{"fileUri":', ',"mimeType":', "}" + part.more + "}")
    head, middle, tail = (string_literal(text) for text in texts)
    return f"CONCAT({head}, TO_JSON_STRING({uri}), {middle}, TO_JSON_STRING({mime_type}), {tail})"


def _mime_type(uri: str) -> str:
    """By extension; an unknown one gives an empty text, which the check of media refuses."""
    cases = " ".join(
        f"WHEN {string_literal(extension)} THEN {string_literal(mime_type)}"
        for extension, mime_type in MIME_TYPES.items()
    )
    extension = f"LOWER(REGEXP_EXTRACT(CONCAT({uri}, '#'), {string_literal(EXTENSION_PATTERN)}))"
    return f"CASE {extension} {cases} ELSE '' END"


def _members(members: Members, columns: Columns) -> str:
    """Return the member, NULL where it would be empty: ``ARRAY_TO_STRING`` leaves NULLs out.

    Every value is written once: engines that do not see that two expressions are the same would reckon it again.
    """
    found = [string_literal(one) for one in members.fixed]
    found += [_value(name, value, columns[value.column]) for name, value in members.values]
    found += [_members(one, columns) for one in members.inner]
    begins, joined = (
        string_literal(f"{_quoted(members.name)}:{{"),
        f"ARRAY_TO_STRING([{', '.join(found)}], ',')",
    )
    inside = joined if members.fixed else f"REGEXP_EXTRACT({joined}, '.+')"
    return f"CONCAT({begins}, {inside}, '}}')"


def _value(name: str, value: Value, column: landing.Column) -> str:
    types = _TYPED if value.kind is not Kind.WORD else {"STRING"}
    if column.type not in types or column.mode == "REPEATED":
        raise TemplateError(
            f"Column {column.name} is of type {column.type}{' (repeated)' if column.mode == 'REPEATED' else ''}, but "
            f"{name} wants {value.kind}. Nothing was sent; cast it."
        )
    text, given = text_expression(column), f"{ROWS}.{identifier(column.name)} IS NOT NULL"
    if column.type in {"STRING", "JSON"}:
        given = f"IFNULL({text}, '') != ''"
    fits = f"REGEXP_CONTAINS({text}, {string_literal(f'^(?:{PATTERNS[value.kind]})$')})"
    if value.kind is Kind.INTEGER:
        fits += f" AND SAFE_CAST({text} AS INT64) BETWEEN {INT32[0]} AND {INT32[1]}"
    default = "" if value.default is None else f" ELSE {string_literal(value.default)}"
    filled = f"CASE WHEN {fits} THEN {_json(text, value.kind)} WHEN {given} THEN 'null'{default} END"
    return f"CONCAT({string_literal(_quoted(name) + ':')}, {filled})"


def _json(text: str, kind: Kind) -> str:
    match kind:
        case Kind.INTEGER:
            return f"CAST(SAFE_CAST({text} AS INT64) AS STRING)"
        case Kind.NUMBER:
            whole = string_literal("^(-?[0-9]+)$")
            return f"REGEXP_REPLACE(CAST(SAFE_CAST({text} AS FLOAT64) AS STRING), {whole}, '\\\\1.0')"
        case Kind.WORD:
            return f"TO_JSON_STRING({text})"
    return text


def _paths(members: Members, path: str) -> Iterator[str]:
    path = f"{path}.{members.name}"
    for name, _ in members.values:
        yield f"{path}.{name}"
    for inner in members.inner:
        yield from _paths(inner, path)


def _quoted(name: str) -> str:
    """Names of members that hold values are Google's own words."""
    return f'"{name}"'
