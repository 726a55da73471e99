"""How much of a repair may be sent: so many rows, and so much money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.pricing import NANO, Price, cost
from airflow_batch_gemini.batch.repair import Action, Treatment
from airflow_batch_gemini.exceptions import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the rows of one outcome stand after the rounds so far."""

    outcome: str
    rows: int
    paid: int = 0
    """Rows that say their tokens."""
    prompt: int = 0
    output: int = 0
    """Tokens of answers and thoughts, of all paid rows together."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Standing:
        """Read a row of the query for it."""
        return cls(
            outcome=str(row["outcome"]),
            rows=int(row["row_count"]),
            paid=int(row["paid"] or 0),
            prompt=int(row["prompt"] or 0),
            output=int(row["output"] or 0),
        )


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What may be sent at most; rows are taken in their order until one does not fit any more.

    :param row_costs: what a row costs by the place of its treatment, in billionths of a dollar.
    """

    max_rows: int | None = None
    max_nano: int | None = None
    row_costs: tuple[int, ...] = ()

    def without(self, rows: int, treatment: int) -> Allowance | None:
        """Return what is left once *rows* of one treatment are sent; ``None`` when they are more than may be."""
        max_rows = None if self.max_rows is None else self.max_rows - rows
        max_nano = None if self.max_nano is None else self.max_nano - rows * self.row_costs[treatment]
        if (max_rows is not None and max_rows < 0) or (max_nano is not None and max_nano < 0):
            return None
        return replace(self, max_rows=max_rows, max_nano=max_nano)

    def taking(self) -> Taking:
        """Begin to take."""
        return Taking(self)


class Taking:
    """Takes rows one after the other. Once one does not fit none does: what is sent is the beginning of the rows."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._nano = 0
        self.rows = 0
        self.left = 0
        """Rows that did not fit."""

    def take(self, treatment: int) -> bool:
        """Whether one more row may be sent."""
        allowance = self._allowance
        nano = self._nano + (allowance.row_costs[treatment] if allowance.row_costs else 0)
        if (
            self.left
            or (allowance.max_rows is not None and self.rows >= allowance.max_rows)
            or (allowance.max_nano is not None and nano > allowance.max_nano)
        ):
            self.left += 1
            return False
        self._nano = nano
        self.rows += 1
        return True


def allowance(
    standings: Iterable[Standing],
    treatments: Sequence[Treatment],
    *,
    max_rows: int | None,
    max_cost_usd: Decimal | None,
    price: Price | None,
) -> Allowance:
    """Return what a repair may send.

    What a row will cost is what the rows so far did cost on the average; a truncated one as many times more as it is
    given tokens.
    """
    if max_cost_usd is None:
        return Allowance(max_rows=max_rows)
    found = list(standings)
    costs = [_row_cost(found, treatment, price) for treatment in treatments]
    known = [one for one in costs if one is not None]
    if len(known) < len(costs):
        why = "the price of the model is unknown" if price is None else "no row of the batch was answered"
        raise ConfigurationError(
            f"max_cost_usd={max_cost_usd} cannot be kept: {why}, so nobody can say what a row costs. Nothing was sent; "
            "give price=, or max_rows= instead."
        )
    return Allowance(max_rows=max_rows, max_nano=int(max_cost_usd * NANO), row_costs=tuple(known))


def _row_cost(standings: Sequence[Standing], treatment: Treatment, price: Price | None) -> int | None:
    paid = sum(one.paid for one in standings)
    if not paid:
        return None
    prompt, output = sum(one.prompt for one in standings), sum(one.output for one in standings)
    answer = output / paid
    if treatment.action is Action.MORE_TOKENS:
        cut = [one for one in standings if one.outcome == Outcome.TRUNCATED and one.paid]
        longest = sum(one.output for one in cut) / sum(one.paid for one in cut) if cut else answer
        answer = longest * treatment.times
    usd = cost(price, prompt=-(-prompt // paid), output=round(answer))
    return None if usd is None else int(usd * NANO)
