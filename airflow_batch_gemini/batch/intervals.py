"""How far a few rows speak for all of them: 95 % intervals, without a random number.

A sample of all there is leaves no doubt: the finite population correction lets an interval shrink to a point. Rows
that stand for more or fewer others than the rest weigh accordingly, and count for as many rows as they are worth
(Kish's effective sample size).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_Z = 1.959964
"""Standard normal distribution, 97.5 %."""
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t, 97.5 %, by degrees of freedom from 1 on."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What was measured, and between which bounds all rows probably are."""

    low: float
    expected: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the three numbers, rounded to what they are worth."""
        return {name: round(getattr(self, name), 6) for name in ("low", "expected", "high")}

    @classmethod
    def from_dict(cls, value: Any) -> Interval | None:
        """Read what :meth:`to_dict` wrote; ``None`` stays nothing."""
        return None if value is None else cls(**value)


def mean(values: Sequence[float], weights: Sequence[float], *, population: int) -> Interval | None:
    """Return the mean per row with Student's t interval, never below 0.

    ``None`` for no rows, and for a single one of several: that says nothing of how much they differ.
    """
    if not values:
        return None
    total, worth = sum(weights), _worth(weights)
    middle = sum(weight * value for weight, value in zip(weights, values, strict=True)) / total
    if len(values) >= population:
        return Interval(low=middle, expected=middle, high=middle)
    if worth < 2:
        return None
    spread = (
        sum(weight * (value - middle) ** 2 for weight, value in zip(weights, values, strict=True)) / total
    )
    error = math.sqrt(spread / (worth - 1) * (1 - len(values) / population))
    reach = _t(worth - 1) * error
    return Interval(low=max(middle - reach, 0.0), expected=middle, high=middle + reach)


def share(hits: Sequence[bool], weights: Sequence[float], *, population: int) -> Interval | None:
    """Return the share of rows that are hit, with Wilson's interval; ``None`` for no rows."""
    if not hits:
        return None
    p = sum(weight for weight, hit in zip(weights, hits, strict=True) if hit) / sum(weights)
    if len(hits) >= population:
        return Interval(low=p, expected=p, high=p)
    n = _worth(weights) * (population - 1) / (population - len(hits))
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    low, high = max(middle - reach, 0.0), min(middle + reach, 1.0)
    # What was never seen, or always, may be never or always so; rounding must not say otherwise.
    return Interval(low=0.0 if p == 0 else low, expected=p, high=1.0 if p == 1 else high)


def _worth(weights: Sequence[float]) -> float:
    """Return how many rows of equal weight say as much."""
    return float(sum(weights) ** 2 / sum(weight**2 for weight in weights))


def _t(freedom: float) -> float:
    """Return Student's t; between whole degrees the cautious neighbour, beyond the table its expansion."""
    whole = int(freedom + 1e-9)
    return _T[whole - 1] if whole <= len(_T) else _Z + (_Z**3 + _Z) / (4 * whole)
