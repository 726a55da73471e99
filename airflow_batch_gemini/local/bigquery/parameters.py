"""Query parameters of the REST API as literals of a statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import coercion
from .datatypes import Field, Type, array, duckdb_type, literal, quoted, struct, struct_field_names
from .errors import invalid, unsupported
from .jsontext import canonical
from .sql.scope import Expr

_SCALARS = frozenset(
    {
        "STRING",
        "INT64",
        "FLOAT64",
        "NUMERIC",
        "BOOL",
        "BYTES",
        "DATE",
        "TIME",
        "DATETIME",
        "TIMESTAMP",
        "JSON",
    }
)
_OTHER_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def parameters(config: Mapping[str, Any]) -> dict[str, Expr]:
    """Read queryParameters; positional ones get the names that the lexer gives to question marks."""
    given: Sequence[Mapping[str, Any]] = config.get("queryParameters") or []
    mode = str(
        config.get("parameterMode") or ("NAMED" if given and given[0].get("name") else "POSITIONAL")
    ).upper()
    found: dict[str, Expr] = {}
    for place, parameter in enumerate(given):
        name = str(parameter.get("name") or "") if mode == "NAMED" else f"_position_{place}"
        if not name:
            raise invalid("A named query parameter has no name")
        type_ = _type(parameter.get("parameterType") or {})
        found[name] = _expr(parameter.get("parameterValue") or {}, type_, name)
    return found


def _type(raw: Mapping[str, Any]) -> Type:
    kind = str(raw.get("type") or "").upper()
    kind = _OTHER_NAMES.get(kind, kind)
    if kind == "ARRAY":
        return array(_type(raw.get("arrayType") or {}))
    if kind == "STRUCT":
        return struct(
            [
                Field(str(f.get("name") or ""), _type(f.get("type") or {}))
                for f in raw.get("structTypes") or []
            ]
        )
    if kind not in _SCALARS:
        raise unsupported(f"a query parameter of type {kind or '(none)'}")
    return Type(kind)


def _expr(raw: Mapping[str, Any], type_: Type, name: str) -> Expr:
    text = str(raw["value"]) if type_.kind == "STRING" and raw.get("value") is not None else None
    if text is None and type_.kind == "INT64" and raw.get("value") is not None:
        text = str(int(raw["value"]))
    return Expr(_sql(raw, type_, name), type_, constant=True, text=text)


def _sql(raw: Mapping[str, Any], type_: Type, name: str) -> str:
    if type_.kind == "ARRAY":
        items = [_sql(item, type_.item, name) for item in raw.get("arrayValues") or []]
        return f"CAST([{', '.join(items)}] AS {duckdb_type(type_)})"
    if type_.kind == "STRUCT":
        values = raw.get("structValues") or {}
        pairs = zip(struct_field_names(type_), type_.fields, strict=True)
        parts = (f"{quoted(inner)} := {_sql(values.get(f.name) or {}, f.type, name)}" for inner, f in pairs)
        return f"struct_pack({', '.join(parts)})"
    value = raw.get("value")
    if value is None:
        return f"CAST(NULL AS {duckdb_type(type_)})"
    try:
        return _scalar(str(value), type_)
    except ValueError as error:
        raise invalid(f"Invalid value for query parameter {name}: {value!r} is no {type_}; {error}") from None


def _scalar(text: str, type_: Type) -> str:
    if type_.kind == "STRING":
        return literal(text)
    if type_.kind == "JSON":
        return f"CAST({literal(canonical(text, exact=False))} AS JSON)"
    value = coercion.cell_reader(type_)(text)
    if type_.kind == "BYTES":
        return f"unhex('{value.hex()}')"
    return f"CAST({literal(str(value))} AS {duckdb_type(type_)})"
