"""GoogleSQL's scalar functions that DuckDB lacks or spells differently, as macros over native functions."""

from __future__ import annotations

_MOMENT = r"TRY_CAST(regexp_replace(s, '([+-])([0-9])(:[0-9]{2})?$', '\10\2\3') AS TIMESTAMPTZ)"
# Each `x_or_null(s)` gets a twin `x(s)` that raises BigQuery's message instead of giving NULL.
_PARSERS = {
    "int64": r"CASE WHEN regexp_full_match(s, '\s*[+-]?([0-9]+|0[xX][0-9a-fA-F]+)\s*') "
    r"THEN TRY_CAST(regexp_replace(s, '[+\s]', '', 'g') AS BIGINT) END",
    "float64": r"CASE WHEN regexp_full_match(s, '\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*') "
    r"OR regexp_full_match(s, '\s*[+-]?(inf|infinity|nan)\s*', 'i') "
    r"THEN TRY_CAST(lower(regexp_replace(s, '[+\s]', '', 'g')) AS DOUBLE) END",
    "numeric": r"CASE WHEN regexp_full_match(s, '\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*') "
    r"THEN TRY_CAST(trim(s) AS DECIMAL(38,9)) END",
    "bool": "CASE lower(s) WHEN 'true' THEN true WHEN 'false' THEN false END",
    "date": r"CASE WHEN regexp_full_match(s, '\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}\s*') "
    "AND year(TRY_CAST(trim(s) AS DATE)) BETWEEN 1 AND 9999 THEN TRY_CAST(trim(s) AS DATE) END",
    "time": r"CASE WHEN regexp_full_match(s, '([01]?[0-9]|2[0-3]):[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]{0,6})?') "
    r"THEN TRY_CAST(regexp_replace(s, '\.$', '') AS TIME) END",
    "datetime": r"CASE WHEN regexp_full_match(s, '[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"([ Tt]([01]?[0-9]|2[0-3]):[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]{0,6})?)?') "
    r"AND s NOT LIKE '0000-%' THEN TRY_CAST(regexp_replace(s, '\.$', '') AS TIMESTAMP) END",
    "timestamp": r"CASE WHEN regexp_full_match(s, '[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"([ Tt]([01]?[0-9]|2[0-3]):[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]{0,6})?)?"
    r"([zZ]| ?[+-][0-9]{1,2}(:[0-9]{2})?| [A-Za-z_]+(/[A-Za-z_+0-9-]+)*)?') "
    rf"AND epoch_us({_MOMENT}) BETWEEN -62135596800000000 AND 253402300799999999 THEN {_MOMENT} END",
}

_FRACTION = (
    "CASE WHEN {us} % 1000000 = 0 THEN '' WHEN {us} % 1000 = 0 "
    "THEN '.' || lpad(CAST({us} // 1000 % 1000 AS VARCHAR), 3, '0') "
    "ELSE '.' || lpad(CAST({us} % 1000000 AS VARCHAR), 6, '0') END"
)

_MACROS = {
    "bq_float_text(x)": "CASE WHEN isnan(x) THEN 'nan' WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'inf' ELSE '-inf' END "
    "WHEN x = 0 THEN '0' WHEN CAST(printf('%.15g', x) AS DOUBLE) = x THEN printf('%.15g', x) "
    "ELSE printf('%.17g', x) END",
    "bq_numeric_text(x)": r"regexp_replace(regexp_replace(CAST(x AS VARCHAR), '(\.[0-9]*?)0+$', '\1'), '\.$', '')",
    "bq_float_json(x)": "CASE WHEN x IS NULL THEN NULL WHEN NOT isfinite(x) THEN bq_float_quoted(x) "
    "WHEN abs(x) >= 0.0001 AND abs(x) < 1e15 OR x = 0 THEN CAST(x AS VARCHAR) ELSE bq_float_spelled(x) END",
    "bq_float_quoted(x)": "CASE WHEN isnan(x) THEN '\"NaN\"' WHEN x > 0 THEN '\"Infinity\"' ELSE '\"-Infinity\"' END",
    "bq_string_json(s)": "replace(replace(CAST(to_json(s) AS VARCHAR), chr(8232), '\\u2028'), chr(8233), '\\u2029')",
    "bq_fraction_text(us)": _FRACTION.format(us="(us + 62135596800000000)"),
    "bq_micros_text(us)": "CASE WHEN us % 1000000 = 0 THEN '' ELSE '.' || "
    "lpad(CAST((us + 62135596800000000) % 1000000 AS VARCHAR), 6, '0') END",
    "bq_datetime_text(x)": "strftime(x, '%Y-%m-%d %H:%M:%S') || bq_fraction_text(epoch_us(x))",
    "bq_timestamp_text(x)": "strftime(x, '%Y-%m-%d %H:%M:%S') || bq_fraction_text(epoch_us(x)) || '+00'",
    "bq_time_text(x)": "left(CAST(x AS VARCHAR), 8) || bq_fraction_text(epoch_us(x))",
    "bq_timestamp_iso(x)": "strftime(x, '%Y-%m-%dT%H:%M:%S') || bq_fraction_text(epoch_us(x)) || 'Z'",
    "bq_datetime_iso(x)": "strftime(x, '%Y-%m-%dT%H:%M:%S') || bq_fraction_text(epoch_us(x))",
    "bq_float_to_int64(x)": "CAST(round(x) AS BIGINT)",
    "bq_divide(a, b)": "CASE WHEN b = 0 THEN error('division by zero: ' || bq_float_text(a) || ' / 0') ELSE a / b END",
    "bq_safe_divide(a, b)": "CASE WHEN b <> 0 THEN a / b END",
    "bq_ieee_divide(a, b)": "CASE WHEN b <> 0 OR a IS NULL OR b IS NULL THEN a / b WHEN a = 0 OR isnan(a) "
    "THEN 'nan'::DOUBLE WHEN a > 0 THEN 'inf'::DOUBLE ELSE '-inf'::DOUBLE END",
    "bq_sqrt(x)": "CASE WHEN x < 0 THEN error('Argument to SQRT cannot be negative: ' || bq_float_text(x)) "
    "ELSE sqrt(x) END",
    "bq_ln(x)": "CASE WHEN x <= 0 THEN error('Floating point error in function: LN(' || bq_float_text(x) || ')') "
    "ELSE ln(x) END",
    "bq_finite(x, what)": "CASE WHEN isinf(x) THEN error('Floating point error in function: ' || what) ELSE x END",
    "bq_div(a, b)": "CASE WHEN b = 0 THEN error('division by zero: ' || CAST(a AS VARCHAR) || ' / 0') ELSE a // b END",
    "bq_mod(a, b)": "CASE WHEN b = 0 THEN error('division by zero: MOD(' || CAST(a AS VARCHAR) || ', 0)') "
    "ELSE a % b END",
    "bq_substr(s, p)": "CASE WHEN p < 0 THEN substring(s, greatest(length(s) + p + 1, 1)) "
    "ELSE substring(s, greatest(p, 1)) END",
    "bq_substr3(s, p, n)": "CASE WHEN n < 0 THEN error('Third argument in SUBSTR() cannot be negative') "
    "WHEN p < 0 THEN substring(s, greatest(length(s) + p + 1, 1), n) ELSE substring(s, greatest(p, 1), n) END",
    "bq_substr3_or_null(s, p, n)": "CASE WHEN n >= 0 THEN CASE WHEN p < 0 "
    "THEN substring(s, greatest(length(s) + p + 1, 1), n) ELSE substring(s, greatest(p, 1), n) END END",
    "bq_offset(a, i)": "CASE WHEN a IS NULL OR i IS NULL THEN NULL WHEN i < 0 OR i >= len(a) "
    "THEN error('Array index ' || CAST(i AS VARCHAR) || ' is out of bounds') ELSE a[i + 1] END",
    "bq_offset_or_null(a, i)": "CASE WHEN i >= 0 THEN a[i + 1] END",
    "bq_array_text(a, sep)": "CASE WHEN a IS NOT NULL AND sep IS NOT NULL "
    "THEN coalesce(array_to_string(a, sep), '') END",
    "bq_generate_array(a, b, s)": "CASE WHEN s = 0 THEN error('Sequence step cannot be 0.') "
    "ELSE generate_series(a, b, s) END",
    "bq_json_text(j)": "CAST(j AS VARCHAR)",
    "bq_json_array(j, p)": "CASE WHEN json_type(j, p) = 'ARRAY' THEN json_extract(j, p || '[*]') END",
    "bq_large_json_query(j, p)": "CAST(bq_large_json_text(j, p) AS JSON)",
    "bq_large_json_array(j, p)": "CAST(bq_large_json_items(j, p) AS JSON[])",
    "bq_json_strings(a)": "CASE WHEN len(list_filter(a, lambda e: json_type(e) IN ('OBJECT', 'ARRAY'))) = 0 "
    "THEN list_transform(a, lambda e: json_value(e, '$') ->> '$') END",
    "bq_json_type(kind)": "CASE kind WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' "
    "WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' "
    "ELSE CASE WHEN kind IS NOT NULL THEN 'number' END END",
    "bq_json_scalar(j)": "json_value(j, '$') ->> '$'",
    "bq_string_of_json_or_null(j)": "CASE WHEN json_type(j) = 'VARCHAR' THEN j ->> '$' END",
    "bq_bool_of_json_or_null(j)": "CASE WHEN json_type(j) = 'BOOLEAN' THEN CAST(j AS VARCHAR) = 'true' END",
    "bq_int64_of_json_or_null(j)": "CASE WHEN json_type(j) IN ('BIGINT', 'UBIGINT') THEN TRY_CAST(CAST(j AS VARCHAR) "
    "AS BIGINT) WHEN json_type(j) = 'DOUBLE' AND TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE) = "
    "trunc(TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE)) THEN TRY_CAST(TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE) AS BIGINT) END",
    "bq_float64_of_json_or_null(j)": "CASE WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') "
    "THEN TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE) END",
    "bq_lax_string(j)": "CASE json_type(j) WHEN 'DOUBLE' THEN bq_float_text(TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE)) "
    "ELSE json_value(j, '$') ->> '$' END",
    "bq_lax_number(j)": "CASE json_type(j) WHEN 'VARCHAR' THEN bq_float64_or_null(j ->> '$') WHEN 'BOOLEAN' THEN NULL "
    "WHEN 'OBJECT' THEN NULL WHEN 'ARRAY' THEN NULL WHEN 'NULL' THEN NULL "
    "ELSE TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE) END",
    "bq_lax_float64(j)": "bq_lax_number(j)",
    "bq_lax_int64(j)": "CASE json_type(j) WHEN 'BOOLEAN' THEN CASE CAST(j AS VARCHAR) WHEN 'true' THEN 1 ELSE 0 END "
    "WHEN 'BIGINT' THEN TRY_CAST(CAST(j AS VARCHAR) AS BIGINT) "
    "WHEN 'UBIGINT' THEN TRY_CAST(CAST(j AS VARCHAR) AS BIGINT) "
    "ELSE coalesce(TRY_CAST(bq_int64_or_null(CASE WHEN json_type(j) = 'VARCHAR' THEN j ->> '$' END) AS BIGINT), "
    "TRY_CAST(round(bq_lax_number(j)) AS BIGINT)) END",
    "bq_lax_bool(j)": "CASE json_type(j) WHEN 'BOOLEAN' THEN CAST(j AS VARCHAR) = 'true' "
    "WHEN 'VARCHAR' THEN bq_bool_or_null(j ->> '$') WHEN 'OBJECT' THEN NULL WHEN 'ARRAY' THEN NULL "
    "WHEN 'NULL' THEN NULL ELSE TRY_CAST(CAST(j AS VARCHAR) AS DOUBLE) <> 0 END",
    "bq_upper(s)": "CASE WHEN strlen(s) = length(s) THEN upper(s) ELSE bq_unicode_upper(s) END",
    "bq_lower(s)": "CASE WHEN strlen(s) = length(s) THEN lower(s) ELSE bq_unicode_lower(s) END",
    "bq_array_out(a, message)": "CASE WHEN a IS NULL THEN [] WHEN len(list_filter(a, lambda e: e IS NULL)) > 0 "
    "THEN error(message) ELSE a END",
    "bq_in_array(x, a)": "CASE WHEN a IS NULL OR len(a) = 0 THEN false WHEN x IS NULL THEN NULL "
    "WHEN list_contains(a, x) THEN true WHEN len(list_filter(a, lambda e: e IS NULL)) > 0 THEN NULL ELSE false END",
    "bq_regexp_extract(s, r, g)": "CASE WHEN regexp_matches(s, r) THEN regexp_extract(s, r, g) END",
    "bq_seconds(us)": "CAST(floor(us / 1000000) AS BIGINT)",
    "bq_week(d)": "CAST(strftime(d, '%U') AS BIGINT)",
    "bq_week_start(d)": "CAST(d AS DATE) - CAST(dayofweek(CAST(d AS DATE)) AS INTEGER)",
}  # fmt: skip

_JSON_READERS = {
    "string": "The provided JSON input is not a string",
    "bool": "The provided JSON input is not a boolean",
    "int64": "The provided JSON input is not an integer",
    "float64": "The provided JSON input is not a number",
}


def statements() -> list[str]:
    """Return the CREATE MACRO statements, in an order in which each finds what it uses."""
    made = [_macro(f"bq_{name}_or_null(s)", body) for name, body in _PARSERS.items()]
    for name in _PARSERS:
        failed = (
            f"error('Bad {name} value: ' || s)"
            if name in {"int64", "bool"}
            else f"error('Invalid {name}: ''' || s || '''')"
        )
        made.append(
            _macro(
                f"bq_{name}(s)", f"CASE WHEN s IS NOT NULL THEN coalesce(bq_{name}_or_null(s), {failed}) END"
            )
        )
    order = sorted(_MACROS, key=lambda head: head.split("(")[0] not in _FIRST)
    made += [_macro(head, _MACROS[head]) for head in order]
    for name, complaint in _JSON_READERS.items():
        made.append(
            _macro(
                f"bq_{name}_of_json(j)",
                f"CASE WHEN j IS NOT NULL THEN coalesce(bq_{name}_of_json_or_null(j), error('{complaint}')) END",
            )
        )
    return made


_FIRST = frozenset({"bq_fraction_text", "bq_float_quoted", "bq_lax_number", "bq_float_text", "bq_ln"})


def _macro(head: str, body: str) -> str:
    return f"CREATE OR REPLACE MACRO {head} AS ({body})"
