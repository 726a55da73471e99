"""What is counted of a story: rows doubled and lost, and copies that nobody has to delete."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deaths import Moment


def balance(
    expected: Mapping[str, str], results: Sequence[Mapping[str, Any]], *, billed: int
) -> tuple[int, int]:
    """Return how many rows are doubled and how many are lost."""
    found = Counter((row["key"], row["text"]) for row in results)
    right = [key for key, text in expected.items() if found[key, text]]
    doubled = len(results) - len({row["key"] for row in results})
    lost = max(len(expected) - len(right), len(expected) - billed)
    return doubled + max(0, billed - len(expected)), lost


def orphans(moments: Iterable[Moment]) -> int:
    """Return how many copies of the input nobody is going to use and nobody has to delete.

    Whoever dies between the copy and the intent has told nobody of the copy, and a refused post needs no fence.
    """
    untold: dict[int, int] = defaultdict(int)
    refused = 0
    for moment in moments:
        if moment.when == "before" or moment.error not in {None, "PreconditionLost"}:
            continue
        if moment.step in {"copy input", "start job clone"}:
            untold[moment.attempt] = 1
        elif moment.step in {"delete input", "start job drop"} or (
            moment.step == "write ledger INTENT" and not moment.error
        ):
            untold[moment.attempt] = 0
        elif moment.step == "write ledger REFUSED":
            refused += 1
    return sum(untold.values()) + refused
