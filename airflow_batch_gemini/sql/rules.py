"""The linter's rules over a request table, as far as they depend on rows. Their ids and texts are those of ``lint``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from airflow_batch_gemini.batch.lint import MAX_KEY_BYTES, ROLES, RULES
from airflow_batch_gemini.batch.media import URI_PATTERN
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX
from airflow_batch_gemini.batch.template import FilePart, Segment
from airflow_batch_gemini.sql.literal import string_literal
from airflow_batch_gemini.sql.prepare import LINE_SIZE, create_table
from airflow_batch_gemini.sql.rendering import value_paths

PLACE = "the query row "
"""What a row is called whose key is not its own."""

Case = tuple[str, str]
"""A condition, and the rule that a row breaks where it holds."""

_PREFIX = len(WIRE_KEY_PREFIX)
_CONTROL = string_literal(r"[\x00-\x1f\x7f]")
_KEYLESS = "GB121"
_TWICE = "GB122"
_KEYS: tuple[Case, ...] = (
    (f"key IS NULL OR key = {string_literal(WIRE_KEY_PREFIX)}", _KEYLESS),
    (f"BYTE_LENGTH(key) > {MAX_KEY_BYTES + _PREFIX}", "GB123"),
    (f"REGEXP_CONTAINS(key, {_CONTROL})", "GB124"),
)
_TURNS = "JSON_QUERY_ARRAY(request, '$.contents')"


@dataclass(frozen=True, kw_only=True)
class TableRules:
    """What may be wrong with a row of a request table; of several things the first counts."""

    cases: tuple[Case, ...]
    path: str
    """The expression for where in a request a value does not fit its field."""

    @classmethod
    def of(
        cls, segments: Sequence[Segment] | None, *, max_line_bytes: int, strict: bool = True
    ) -> TableRules:
        """Return what holds for requests of a template, or for ready-made ones.

        :param segments: of the template; ``None`` for ready-made requests.
        :param strict: whether ready-made requests that break a rule are wrong; what is no request always is.
        """
        paths = list(value_paths(segments or ()))
        if segments is None:
            cases = list(_ready_made(strict=strict))
        else:
            cases = list(_media()) if any(isinstance(segment, FilePart) for segment in segments) else []
            cases += ((_is_null(path), "GB126") for path in paths)
        found = " ".join(f"WHEN {_is_null(path)} THEN {_said(path)}" for path in paths)
        return cls(
            cases=(*_KEYS, *cases, (f"{LINE_SIZE} > {max_line_bytes}", "GB108")),
            path=f"CASE {found} END" if found else "CAST(NULL AS STRING)",
        )

    def first_broken(self, table: TableName) -> str:
        """Return the query for the first row, by key, that breaks a rule: ``key, rule, path``, and how many rows do so.

        Of a key that is used twice it says how many rows have it.
        """
        rows = f"IF(rule = '{_TWICE}', twins, COUNT(*) OVER (PARTITION BY rule))"
        return (
            f"SELECT key, rule, path, {rows} AS row_count\n"
            f"FROM (SELECT key, IFNULL(own, IF(twins > 1, '{_TWICE}', NULL)) AS rule, path, twins FROM (\n"
            "  SELECT key, own, path, COUNT(*) OVER (PARTITION BY key) AS twins\n"
            f"  FROM ({self._looked_at(table, 'key')})))\n"
            "WHERE rule IS NOT NULL ORDER BY key LIMIT 1"
        )

    def mark(self, table: TableName) -> str:
        """Return the statement that writes beside every row of *table* the rule it breaks, and where.

        Of good rows with one key the first by its request stays good.
        """
        place = "ROW_NUMBER() OVER (PARTITION BY key, own IS NULL ORDER BY TO_JSON_STRING(request))"
        return (
            f"{create_table(table)}\n"
            f"SELECT key, request, path, twins, IFNULL(own, IF(place > 1, '{_TWICE}', NULL)) AS rule FROM (\n"
            f"  SELECT *, COUNT(*) OVER (PARTITION BY key) AS twins, {place} AS place\n"
            f"  FROM ({self._looked_at(table, 'key, request')}))"
        )

    def _looked_at(self, table: TableName, columns: str) -> str:
        listed = "\n    ".join(f"WHEN {when} THEN '{rule}'" for when, rule in self.cases)
        return f"SELECT {columns}, {self.path} AS path, CASE\n    {listed}\n  END AS own\n  FROM {table.sql}"


def create_rejected(target: TableName, *, table: TableName, rules: Sequence[str]) -> str:
    """Return the statement that lists what :meth:`TableRules.mark` found in *table*: ``key, rule, message``.

    A row is called by its key where that is its own alone, else by a number.

    :param rules: all that were found.
    """
    keys = ", ".join(f"'{rule}'" for rule in (_TWICE, *(rule for _, rule in _KEYS)))
    number = "ROW_NUMBER() OVER (PARTITION BY named ORDER BY key, TO_JSON_STRING(request))"
    own = f"IFNULL(TO_JSON_STRING(SUBSTR({_plain('key')}, 1, 100)), 'NULL')"
    says = _by_rule({rule: RULES[rule].says for rule in rules})
    fix = _by_rule({rule: RULES[rule].fix for rule in rules})
    return (
        f"{create_table(target)}\n"
        f"SELECT IF(named, {_plain('key')}, CONCAT('{PLACE}', CAST({number} AS STRING))) AS key, rule,\n"
        f"  CONCAT(IF(named, '', CONCAT('key ', {own}, ': ')), {says},\n"
        f"    IF(path IS NULL, '', CONCAT(' (', path, ')')), '; ', {fix}, '.') AS message\n"
        f"FROM (SELECT *, twins = 1 AND rule NOT IN ({keys}) AS named FROM {table.sql} WHERE rule IS NOT NULL)"
    )


def _by_rule(texts: Mapping[str, str]) -> str:
    listed = " ".join(
        f"WHEN {string_literal(rule)} THEN {string_literal(text)}" for rule, text in texts.items()
    )
    return f"CASE rule {listed} END"


def broken_rules(table: TableName) -> str:
    """Return the query for the rules that :meth:`TableRules.mark` found broken in *table*, and by how many rows."""
    return f"SELECT rule, COUNT(*) AS row_count FROM {table.sql} WHERE rule IS NOT NULL GROUP BY rule ORDER BY rule"


def leave_out_broken(table: TableName) -> str:
    """Return the statement that keeps the good rows of a table that was marked."""
    return f"{create_table(table)}\nSELECT key, request FROM {table.sql} WHERE rule IS NULL"


def _ready_made(*, strict: bool) -> Iterator[Case]:
    yield "COALESCE(JSON_TYPE(request), '') != 'object'", "GB133"
    if not strict:
        return
    yield _any_of("request", "cachedContent", "cached_content"), "GB105"
    one = "IF(JSON_TYPE(JSON_QUERY(request, '$.contents')) = 'object', 1, 0)"
    yield f"IFNULL(ARRAY_LENGTH({_TURNS}), {one}) = 0", "GB106"
    roles = ", ".join(string_literal(role) for role in sorted(ROLES))
    yield f"IFNULL(JSON_VALUE(request, '$.contents.role') NOT IN ({roles}), FALSE)", "GB107"
    odd = f"JSON_VALUE(turn, '$.role') NOT IN ({roles})"
    yield f"EXISTS(SELECT 1 FROM UNNEST({_TURNS}) AS turn WHERE {odd})", "GB107"
    stores = _any_of("tool", "retrieval.vertexRagStore", "retrieval.vertex_rag_store")
    yield (
        f"EXISTS(SELECT 1 FROM UNNEST(JSON_QUERY_ARRAY(request, '$.tools')) AS tool WHERE {stores})",
        "GB114",
    )


def _media() -> Iterator[Case]:
    """Only the last turn of a template holds files."""
    uri = "JSON_VALUE(part, '$.fileData.fileUri')"
    well_formed = f"REGEXP_CONTAINS({uri}, {string_literal(f'^(?:{URI_PATTERN})$')})"
    parts = f"UNNEST(JSON_QUERY_ARRAY({_TURNS}[ORDINAL(ARRAY_LENGTH({_TURNS}))], '$.parts')) AS part"
    some = f"EXISTS(SELECT 1 FROM {parts} WHERE {uri} IS NOT NULL AND"
    yield f"{some} NOT {well_formed})", "GB109"
    yield f"{some} JSON_VALUE(part, '$.fileData.mimeType') = '')", "GB110"


def _any_of(document: str, *paths: str) -> str:
    """A JSON null is none of them, as a job's output has it for what a request did not say."""
    return " OR ".join(
        f"COALESCE(JSON_TYPE(JSON_QUERY({document}, '$.{path}')), 'null') != 'null'" for path in paths
    )


def _is_null(path: str) -> str:
    return f"JSON_TYPE(JSON_QUERY(request, {string_literal(path)})) = 'null'"


def _said(path: str) -> str:
    return string_literal(f"request{path.removeprefix('$')}")


def _plain(key: str) -> str:
    return f"SUBSTR({key}, {_PREFIX + 1})"
