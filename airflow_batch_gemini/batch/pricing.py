"""What tokens cost: a dated table that a user may override. An unknown model costs an unknown sum, never zero.

Source: Google's price list for Gemini on Vertex AI as of :data:`DATE`, USD per million tokens, standard tier. Batch
costs half. Tokens found in the implicit cache cost a tenth of the standard price *instead of* the batch price.
Thinking is paid as output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from airflow_batch_gemini.batch.names import model_id
from airflow_batch_gemini.exceptions import ConfigurationError

DATE = "2026-11"
GIVEN = "given"
"""The date of a price that its user gave without one."""
LONG_CONTEXT = 200_000
"""Prompts of more tokens than this cost the long-context price, where a model has one."""
NANO = 1_000_000_000
MILLION = 1_000_000

_BATCH = Decimal("0.5")
_CACHED = Decimal("0.1")
_VERSION = re.compile(r"(?:@[A-Za-z0-9.-]+|-[0-9]{3})$")


@dataclass(frozen=True, kw_only=True)
class Price:
    """USD per million tokens, standard tier (not the batch price)."""

    input: Decimal
    output: Decimal
    long_input: Decimal | None = None
    """For prompts of over 200,000 tokens; ``None`` where it is the same."""
    long_output: Decimal | None = None
    batch_share: Decimal = _BATCH
    """What a batch costs of this."""
    date: str = DATE

    def rates(self, *, long: bool, batch: bool = True) -> Rates:
        """Return the prices as whole numbers, so that Python and SQL reckon alike.

        :param batch: those of a batch job; otherwise those of direct calls.
        """
        share = self.batch_share if batch else Decimal(1)
        paid_in = self.long_input if long and self.long_input is not None else self.input
        paid_out = self.long_output if long and self.long_output is not None else self.output
        return Rates(
            prompt=_nano(paid_in * share), cached=_nano(paid_in * _CACHED), output=_nano(paid_out * share)
        )

    @property
    def has_long_tier(self) -> bool:
        """Whether long prompts cost more."""
        return self.rates(long=True) != self.rates(long=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what the report says of the price."""
        return {
            "date": self.date,
            "input": str(self.input),
            "output": str(self.output),
            "long_input": None if self.long_input is None else str(self.long_input),
            "long_output": None if self.long_output is None else str(self.long_output),
            "batch_share": str(self.batch_share),
        }


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Nano-dollars per million tokens."""

    prompt: int
    cached: int
    output: int


def _nano(usd: Decimal) -> int:
    return int((usd * NANO).to_integral_value(rounding=ROUND_HALF_UP))


def _price(paid_in: str, paid_out: str, long_in: str | None = None, long_out: str | None = None) -> Price:
    return Price(
        input=Decimal(paid_in),
        output=Decimal(paid_out),
        long_input=None if long_in is None else Decimal(long_in),
        long_output=None if long_out is None else Decimal(long_out),
    )


PRICES: Mapping[str, Price] = {
    "gemini-2.5-pro": _price("1.25", "10", "2.50", "15"),
    "gemini-2.5-flash": _price("0.30", "2.50"),
    "gemini-2.5-flash-lite": _price("0.10", "0.40"),
    "gemini-3-flash-preview": _price("0.50", "3"),
    "gemini-3.1-pro-preview": _price("2", "12", "4", "18"),
    "gemini-3.1-flash-lite": _price("0.25", "1.50"),
    "gemini-3.5-flash": _price("1.50", "9"),
    "gemini-3.5-flash-lite": _price("0.30", "2.50"),
    "gemini-3.6-flash": _price("1.50", "7.50"),
    # 0.12 in a batch, as a list of Vertex AI's prices that others keep has it; half would be what Google's Gemini API
    # asks. Where two are told, a budget is kept by the higher one.
    "gemini-embedding-001": replace(_price("0.15", "0"), batch_share=Decimal("0.8")),
}


def price_of(model: str, override: Price | Mapping[str, Any] | None = None) -> Price | None:
    """Return the price of *model*, or ``None`` when nobody knows it.

    :param model: an id or a path; a version (``-001``, ``@default``) is looked up by the name before it.
    :param override: the caller's own price: a :class:`Price`, or a dict of USD per million tokens such as
        ``{"input": 1.5, "output": 9}``, optionally with ``long_input``, ``long_output``, ``date``, and ``batch_share``
        where a batch does not cost half.
    """
    if isinstance(override, Price):
        return override
    if override is not None:
        return _parsed(override)
    if "/" in model and not re.search(r"(?:^|/)publishers/google/models/[^/]+$", model):
        return None
    name = model_id(model)
    return PRICES.get(name) or PRICES.get(_VERSION.sub("", name))


def _parsed(override: Mapping[str, Any]) -> Price:
    try:
        values = {key: _value(key, value) for key, value in override.items()}
        return Price(**{"date": GIVEN, **values})
    except (TypeError, ValueError, InvalidOperation, AttributeError) as error:
        known = ", ".join(field.name for field in fields(Price))
        raise ConfigurationError(
            f"price= wants USD per million tokens, like {{'input': 1.5, 'output': 9}} (known: {known}): {error}. "
            "Nothing was sent."
        ) from error


def _value(name: str, value: object) -> Any:
    if name == "date":
        return GIVEN if value is None else str(value)
    if value is None and name.startswith("long_"):
        return None
    if (found := _usd(value)) > 1 and name == "batch_share":
        raise ValueError(f"{value!r} is more than the whole")
    return found


def _usd(value: object) -> Decimal:
    usd = Decimal(str(value))
    if not usd.is_finite() or not 0 <= usd <= 10_000:
        raise ValueError(f"{value!r} is no price")
    return usd


def budget_of(value: object) -> Decimal | None:
    """Return what may be spent in USD: a number, or its text; ``None``, or nothing in a rendered text, is no limit."""
    if value is None or value == "":
        return None
    try:
        usd = Decimal(str(value).strip())
        if isinstance(value, bool) or not usd.is_finite() or usd < 0:
            raise ValueError(value)
    except (ValueError, InvalidOperation) as error:
        raise ConfigurationError(
            f"max_cost_usd={str(value)[:40]!r} is no sum in USD, like 25 or 0.5. Nothing was sent."
        ) from error
    return usd


def cost(
    price: Price | None,
    *,
    prompt: int | None,
    cached: int | None = None,
    output: int | None = None,
    thoughts: int | None = None,
    batch: bool = True,
) -> Decimal | None:
    """Return what one response cost in USD, to the billionth; ``None`` when price or prompt tokens are unknown.

    :param batch: of a batch job; otherwise of a direct call, at the standard price.
    """
    if price is None or prompt is None:
        return None
    rates = price.rates(long=prompt > LONG_CONTEXT, batch=batch)
    paid = max(prompt - (cached or 0), 0) * rates.prompt
    paid += (cached or 0) * rates.cached + ((output or 0) + (thoughts or 0)) * rates.output
    return Decimal((paid + MILLION // 2) // MILLION).scaleb(-9)
