"""Function calls: the registry, signatures as data, and the SAFE. prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import NULL, Type
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .casts import attempt, coerce, coerces
from .dialect import only
from .expressions import handles, translate
from .scope import Context, Expr, Scope


@dataclass(frozen=True, slots=True)
class Call:
    """One function call as written: its arguments are translated when the function asks for them."""

    name: str
    arguments: Sequence[exp.Expr]
    scope: Scope
    context: Context
    safe: bool = False

    def arg(self, index: int) -> Expr:
        """Translate one argument."""
        return translate(self.arguments[index], self.scope, self.context)

    def args(self) -> list[Expr]:
        """Translate all positional arguments."""
        return [translate(node, self.scope, self.context) for node in self.positional]

    @property
    def positional(self) -> list[exp.Expr]:
        """The arguments without a name."""
        return [node for node in self.arguments if not isinstance(node, exp.Kwarg)]

    def named(self, *known: str) -> dict[str, Expr]:
        """Translate the arguments with a name; an unknown name is refused."""
        found = {}
        for node in self.arguments:
            if isinstance(node, exp.Kwarg):
                name = node.this.name.lower()
                if name not in known:
                    raise unsupported(f"the argument {name} of {self.name}")
                found[name] = translate(node.expression, self.scope, self.context)
        return found

    def count(self, least: int, most: int | None = None) -> None:
        """Require a number of positional arguments."""
        given = len(self.positional)
        if not least <= given <= (least if most is None else most):
            raise invalid_query(f"Number of arguments does not match for function {self.name}: {given} given")

    def no_signature(self, args: Sequence[Expr]) -> Exception:
        """Make BigQuery's error for arguments of the wrong types."""
        shown = ", ".join(str(arg.type) for arg in args)
        return invalid_query(f"No matching signature for function {self.name} for argument types: {shown}")

    def guarded(self, sql: str) -> str:
        """Give NULL instead of an error when the call is written with SAFE."""
        return attempt(sql) if self.safe else sql


Function = Callable[[Call], Expr]
FUNCTIONS: dict[str, Function] = {}


def function(*names: str) -> Callable[[Function], Function]:
    """Register the translator of one or more functions."""

    def register(translator: Function) -> Function:
        for name in names:
            FUNCTIONS[name] = translator
        return translator

    return register


@dataclass(frozen=True, slots=True)
class Signature:
    """Argument types and the DuckDB text of one overload; `safe` is the text to use under SAFE."""

    arguments: tuple[Type, ...]
    sql: str
    result: Type
    safe: str | None = None


def signatures(name: str, overloads: Sequence[Signature]) -> None:
    """Register a function that is no more than a list of overloads."""

    def translator(call: Call) -> Expr:
        args = call.args()
        if len(args) != len(call.arguments):
            raise unsupported(f"named arguments of {call.name}")
        return apply(call, args, overloads)

    FUNCTIONS[name] = translator


def apply(call: Call, args: Sequence[Expr], overloads: Sequence[Signature]) -> Expr:
    """Choose the overload that fits: first one that takes the types as they are, then one they coerce to."""
    sized = [overload for overload in overloads if len(overload.arguments) == len(args)]
    for exact in (True, False):
        for overload in sized:
            pairs = list(zip(args, overload.arguments, strict=True))
            if all(a.type in (t, NULL) if exact else coerces(a, t) for a, t in pairs):
                texts = [coerce(a, t).sql for a, t in pairs]
                if call.safe and overload.safe is not None:
                    return Expr(overload.safe.format(*texts), overload.result)
                return Expr(call.guarded(overload.sql.format(*texts)), overload.result)
    raise call.no_signature(args)


def call_function(call: Call) -> Expr:
    """Translate a call by name; an unknown function is refused by its name."""
    translator = FUNCTIONS.get(call.name)
    if translator is None:
        raise unsupported(f"the function {call.name}")
    return translator(call)


@handles(exp.Anonymous)
def _anonymous(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "expressions")
    return call_function(Call(str(node.this).upper(), node.expressions, scope, context))


@handles(exp.SafeFunc)
def _safe(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner = node.this
    if not isinstance(inner, exp.Anonymous):
        raise unsupported(f"SAFE.{inner.sql(dialect='bigquery')[:60]}")
    return call_function(Call(str(inner.this).upper(), inner.expressions, scope, context, safe=True))


def no_parentheses(kind: type[exp.Expr], name: str) -> None:
    """Register a function that may be called without parentheses."""

    def handler(node: exp.Expr, scope: Scope, context: Context) -> Expr:
        arguments = [node.this] if node.this is not None else []
        return call_function(Call(name, arguments, scope, context))

    handles(kind)(handler)
