"""String, bytes and regular expression functions."""

from __future__ import annotations

import re

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    BYTES,
    INT64,
    NULL,
    STRING,
    Type,
    array,
    literal,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .calls import Call, Signature, function, signatures
from .casts import cast, coerce, supertype
from .expressions import constant_text
from .scope import Expr

_STRINGS = array(STRING)


def _table(
    *rows: tuple[str, tuple[Type, ...], str, Type] | tuple[str, tuple[Type, ...], str, Type, str],
) -> None:
    grouped: dict[str, list[Signature]] = {}
    for name, arguments, sql, result, *safe in rows:
        grouped.setdefault(name, []).append(Signature(arguments, sql, result, safe[0] if safe else None))
    for name, overloads in grouped.items():
        signatures(name, overloads)


S, B, N = STRING, BYTES, INT64
_table(
    ("UPPER", (S,), "bq_upper({0})", S),
    ("LOWER", (S,), "bq_lower({0})", S),
    ("LENGTH", (S,), "CAST(length({0}) AS BIGINT)", N),
    ("LENGTH", (B,), "CAST(octet_length({0}) AS BIGINT)", N),
    ("CHAR_LENGTH", (S,), "CAST(length({0}) AS BIGINT)", N),
    ("CHARACTER_LENGTH", (S,), "CAST(length({0}) AS BIGINT)", N),
    ("BYTE_LENGTH", (S,), "CAST(strlen({0}) AS BIGINT)", N),
    ("BYTE_LENGTH", (B,), "CAST(octet_length({0}) AS BIGINT)", N),
    ("OCTET_LENGTH", (S,), "CAST(strlen({0}) AS BIGINT)", N),
    ("SUBSTR", (S, N), "bq_substr({0}, {1})", S),
    ("SUBSTR", (S, N, N), "bq_substr3({0}, {1}, {2})", S, "bq_substr3_or_null({0}, {1}, {2})"),
    ("SUBSTRING", (S, N), "bq_substr({0}, {1})", S),
    ("SUBSTRING", (S, N, N), "bq_substr3({0}, {1}, {2})", S, "bq_substr3_or_null({0}, {1}, {2})"),
    ("LEFT", (S, N), "bq_substr3({0}, 1, {1})", S, "bq_substr3_or_null({0}, 1, {1})"),
    ("RIGHT", (S, N), "right({0}, {1})", S),
    ("STRPOS", (S, S), "CAST(strpos({0}, {1}) AS BIGINT)", N),
    ("INSTR", (S, S), "CAST(strpos({0}, {1}) AS BIGINT)", N),
    ("STARTS_WITH", (S, S), "starts_with({0}, {1})", BOOL),
    ("ENDS_WITH", (S, S), "ends_with({0}, {1})", BOOL),
    ("CONTAINS_SUBSTR", (S, S), "contains(lower(nfc_normalize({0})), lower(nfc_normalize({1})))", BOOL),
    ("REVERSE", (S,), "list_aggregate(list_reverse(split({0}, '')), 'string_agg', '')", S),
    ("REPEAT", (S, N), "repeat({0}, {1})", S),
    ("LPAD", (S, N), "lpad({0}, CAST({1} AS INTEGER), ' ')", S),
    ("LPAD", (S, N, S), "lpad({0}, CAST({1} AS INTEGER), {2})", S),
    ("RPAD", (S, N), "rpad({0}, CAST({1} AS INTEGER), ' ')", S),
    ("RPAD", (S, N, S), "rpad({0}, CAST({1} AS INTEGER), {2})", S),
    ("TRIM", (S,), r"regexp_replace({0}, '^[\s\pZ\x0B\x{{85}}]+|[\s\pZ\x0B\x{{85}}]+$', '', 'g')", S),
    ("LTRIM", (S,), r"regexp_replace({0}, '^[\s\pZ\x0B\x{{85}}]+', '')", S),
    ("RTRIM", (S,), r"regexp_replace({0}, '[\s\pZ\x0B\x{{85}}]+$', '')", S),
    ("TRIM", (S, S), "trim({0}, {1})", S),
    ("LTRIM", (S, S), "ltrim({0}, {1})", S),
    ("RTRIM", (S, S), "rtrim({0}, {1})", S),
    ("REPLACE", (S, S, S), "CASE WHEN {1} = '' THEN {0} ELSE replace({0}, {1}, {2}) END", S),
    ("SPLIT", (S,), "split({0}, ',')", _STRINGS),
    ("SPLIT", (S, S), "CASE WHEN {1} IS NOT NULL THEN split({0}, {1}) END", _STRINGS),
    ("ASCII", (S,), "CAST(CASE WHEN {0} = '' THEN 0 ELSE ascii({0}) END AS BIGINT)", N),
    ("UNICODE", (S,), "CAST(CASE WHEN {0} = '' THEN 0 ELSE unicode({0}) END AS BIGINT)", N),
    ("CHR", (N,), "chr(CAST({0} AS INTEGER))", S),
    ("TO_CODE_POINTS", (S,), "list_transform(split({0}, ''), lambda _c: CAST(unicode(_c) AS BIGINT))", array(N)),
    ("CODE_POINTS_TO_STRING", (array(N),),
     "array_to_string(list_transform({0}, lambda _c: chr(CAST(_c AS INTEGER))), '')", S),
    ("TO_HEX", (B,), "lower(hex({0}))", S),
    ("FROM_HEX", (S,), "unhex({0})", B),
    ("TO_BASE64", (B,), "to_base64({0})", S),
    ("FROM_BASE64", (S,), "from_base64({0})", B),
    ("SHA256", (S,), "unhex(sha256({0}))", B),
    ("SHA256", (B,), "unhex(sha256({0}))", B),
    ("SHA1", (S,), "unhex(sha1({0}))", B),
    ("SHA1", (B,), "unhex(sha1({0}))", B),
    ("MD5", (S,), "unhex(md5({0}))", B),
    ("MD5", (B,), "unhex(md5({0}))", B),
    ("FARM_FINGERPRINT", (S,), "bq_farm_fingerprint(encode({0}))", N),
    ("FARM_FINGERPRINT", (B,), "bq_farm_fingerprint({0})", N),
    ("SAFE_CONVERT_BYTES_TO_STRING", (B,), "decode({0})", S),
    ("REGEXP_CONTAINS", (S, S), "regexp_matches({0}, {1})", BOOL),
    ("GENERATE_UUID", (), "CAST(uuid() AS VARCHAR)", S),
)  # fmt: skip


@function("CONCAT")
def _concat(call: Call) -> Expr:
    args = call.args()
    if not args:
        raise call.no_signature(args)
    if any(arg.type == BYTES for arg in args):
        common = supertype(args, "function CONCAT")
        return Expr("(" + " || ".join(coerce(arg, common).sql for arg in args) + ")", common)
    for arg in args:
        if arg.type.kind in {"ARRAY", "STRUCT", "JSON"}:
            raise call.no_signature(args)
    return Expr("(" + " || ".join(cast(arg, STRING).sql for arg in args) + ")", STRING)


def _pattern(call: Call, args: list[Expr]) -> tuple[str, int]:
    """Check a constant regular expression and count its groups; others go to DuckDB's RE2 as they are."""
    if args[1].type not in (STRING,) or args[0].type.kind not in {"STRING", "NULL"}:
        raise call.no_signature(args)
    pattern = constant_text(args[1], f"a pattern of {call.name}")
    groups = len(re.findall(r"(?<!\\)(?:\\\\)*\((?!\?(?!P?<))", re.sub(r"\[[^\]]*\]", "", pattern)))
    if groups > 1:
        raise invalid_query(
            "Regular expressions passed into extraction functions must not have more than 1 capturing group"
        )
    if groups and re.search(r"\)[?*]|\)\{0|\|", pattern):
        raise unsupported(f"a group that may stay empty, in {call.name}")
    return literal(pattern), groups


@function("REGEXP_EXTRACT", "REGEXP_SUBSTR")
def _regexp_extract(call: Call) -> Expr:
    call.count(2, 4)
    args = call.args()
    pattern, group = _pattern(call, args)
    if len(args) == 2:
        return Expr(call.guarded(f"bq_regexp_extract({args[0].sql}, {pattern}, {group})"), STRING)
    place = args[2].sql
    nth = args[3].sql if len(args) == 4 else "1"
    found = f"regexp_extract_all(substring({args[0].sql}, {place}), {pattern}, {group})"
    return Expr(call.guarded(f"{found}[{nth}]"), STRING)


@function("REGEXP_EXTRACT_ALL")
def _regexp_extract_all(call: Call) -> Expr:
    call.count(2)
    args = call.args()
    pattern, group = _pattern(call, args)
    return Expr(call.guarded(f"regexp_extract_all({args[0].sql}, {pattern}, {group})"), _STRINGS)


@function("REGEXP_REPLACE")
def _regexp_replace(call: Call) -> Expr:
    call.count(3)
    args = [coerce(arg, STRING) for arg in call.args()]
    return Expr(call.guarded(f"regexp_replace({args[0].sql}, {args[1].sql}, {args[2].sql}, 'g')"), STRING)


@function("NORMALIZE")
def _normalize(call: Call) -> Expr:
    call.count(1, 2)
    form = "NFC"
    if len(call.arguments) == 2:
        form = call.arguments[1].name.upper()
    if form not in {"NFC", "NFKC", "NFD", "NFKD"}:
        raise invalid_query(f"A valid normalization mode is required, not {form}")
    return Expr(f"bq_normalize({coerce(call.arg(0), STRING).sql}, '{form}')", STRING)


@function("ERROR")
def _error(call: Call) -> Expr:
    call.count(1)
    return Expr(
        f"error(coalesce({coerce(call.arg(0), STRING).sql}, 'ERROR function called with NULL value'))", NULL
    )


_VERB = re.compile(r"%([-+ #0']*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")


@function("FORMAT")
def _format(call: Call) -> Expr:
    args = call.args()
    pattern = constant_text(args[0], "a format string")
    parts: list[str] = []
    place, used = 0, 1
    for verb in _VERB.finditer(pattern):
        parts.append(literal(pattern[place : verb.start()]))
        place = verb.end()
        if verb[4] == "%":
            parts.append("'%'")
            continue
        if used >= len(args):
            raise invalid_query("Too few arguments to FORMAT")
        parts.append(_formatted(verb, args[used]))
        used += 1
    if used != len(args) or "%" in pattern[place:]:
        raise invalid_query("Bad format string or wrong number of arguments in FORMAT")
    return Expr("(" + " || ".join([*parts, literal(pattern[place:])]) + ")", STRING)


def _formatted(verb: re.Match[str], value: Expr) -> str:
    flags, width, precision, letter = verb.groups()
    if letter in "di" and value.type == INT64:
        if "'" in flags:
            if flags != "'" or width:
                raise unsupported(f"the format {verb[0]}")
            return f"format('{{:,}}', {value.sql})"
        return f"printf('%{flags}{width or ''}d', {value.sql})"
    if letter in "xXo" and value.type == INT64 and "'" not in flags:
        return f"printf('%{flags}{width or ''}{letter}', {value.sql})"
    if letter in "feEgG" and value.type.kind == "FLOAT64" and "'" not in flags:
        digits = f".{precision}" if precision else ""
        return f"printf('%{flags}{width or ''}{digits}{letter}', {value.sql})"
    if letter == "s" and value.type.kind in {"STRING", "NULL"} and not flags.strip("-") and precision is None:
        text = f"CAST({value.sql} AS VARCHAR)"
    elif letter == "t" and value.type.kind in {
        "STRING",
        "INT64",
        "BOOL",
        "DATE",
        "DATETIME",
        "TIME",
        "TIMESTAMP",
    }:
        text = f"coalesce({cast(value, STRING).sql}, 'NULL')"
    else:
        raise unsupported(f"the format {verb[0]} of a value of type {value.type}")
    if not width:
        return text
    pad = "rpad" if "-" in flags else "lpad"
    return f"CASE WHEN length({text}) >= {width} THEN {text} ELSE {pad}({text}, {width}, ' ') END"
