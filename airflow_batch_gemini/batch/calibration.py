"""From what requests weigh to tokens: by what was counted of a few of them, else by a rule of thumb."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from airflow_batch_gemini.batch.media_tokens import BYTES_PER_TOKEN, Tokens
from airflow_batch_gemini.batch.weighing import Weight

UNCOUNTED = (0.6, 1.0, 1.6)
"""What tokens of text may be where nobody counted any, against four bytes each."""
COUNTED_ONCE = 0.25
"""How far off a single count may be for all others of its kind."""
LEAST_ERROR = 0.01
SIGMAS = 2.0
"""Standard errors on either side of what is expected: the truth lies between in some 19 of 20 cases."""


@dataclass(frozen=True)
class Counted:
    """A request whose tokens were counted."""

    kind: str
    weight: Weight
    tokens: int


@dataclass(frozen=True)
class Calibration:
    """How weights are read.

    :param per_byte: tokens for each byte of text; ``None`` where nobody counted text alone.
    :param scales: by kind of media what the rules' tokens are to be multiplied by.
    :param errors: by kind of media how far off a reading may be, as a share of it.
    """

    per_byte: float | None = None
    scales: Mapping[str, float] | None = None
    errors: Mapping[str, float] | None = None

    def tokens(self, kind: str, weight: Weight) -> Tokens:
        """Return the tokens of a request that was not counted."""
        scale = (self.scales or {}).get(kind)
        text = Tokens.exactly(weight.text * (1 / BYTES_PER_TOKEN if self.per_byte is None else self.per_byte))
        if self.per_byte is None and scale is None:
            text = text.times(*UNCOUNTED)
        media = weight.media if scale is None else Tokens.exactly(weight.media.expected * scale)
        error = (self.errors or {}).get(kind, 0.0)
        return (text + media).times(max(1 - error, 0.0), 1, 1 + error)

    def knows(self, kind: str) -> bool:
        """Whether media of this kind were counted."""
        return kind in (self.scales or {})


def calibrate(counted: Sequence[Counted], *, rows: int) -> Calibration:
    """Learn from what was counted; from nothing comes the rule of thumb.

    :param rows: how many requests there are: with every one of them counted nothing is left to be wrong.
    """
    kinds: dict[str, list[Counted]] = defaultdict(list)
    for one in counted:
        kinds[one.kind].append(one)
    text = sum(one.weight.text for one in kinds["text"])
    per_byte = sum(one.tokens for one in kinds["text"]) / text if text else None
    rate = 1 / BYTES_PER_TOKEN if per_byte is None else per_byte
    scales: dict[str, float] = {}
    for kind, members in kinds.items():
        if by_rule := sum(one.weight.media.expected for one in members):
            rest = sum(one.tokens - one.weight.text * rate for one in members)
            scales[kind] = max(rest, 0.0) / by_rule
    found = Calibration(per_byte, scales)
    share = math.sqrt(max(1 - len(counted) / rows, 0.0)) if rows else 0.0
    errors = {kind: share * _error(found, members) for kind, members in kinds.items() if members}
    return Calibration(per_byte, scales, errors)


def _error(found: Calibration, members: Sequence[Counted]) -> float:
    if len(members) == 1:
        return COUNTED_ONCE
    off = [one.tokens - found.tokens(one.kind, one.weight).expected for one in members]
    return max(relative_error(off, sum(one.tokens for one in members)), LEAST_ERROR)


def relative_error(off: Iterable[float], total: float) -> float:
    """Return how far a total may be off, as a share of it, when its members are off by so much each."""
    each = list(off)
    if len(each) < 2 or not total:
        return 0.0
    spread = math.sqrt(sum(one * one for one in each) / (len(each) - 1))
    return SIGMAS * spread * math.sqrt(len(each)) / total
