"""Turn a subquery over UNNEST into list functions.

`(SELECT STRING_AGG(x ORDER BY o) FROM UNNEST(array) AS x WITH OFFSET o WHERE ...)` beside a large row is a correlated
subquery: the engine would first make the rows distinct, documents and all. As `list_filter` and `list_transform` it
streams. What does not have this shape is left to the general translation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import BOOL, INT64, NULL, STRING, literal
from airflow_batch_gemini.local.bigquery.datatypes import array as array_of

from .aggregates import Modifiers, modifiers
from .calls import Call
from .casts import boolean
from .expressions import constant_text, translate
from .relations import element_relation
from .scope import Context, Expr, Scope

_CLAUSES = frozenset({"expressions", "from_", "where", "order"})


def fold(
    node: exp.Expr, scope: Scope, context: Context, *, exists: bool = False, array: bool = False
) -> Expr | None:
    """Translate a foldable subquery; None when it has another shape."""
    if not isinstance(node, exp.Select) or any(v for k, v in node.args.items() if k not in _CLAUSES):
        return None
    source = node.args.get("from_")
    if source is None or not isinstance(source.this, exp.Unnest) or len(source.this.expressions) != 1:
        return None
    if len(node.expressions) != 1 or any(sub is not node for sub in node.find_all(exp.Query)):
        return None
    unnest = source.this
    if any(node.find_all(exp.Window)) or not _in_order(node.args.get("order"), unnest, array=array):
        return None
    value = translate(unnest.expressions[0], Scope(parent=scope), context)
    if value.type.kind != "ARRAY" or value.type.item == NULL:
        return None
    return _Fold(node, unnest, value, scope, context).run(exists=exists, array=array)


def _offset(unnest: exp.Unnest) -> str | None:
    offset = unnest.args.get("offset")
    return offset.name.lower() if isinstance(offset, exp.Identifier) else None


def _in_order(order: exp.Expr | None, unnest: exp.Unnest, *, array: bool) -> bool:
    """Say whether an ORDER BY asks for the order that the array has anyway."""
    if order is None:
        return True
    return array and _by_offset(order.expressions, unnest) == "ASC"


def _by_offset(keys: list[exp.Expr] | object, unnest: exp.Unnest) -> str | None:
    if not isinstance(keys, list) or len(keys) != 1 or _offset(unnest) is None:
        return None
    key = keys[0]
    if (
        not isinstance(key.this, exp.Column)
        or len(key.this.parts) != 1
        or key.this.name.lower() != _offset(unnest)
    ):
        return None
    return "DESC" if key.args.get("desc") else "ASC"


def _elements(array: Expr) -> str:
    """The list to go through. No array and an empty one are alike here, so a JSON document is looked into once only."""
    if array.json is None:
        return array.sql
    base, path = array.json
    return f"json_extract({base}, {literal(f'{path}[*]')})"


class _Fold:
    """One subquery on its way to list functions."""

    def __init__(
        self, node: exp.Select, unnest: exp.Unnest, value: Expr, scope: Scope, context: Context
    ) -> None:
        self.node, self.unnest, self.context = node, unnest, context
        self.variable = context.fresh("e")
        counted = self._counts_places()
        element = f"{self.variable}.v" if counted else self.variable
        place = f"{self.variable}.o" if counted else "NULL" if _offset(unnest) else None
        self.items = _elements(value)
        if counted:
            inner, index = context.fresh("e"), context.fresh("i")
            packed = f"struct_pack(v := {inner}, o := CAST({index} - 1 AS BIGINT))"
            self.items = f"list_transform({self.items}, lambda {inner}, {index}: {packed})"
        relation = element_relation(unnest, value, element, place)
        self.scope = Scope((relation,), parent=scope)

    def _counts_places(self) -> bool:
        """Say whether the offset is used for more than the natural order."""
        name = _offset(self.unnest)
        if name is None:
            return False
        for column in self.node.find_all(exp.Column):
            if column.name.lower() != name or len(column.parts) != 1:
                continue
            order = column.find_ancestor(exp.Order)
            if order is None or _by_offset(order.expressions, self.unnest) is None:
                return True
        return False

    def run(self, *, exists: bool, array: bool) -> Expr | None:
        where = self.node.args.get("where")
        if where is not None:
            condition = boolean(translate(where.this, self.scope, self.context), "WHERE clause")
            self.items = f"list_filter({self.items}, lambda {self.variable}: {condition.sql})"
        if exists:
            return Expr(f"coalesce(len({self.items}) > 0, false)", BOOL)
        part = self.node.expressions[0]
        inner = part.this if isinstance(part, exp.Alias) else part
        if isinstance(inner, exp.Star) or (
            isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)
        ):
            return None
        if array:
            return self._array(inner)
        if not isinstance(inner, exp.Anonymous) or str(inner.this).upper() not in _FOLDED:
            return None
        call = Call(str(inner.this).upper(), inner.expressions, self.scope, self.context)
        return _FOLDED[call.name](self, call, modifiers(call))

    def _array(self, inner: exp.Expr) -> Expr | None:
        if any(str(call.this).upper() in _AGGREGATE_NAMES for call in inner.find_all(exp.Anonymous)):
            return None
        value = translate(inner, self.scope, self.context)
        if value.type.kind in {"NULL", "ARRAY"}:
            return None
        return Expr(f"coalesce({self.mapped(value)}, [])", array_of(value.type))

    def mapped(self, value: Expr) -> str:
        """The list of a value per element."""
        if value.sql == self.variable:
            return self.items
        return f"list_transform({self.items}, lambda {self.variable}: {value.sql})"

    def ordered(self, given: Modifiers) -> Callable[[str], str] | None:
        """How to bring a list into the order asked for, when that is the array's own or its reverse."""
        if given.distinct:
            return None
        if not given.order:
            return lambda items: items
        direction = _by_offset(list(given.order), self.unnest)
        return {"ASC": lambda items: items, "DESC": lambda items: f"list_reverse({items})"}.get(
            direction or ""
        )


def _count(fold_: _Fold, _call: Call, given: Modifiers) -> Expr | None:
    if given.distinct or given.order:
        return None
    if isinstance(given.arguments[0], exp.Star):
        return Expr(f"CAST(coalesce(len({fold_.items}), 0) AS BIGINT)", INT64)
    value = translate(given.arguments[0], fold_.scope, fold_.context)
    return Expr(f"CAST(coalesce(list_aggregate({fold_.mapped(value)}, 'count'), 0) AS BIGINT)", INT64)


def _countif(fold_: _Fold, _call: Call, given: Modifiers) -> Expr | None:
    condition = boolean(translate(given.arguments[0], fold_.scope, fold_.context), "COUNTIF")
    kept = f"list_filter({fold_.items}, lambda {fold_.variable}: {condition.sql})"
    return Expr(f"CAST(coalesce(len({kept}), 0) AS BIGINT)", INT64)


def _logical(fold_: _Fold, call: Call, given: Modifiers) -> Expr | None:
    condition = boolean(translate(given.arguments[0], fold_.scope, fold_.context), call.name)
    native = "bool_or" if call.name == "LOGICAL_OR" else "bool_and"
    return Expr(f"list_aggregate({fold_.mapped(condition)}, '{native}')", BOOL)


def _string_agg(fold_: _Fold, _call: Call, given: Modifiers) -> Expr | None:
    arrange = fold_.ordered(given)
    if arrange is None or given.limit is not None:
        return None
    value = translate(given.arguments[0], fold_.scope, fold_.context)
    if value.type != STRING:
        return None
    separator = ","
    if len(given.arguments) == 2:
        separator = constant_text(translate(given.arguments[1], fold_.scope, fold_.context), "a separator")
    items = arrange(fold_.mapped(value))
    return Expr(f"list_aggregate({items}, 'string_agg', {literal(separator)})", STRING)


_FOLDED: Mapping[str, Callable[[_Fold, Call, Modifiers], Expr | None]] = {
    "COUNT": _count,
    "COUNTIF": _countif,
    "LOGICAL_OR": _logical,
    "LOGICAL_AND": _logical,
    "STRING_AGG": _string_agg,
}
_AGGREGATE_NAMES = frozenset(
    {
        "COUNT",
        "COUNTIF",
        "SUM",
        "AVG",
        "MIN",
        "MAX",
        "ANY_VALUE",
        "STRING_AGG",
        "ARRAY_AGG",
        "LOGICAL_OR",
        "LOGICAL_AND",
    }
)
