"""A few request lines that stand for all of them: of every part, every size and every kind of media.

Taken in two steps. While lines stream by, a bounded number of them is kept, spread evenly over all (:class:`Sampler`);
in the end the wanted number is chosen out of those by strata (:func:`spread`). Nothing is left to chance: the same
lines give the same sample, however they were handed over.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from airflow_batch_gemini.batch.request_lines import RequestLines

SAMPLE_ROWS = 20
MAX_KEPT = 1024
"""Lines kept while others stream by."""
MAX_KEPT_BYTES = 16 << 20

FEWEST = 2
"""Of each kind of media, where there is room: one alone does not tell how much they differ."""

_MIME_TYPE = re.compile(rb'"mime(?:T|_t)ype"\s*:\s*"([A-Za-z]+)/([A-Za-z0-9.+-]+)')
_MIX = 0x9E3779B97F4A7C15
_BITS64 = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class PartSize:
    """How large a part is: every line of it, not only those of the sample."""

    part: int
    rows: int
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, repr=False)
class SampledLine:
    """One line of the sample. Its representation shows no text of it."""

    part: int
    row: int
    """Counted from 0 over all parts."""
    line: bytes

    def __repr__(self) -> str:
        return f"SampledLine(part={self.part}, row={self.row}, size={self.size})"

    @property
    def size(self) -> int:
        """Bytes of the line."""
        return len(self.line)

    @cached_property
    def media(self) -> str:
        """What kinds of media the request has, like ``image+pdf``; ``text`` when it has none."""
        kinds = {_kind(*found.groups()) for found in _MIME_TYPE.finditer(self.line)}
        return "+".join(sorted(kinds)) or "text"

    @cached_property
    def request(self) -> dict[str, Any]:
        """The request, with or without a key around it; empty for what is none."""
        try:
            document = orjson.loads(self.line)
        except orjson.JSONDecodeError:
            return {}
        request = document.get("request", document) if isinstance(document, dict) else None
        return request if isinstance(request, dict) else {}


class Sampler:
    """Watches request lines stream by, and costs them next to nothing: a look at a few lines.

    Lines are thought of as blocks of 1, 2, 4, 8 … lines, larger ones the more lines there are; of each block one line
    is kept, at a place within it that looks random, so that lines which take turns are not mistaken for all.
    """

    def __init__(self, *, max_kept: int = MAX_KEPT, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._most, self._most_bytes = max_kept, max_kept_bytes
        self._level = 0
        self._kept: dict[int, SampledLine] = {}
        self._kept_bytes = 0
        self._rows: Counter[int] = Counter()
        self._sizes: Counter[int] = Counter()
        self._seen = 0

    def add(self, part: int, lines: RequestLines) -> None:
        """Look at the next lines, which are in *part*."""
        self._rows[part] += len(lines)
        self._sizes[part] += lines.size
        first, self._seen = self._seen, self._seen + len(lines)
        for block in range(first >> self._level, (self._seen - 1 >> self._level) + 1):
            row = _row_of(block, self._level)
            if first <= row < self._seen:
                self._keep(SampledLine(part=part, row=row, line=lines[row - first]))
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._kept_bytes > self._most_bytes):
            self._thin_out()

    @property
    def sizes(self) -> tuple[PartSize, ...]:
        """How large each part is, in order."""
        return tuple(
            PartSize(part=part, rows=self._rows[part], size=self._sizes[part]) for part in sorted(self._rows)
        )

    @property
    def kept(self) -> tuple[SampledLine, ...]:
        """Every line that is kept, each standing for as many others, in order."""
        return tuple(self._kept.values())

    def sample(self, count: int = SAMPLE_ROWS) -> tuple[SampledLine, ...]:
        """Return at most *count* lines, in order."""
        return spread(self.kept, count)

    def _keep(self, line: SampledLine) -> None:
        self._kept[line.row] = line
        self._kept_bytes += line.size

    def _thin_out(self) -> None:
        """Make blocks twice as large: of two lines that were kept, one is."""
        self._level += 1
        kept = self._kept.items()
        self._kept = {row: line for row, line in kept if _stands_for(row, self._level)}
        self._kept_bytes = sum(line.size for line in self._kept.values())


def spread(
    lines: Sequence[SampledLine], count: int, *, weights: Mapping[str, float] | None = None
) -> tuple[SampledLine, ...]:
    """Choose at most *count* of *lines*, in order.

    By kinds of media in proportion, but some of each kind; within a kind evenly over the sizes; and within sizes that
    are much alike, of the parts that have the fewest yet.

    :param weights: by kind what it is in proportion to; by default to how many there are.
    """
    kinds: dict[str, list[SampledLine]] = defaultdict(list)
    for line in lines:
        kinds[line.media].append(line)
    members = {kind: len(found) for kind, found in kinds.items()}
    chosen: list[SampledLine] = []
    taken: Counter[int] = Counter()
    for kind, share in _shares(members, count, weights or members).items():
        for stratum in _strata(sorted(kinds[kind], key=lambda line: (line.size, line.row)), share):
            middle = (len(stratum) - 1) / 2
            _, best = min(
                enumerate(stratum), key=lambda at: (taken[at[1].part], abs(at[0] - middle), at[1].row)
            )
            taken[best.part] += 1
            chosen.append(best)
    return tuple(sorted(chosen, key=lambda line: line.row))


def _shares(members: Mapping[str, int], count: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Divide *count*: one for each kind, the heaviest first, a second one, and the rest by who lacks most."""
    count = min(count, sum(members.values()))
    total = sum(weights[kind] for kind in members) or 1
    shares = dict.fromkeys(sorted(members, key=lambda kind: (-weights[kind], kind))[:count], 1)
    for _ in range(count - len(shares)):
        room = [kind for kind in shares if shares[kind] < members[kind]]
        lacking = {kind: count * weights[kind] / total - shares[kind] for kind in room}
        shares[max(room, key=lambda kind: (shares[kind] < FEWEST, lacking[kind], kind))] += 1
    return shares


def _strata(lines: Sequence[SampledLine], count: int) -> Iterator[Sequence[SampledLine]]:
    """Cut *lines* into *count* runs whose lengths differ by one at most."""
    for index in range(count):
        yield lines[len(lines) * index // count : len(lines) * (index + 1) // count]


def _row_of(block: int, level: int) -> int:
    """Return the row that stands for a block of ``2 ** level`` rows; of the very first block it is the first row."""
    for above in range(level, 0, -1):
        block = 2 * block + _bit(block, above)
    return block


def _stands_for(row: int, level: int) -> bool:
    """Whether *row*, which stands for a block of half the size, stands for the block at *level* too."""
    return row >> level - 1 & 1 == _bit(row >> level, level)


def _bit(block: int, level: int) -> int:
    """Toss a coin that always falls the same way for the same block (the finalizer of SplitMix64): which half."""
    if not block:
        return 0
    mixed = (block * 64 + level + 1) * _MIX & _BITS64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _BITS64
    return (mixed ^ mixed >> 27) >> 40 & 1


def _kind(major: bytes, minor: bytes) -> str:
    """Return ``image``, ``audio``, ``video``, ``pdf``, or ``document`` for everything else."""
    kind = "pdf" if minor.lower() == b"pdf" else major.decode().lower()
    return kind if kind in {"image", "audio", "video", "pdf"} else "document"
