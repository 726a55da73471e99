"""How far a reader has come in its source, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SHARE = 0.001
"""Of the source; before that much is read, what is left is anybody's guess."""


@dataclass
class Progress:
    """What was read of a source, in bytes or rows; ``total`` is 0 where nobody knows it."""

    total: float = 0.0
    done: float = 0.0

    def add(self, done: float) -> None:
        """Count what was read."""
        self.done += done

    def left(self, elapsed: float) -> float | None:
        """Return the seconds that the rest takes at the pace so far; ``None`` when that cannot be told."""
        if not self.total or self.done < self.total * MIN_SHARE:
            return None
        return max(self.total - self.done, 0.0) * elapsed / self.done


def duration(seconds: float) -> str:
    """Return *seconds* for people: ``8 s``, ``2 min 5 s``, ``3 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
