"""How far a reader has come in its source, how long the rest will take, and both for people."""

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


def size(count: float) -> str:
    """Return *count* bytes for people: ``312 B``, ``17.3 kB``, ``1,048.6 MB``."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count:.0f} B"


def counted(count: int, one: str) -> str:
    """Return how many of something there are: ``1 part``, ``2,000 parts``."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
