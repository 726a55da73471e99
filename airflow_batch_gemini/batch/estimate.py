"""What a batch will cost before anything is paid: tokens and USD, each with bounds, and how they were found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal

from airflow_batch_gemini.batch.media_tokens import ASSUMED, Tokens
from airflow_batch_gemini.batch.pricing import GIVEN
from airflow_batch_gemini.exceptions import GateError

OutputFrom = Literal["canary", "limits", "model", "none"]
"""Measured by a canary; ``maxOutputTokens`` of the requests; the model's own limit, where some set none; vectors."""

_OUTPUT: Mapping[OutputFrom, str] = {
    "canary": "as a canary measured",
    "limits": "at most maxOutputTokens, as no canary measured it",
    "model": "at most the model's limit, as no canary measured it and not every request sets maxOutputTokens",
    "none": "vectors, which cost nothing",
}
_HEADS = ("part", "rows", "input tokens", "output tokens", "USD low", "expected", "high")


class OutputTokens(Tokens):
    """Tokens of one answer, thoughts included, on average over the batch: at least, expected, at most."""


@dataclass(frozen=True)
class Usd:
    """A sum in USD: at least, expected, at most; to the billionth."""

    low: Decimal = Decimal(0)
    expected: Decimal = Decimal(0)
    high: Decimal = Decimal(0)

    def __add__(self, other: Usd) -> Usd:
        return Usd(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def to_dict(self) -> dict[str, str]:
        """Return the bounds as decimal numbers in text, which JSON does not round."""
        return {name: format(getattr(self, name), "f") for name in ("low", "expected", "high")}

    @classmethod
    def from_dict(cls, value: Mapping[str, str]) -> Usd:
        """Read what :meth:`to_dict` returned."""
        return cls(**{name: Decimal(text) for name, text in value.items()})


@dataclass(frozen=True, kw_only=True)
class PartEstimate:
    """One part, or all of them together."""

    part: int
    """-1: all parts together."""
    rows: int
    input_tokens: Tokens
    output_tokens: Tokens
    usd: Usd | None
    """``None``: nobody knows the model's price."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "usd": None if self.usd is None else self.usd.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PartEstimate:
        """Read what :meth:`to_dict` returned."""
        return cls(
            part=value["part"],
            rows=value["rows"],
            input_tokens=Tokens(**value["input_tokens"]),
            output_tokens=Tokens(**value["output_tokens"]),
            usd=None if value["usd"] is None else Usd.from_dict(value["usd"]),
        )


@dataclass(frozen=True, kw_only=True)
class BatchEstimate:
    """A batch, part by part."""

    model: str
    parts: tuple[PartEstimate, ...]
    price_date: str | None
    """As of when the prices are; ``None``: unknown."""
    sampled: int
    """Requests that were weighed; the others are taken to be like them."""
    counted: int
    """Requests of which ``countTokens`` told the tokens; 0: text was taken at four bytes a token."""
    output_from: OutputFrom
    assumed: tuple[str, ...] = ()
    """Kinds of media whose size nobody told."""

    @property
    def total(self) -> PartEstimate:
        """All parts together."""
        sums = [part.usd for part in self.parts if part.usd is not None]
        return PartEstimate(
            part=-1,
            rows=sum(part.rows for part in self.parts),
            input_tokens=sum((part.input_tokens for part in self.parts), Tokens()),
            output_tokens=sum((part.output_tokens for part in self.parts), Tokens()),
            usd=sum(sums, Usd()) if len(sums) == len(self.parts) else None,
        )

    @property
    def usd(self) -> Usd | None:
        """What the batch costs; ``None``: nobody knows the model's price."""
        return self.total.usd

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the sums of all parts are among them for whoever reads it."""
        parts = [part.to_dict() for part in self.parts]
        return {**asdict(self), "parts": parts, "assumed": list(self.assumed), "total": self.total.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> BatchEstimate:
        """Read what :meth:`to_dict` returned."""
        plain = {name: found for name, found in value.items() if name != "total"}
        parts = tuple(PartEstimate.from_dict(part) for part in value["parts"])
        return cls(**{**plain, "parts": parts, "assumed": tuple(value["assumed"])})

    def table(self) -> str:
        """Return the estimate for people: a line a part, one for all, and how it was found."""
        rows = [_HEADS, *(_cells(part) for part in self.parts)]
        if len(self.parts) > 1:
            rows.append(_cells(self.total))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join([*lines, *self.notes()])

    def notes(self) -> Iterable[str]:
        """Yield how the estimate was found, a sentence each."""
        if self.price_date is None:
            yield f"Price: nobody knows that of {self.model}; give it to have a sum."
        else:
            yield f"Price: {self.model} {_dated(self.price_date)}, batch rate, nothing from the cache."
        how = (
            f"countTokens for {self.counted:,}"
            if self.counted
            else "four bytes of text a token, none counted"
        )
        yield f"Input: {self.sampled:,} of {self.total.rows:,} requests weighed, {how}."
        if self.assumed:
            yield f"Assumed for want of their size: {', '.join(ASSUMED[kind] for kind in self.assumed)}."
        yield f"Output: {_OUTPUT[self.output_from]}."


def check_budget(estimate: BatchEstimate, max_cost_usd: Decimal | None) -> None:
    """Refuse a batch that may cost more than it is allowed to.

    The high estimate decides, since a budget is a promise. Without a canary that takes every answer at its longest.

    :raises GateError: naming the estimate, and what would narrow it.
    """
    usd = estimate.usd
    if max_cost_usd is None or (usd is not None and usd.high <= max_cost_usd):
        return
    if usd is None:
        raise GateError(
            f"Nobody knows the price of {estimate.model}, so max_cost_usd={max_cost_usd:f} cannot be kept. Nothing was "
            "sent; give price=, USD per million tokens."
        )
    fate = "Nothing was sent"
    if estimate.output_from == "canary":
        fate = "No job was sent, and the canary's few answers are paid for"
    narrower = [] if estimate.output_from in {"canary", "none"} else ["lower maxOutputTokens", "ask a canary"]
    narrower += [] if estimate.counted else ["let tokens be counted"]
    raise GateError(
        f"The batch of {estimate.total.rows:,} requests may cost {money(usd.high)} USD (low {money(usd.low)}, expected "
        f"{money(usd.expected)}; price {_dated(estimate.price_date)}), more than max_cost_usd={max_cost_usd:f}. "
        f"Output: {_OUTPUT[estimate.output_from]}. {fate}; "
        f"{', or '.join([*narrower, 'send fewer rows', 'raise max_cost_usd'])}."
    )


def check_floor(estimate: BatchEstimate, max_cost_usd: Decimal | None) -> None:
    """Refuse a batch that costs more than it is allowed to even if its answers were empty: no canary can save it.

    :param estimate: with no token for answers.
    :raises GateError: naming the low estimate.
    """
    usd = estimate.usd
    if max_cost_usd is not None and usd is not None and usd.low > max_cost_usd:
        raise GateError(
            f"The batch of {estimate.total.rows:,} requests costs at least {money(usd.low)} USD for its prompts "
            f"alone (price {_dated(estimate.price_date)}), more than max_cost_usd={max_cost_usd:f}. Nothing was "
            "sent, and the canary was not asked; send fewer rows, or raise max_cost_usd."
        )


def money(usd: Decimal | float) -> str:
    """Return a sum for people: cents, and more of it where it is less than a dollar."""
    return f"{usd:,.2f}" if usd >= 1 else f"{usd:.4f}"


def _dated(date: str | None) -> str:
    return "as given" if date == GIVEN else f"as of {date}"


def _cells(part: PartEstimate) -> tuple[str, ...]:
    usd = part.usd
    sums = ("unknown",) * 3 if usd is None else (money(usd.low), money(usd.expected), money(usd.high))
    tokens = (f"{round(part.input_tokens.expected):,}", f"{round(part.output_tokens.expected):,}")
    return ("all" if part.part < 0 else str(part.part), f"{part.rows:,}", *tokens, *sums)
