"""Functions on dates, times and points in time; the only time zone is UTC."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from airflow_batch_gemini.local.bigquery import dateformat
from airflow_batch_gemini.local.bigquery.datatypes import (
    DATE,
    DATETIME,
    INT64,
    INTERVAL,
    JSON,
    STRING,
    TIME,
    TIMESTAMP,
    Type,
    array,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .calls import Call, Signature, apply, function, no_parentheses, signatures
from .casts import cast, coerce, coerces
from .dialect import only
from .expressions import constant_text, handles, translate
from .scope import Context, Expr, Scope

_PARTS: Mapping[str, str] = {
    "YEAR": "year", "QUARTER": "quarter", "MONTH": "month", "DAY": "day", "HOUR": "hour", "MINUTE": "minute",
    "SECOND": "second", "ISOYEAR": "isoyear", "ISOWEEK": "week", "DAYOFYEAR": "dayofyear",
}  # fmt: skip
_UNIT_MICROS: Mapping[str, int] = {
    "MICROSECOND": 1, "MILLISECOND": 1000, "SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6,
    "DAY": 86400 * 10**6,
}  # fmt: skip
_INTERVALS = frozenset(
    {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}
)
_DATE_UNITS = frozenset({"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"})

signatures("UNIX_DATE", [Signature((DATE,), "CAST({0} - DATE '1970-01-01' AS BIGINT)", INT64)])
signatures("DATE_FROM_UNIX_DATE", [Signature((INT64,), "(DATE '1970-01-01' + CAST({0} AS INTEGER))", DATE)])
signatures("UNIX_SECONDS", [Signature((TIMESTAMP,), "bq_seconds(epoch_us({0}))", INT64)])
signatures("UNIX_MILLIS", [Signature((TIMESTAMP,), "CAST(floor(epoch_us({0}) / 1000) AS BIGINT)", INT64)])
signatures("UNIX_MICROS", [Signature((TIMESTAMP,), "epoch_us({0})", INT64)])
signatures("TIMESTAMP_SECONDS", [Signature((INT64,), "make_timestamptz({0} * 1000000)", TIMESTAMP)])
signatures("TIMESTAMP_MILLIS", [Signature((INT64,), "make_timestamptz({0} * 1000)", TIMESTAMP)])
signatures("TIMESTAMP_MICROS", [Signature((INT64,), "make_timestamptz({0})", TIMESTAMP)])
signatures("LAST_DAY", [Signature((DATE,), "last_day({0})", DATE)])


def _utc(call: Call, index: int) -> None:
    """Accept an explicit UTC and refuse every other zone."""
    if len(call.positional) > index:
        zone = constant_text(call.arg(index), "a time zone")
        if zone.upper() not in {"UTC", "ETC/UTC", "Z", "+00:00", "+00"}:
            raise unsupported(f"the time zone {zone}")


@function("CURRENT_TIMESTAMP")
def _current_timestamp(call: Call) -> Expr:
    call.count(0)
    return Expr("current_timestamp", TIMESTAMP)


@function("CURRENT_DATE", "CURRENT_DATETIME", "CURRENT_TIME")
def _current(call: Call) -> Expr:
    call.count(0, 1)
    _utc(call, 0)
    target = {"CURRENT_DATE": DATE, "CURRENT_DATETIME": DATETIME, "CURRENT_TIME": TIME}[call.name]
    return cast(Expr("current_timestamp", TIMESTAMP), target)


no_parentheses(exp.CurrentDate, "CURRENT_DATE")
no_parentheses(exp.CurrentDatetime, "CURRENT_DATETIME")
no_parentheses(exp.CurrentTime, "CURRENT_TIME")
no_parentheses(exp.CurrentTimestamp, "CURRENT_TIMESTAMP")


@function("DATE")
def _date(call: Call) -> Expr:
    call.count(1, 3)
    if len(call.arguments) == 3:
        parts = [coerce(arg, INT64).sql for arg in call.args()]
        return Expr(call.guarded(f"make_date({', '.join(parts)})"), DATE)
    _utc(call, 1)
    return _converted(call, DATE)


@function("DATETIME")
def _datetime(call: Call) -> Expr:
    call.count(1, 6)
    if len(call.arguments) == 6:
        y, mo, d, h, mi, s = (coerce(arg, INT64).sql for arg in call.args())
        return Expr(call.guarded(f"make_timestamp({y}, {mo}, {d}, {h}, {mi}, CAST({s} AS DOUBLE))"), DATETIME)
    call.count(1, 2)
    if len(call.arguments) == 2 and call.arg(1).type == TIME:
        return Expr(f"({coerce(call.arg(0), DATE).sql} + {call.arg(1).sql})", DATETIME)
    _utc(call, 1)
    return _converted(call, DATETIME)


@function("TIMESTAMP")
def _timestamp(call: Call) -> Expr:
    call.count(1, 2)
    _utc(call, 1)
    return _converted(call, TIMESTAMP)


@function("TIME")
def _time(call: Call) -> Expr:
    call.count(1, 3)
    if len(call.arguments) == 3:
        h, m, s = (coerce(arg, INT64).sql for arg in call.args())
        return Expr(call.guarded(f"make_time({h}, {m}, CAST({s} AS DOUBLE))"), TIME)
    _utc(call, 1)
    return _converted(call, TIME)


def _converted(call: Call, target: Type) -> Expr:
    value = call.arg(0)
    if value.type.kind not in {"STRING", "DATE", "DATETIME", "TIMESTAMP", "TIME", "NULL"}:
        raise call.no_signature([value])
    return cast(value, target, safe=call.safe)


@function("STRING")
def _string(call: Call) -> Expr:
    call.count(1, 2)
    value = call.arg(0)
    if value.type == JSON:
        overload = Signature((JSON,), "bq_string_of_json({0})", STRING, "bq_string_of_json_or_null({0})")
        return apply(call, [value], [overload])
    _utc(call, 1)
    if value.type.kind not in {"DATE", "DATETIME", "TIMESTAMP", "TIME", "NULL"}:
        raise call.no_signature([value])
    return cast(value, STRING)


@handles(exp.Interval)
def _interval(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "unit")
    unit = node.args.get("unit")
    name = unit.name.upper() if isinstance(unit, exp.Var) else ""
    if name not in _INTERVALS:
        raise unsupported(f"the interval {node.sql(dialect='bigquery')}")
    value = node.this
    if isinstance(value, exp.Literal) and value.is_string:
        value = exp.Literal.number(value.name.lstrip("-"))
        amount = ("-" if node.this.name.startswith("-") else "") + coerce(
            translate(value, scope, context), INT64
        ).sql
    else:
        amount = coerce(translate(value, scope, context), INT64).sql
    return Expr(f"(INTERVAL ({amount}) {name})", INTERVAL)


def _shift(call: Call, sign: str, kind: Type) -> Expr:
    call.count(2)
    value = call.arg(0)
    if not coerces(value, kind):
        raise call.no_signature([value])
    if not isinstance(call.arguments[1], exp.Interval):
        raise invalid_query(f"The second argument of {call.name} must be an INTERVAL")
    unit = call.arguments[1].args["unit"].name.upper()
    wrong = {"DATE": unit not in _DATE_UNITS, "TIMESTAMP": unit in {"WEEK", "MONTH", "QUARTER", "YEAR"}}
    if wrong.get(kind.kind):
        raise invalid_query(f"{call.name} does not support the {unit} date part")
    moved = f"({coerce(value, kind).sql} {sign} {call.arg(1).sql})"
    return Expr(call.guarded(f"CAST({moved} AS DATE)" if kind == DATE else moved), kind)


def _part(node: exp.Expr) -> str:
    """Read a date part such as DAY or WEEK(MONDAY)."""
    name = node.name.upper() if not isinstance(node, exp.Anonymous) else str(node.this).upper()
    if isinstance(node, exp.Anonymous) or (isinstance(node, exp.WeekStart) and node.name.upper() != "SUNDAY"):
        name = "ISOWEEK" if "MONDAY" in node.sql().upper() else f"{name}(...)"
    return name


def _difference(call: Call, kind: Type) -> Expr:
    call.count(3)
    later, earlier = (coerce(call.arg(index), kind).sql for index in (0, 1))
    part = _part(call.arguments[2])
    if kind == TIMESTAMP:
        if part not in _UNIT_MICROS:
            raise invalid_query(f"TIMESTAMP_DIFF does not support the {part} date part")
        # GoogleSQL counts whole units and drops the rest, towards zero.
        sql = f"((epoch_us({later}) - epoch_us({earlier})) // {_UNIT_MICROS[part]})"
        return Expr(call.guarded(sql), INT64)
    if part == "WEEK":
        sql = f"CAST((bq_week_start({later}) - bq_week_start({earlier})) // 7 AS BIGINT)"
    elif part in _DATE_UNITS | {"ISOWEEK"} or (kind == DATETIME and part in _UNIT_MICROS):
        sql = f"date_diff('{'week' if part == 'ISOWEEK' else part.lower()}', {earlier}, {later})"
    else:
        raise unsupported(f"the date part {part} of {call.name}")
    return Expr(call.guarded(sql), INT64)


def _truncate(call: Call, kind: Type) -> Expr:
    call.count(2, 3)
    _utc(call, 2)
    value = call.arg(0)
    kind = value.type if value.type.kind in {"DATE", "DATETIME", "TIMESTAMP"} else kind
    sql, part = coerce(value, kind).sql, _part(call.arguments[1])
    if part == "WEEK":
        whole = f"bq_week_start({sql})"
        return cast(Expr(f"CAST({whole} AS DATE)", DATE), kind)
    if part not in _UNIT_MICROS.keys() | _DATE_UNITS | {"ISOWEEK"}:
        raise unsupported(f"the date part {part} of {call.name}")
    cut = f"date_trunc('{'week' if part == 'ISOWEEK' else part.lower()}', {sql})"
    return Expr(f"CAST({cut} AS DATE)" if kind == DATE else cut, kind)


def _format(call: Call, kind: Type) -> Expr:
    call.count(2, 3)
    _utc(call, 2)
    pattern = constant_text(call.arg(0), "a format string")
    value = coerce(call.arg(1), kind).sql
    return Expr(dateformat.format_sql(pattern, value), STRING)


def _parse(call: Call, kind: Type) -> Expr:
    call.count(2, 3)
    _utc(call, 2)
    pattern = constant_text(call.arg(0), "a format string")
    dateformat.check(pattern)
    text = coerce(call.arg(1), STRING)
    micros = call.guarded(f"bq_parse_timestamp({coerce(call.arg(0), STRING).sql}, {text.sql})")
    return cast(Expr(f"make_timestamptz({micros})", TIMESTAMP), kind)


@handles(exp.Extract)
def _extract(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "expression")
    source = node.expression
    if isinstance(source, exp.AtTimeZone):
        if source.args["zone"].name.upper() not in {"UTC", "ETC/UTC"}:
            raise unsupported(f"the time zone {source.args['zone'].name}")
        source = source.this
    value = translate(source, scope, context)
    if value.type.kind not in {"DATE", "DATETIME", "TIMESTAMP", "TIME"}:
        raise invalid_query(f"EXTRACT does not support a value of type {value.type}")
    part = _part(node.this)
    if part in {"DATE", "TIME", "DATETIME"}:
        return cast(value, {"DATE": DATE, "TIME": TIME, "DATETIME": DATETIME}[part])
    return Expr(_extracted(part, value.sql), INT64)


def _extracted(part: str, sql: str) -> str:
    if part == "WEEK":
        return f"bq_week({sql})"
    if part == "DAYOFWEEK":
        return f"(extract(dayofweek FROM {sql}) + 1)"
    if part in {"MICROSECOND", "MILLISECOND"}:
        return f"(extract({part.lower()} FROM {sql}) % {1_000_000 if part == 'MICROSECOND' else 1000})"
    if part not in _PARTS:
        raise unsupported(f"the date part {part} of EXTRACT")
    return f"CAST(extract({_PARTS[part]} FROM {sql}) AS BIGINT)"


@function("GENERATE_DATE_ARRAY")
def _generate_dates(call: Call) -> Expr:
    call.count(2)
    first, last = (coerce(call.arg(index), DATE).sql for index in (0, 1))
    series = f"generate_series({first}, {last}, INTERVAL 1 DAY)"
    return Expr(f"list_transform({series}, lambda _d: CAST(_d AS DATE))", array(DATE))


_KINDS: Mapping[str, Type] = {"DATE": DATE, "DATETIME": DATETIME, "TIMESTAMP": TIMESTAMP}


@function(*(f"{name}_{verb}" for name in _KINDS for verb in ("ADD", "SUB", "DIFF", "TRUNC")))
def _arithmetic(call: Call) -> Expr:
    name, verb = call.name.split("_")
    kind = _KINDS[name]
    if verb == "DIFF":
        return _difference(call, kind)
    if verb == "TRUNC":
        return _truncate(call, kind)
    return _shift(call, "+" if verb == "ADD" else "-", kind)


@function(*(f"{verb}_{name}" for name in _KINDS for verb in ("FORMAT", "PARSE")))
def _texts(call: Call) -> Expr:
    verb, name = call.name.split("_")
    return _format(call, _KINDS[name]) if verb == "FORMAT" else _parse(call, _KINDS[name])
