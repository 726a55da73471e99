"""How long a job stays in a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Pace:
    """``immediate``, ``looks:N`` or ``seconds:N``: each of PENDING and RUNNING lasts that long at least.

    A look is a get, or a listing that shows the job. Rows are answered evenly over RUNNING, so that a job
    stopped halfway has half of its answers.
    """

    kind: Literal["immediate", "looks", "seconds"]
    amount: float = 0.0

    @staticmethod
    def parse(text: str) -> Pace:
        """Read a pace as a person writes it; raise ``ValueError`` on anything else."""
        kind, colon, amount = text.partition(":")
        try:
            if kind == "immediate" and not colon:
                return Pace("immediate")
            if kind == "looks" and int(amount) >= 0:
                return Pace("looks", int(amount))
            if kind == "seconds" and 0 <= float(amount) < 1e9:
                return Pace("seconds", float(amount))
        except ValueError:
            pass
        raise ValueError(f"pace is immediate, looks:N or seconds:N, not {text!r}")

    def share(self, *, looks: int, elapsed: float) -> float:
        """Return how much of a stage has passed, 0 to 1, after so many looks and seconds in it."""
        if self.kind == "looks":
            return min(1.0, looks / (self.amount + 1))
        if self.kind == "seconds" and self.amount > 0:
            return min(1.0, max(0.0, elapsed) / self.amount)
        return 1.0

    def next_step(self, *, elapsed: float) -> float | None:
        """Return the seconds until the stage is worth another step; None when only a look moves it."""
        if self.kind == "looks":
            return None
        if self.kind == "immediate":
            return 0.0
        return max(0.0, min(self.amount - elapsed, max(self.amount / 10, 0.05)))
