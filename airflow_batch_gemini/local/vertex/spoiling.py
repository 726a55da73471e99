"""Output that is not whole: what the knobs make of the answered lines on their way into a file or a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from airflow_batch_gemini.local.dice import draw
from airflow_batch_gemini.local.knobs import Knobs

_NOT_UTF8 = b"\xff\xfe"
_MARKS = (b'"text":"', b'":"')


@dataclass(frozen=True, slots=True)
class Spoiler:
    """The troubles of the output of one job; the same knobs, seed and job, the same troubles."""

    knobs: Knobs
    seed: int
    job: str

    def lines(self, answered: Iterable[bytes], *, as_text: bool = True) -> Iterator[bytes]:
        """Yield the lines of the output.

        :param as_text: whether it is a file; a row of a table is either there or not.
        """
        if self.knobs.empty_output:
            return
        for number, line in enumerate(answered):
            yield self._spoiled(line, number) if as_text else line
            if self._meets("unknown_key_rate", number):
                yield _of_nobody(line, number)

    def files(self, shards: int) -> range:
        """Return which of so many files are written."""
        return range(max(0, shards - self.knobs.lost_shards))

    def cut(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the lines of the last file: the last of them may end in the middle."""
        held = b""
        for line in lines:
            yield held
            held = line
        yield held[: len(held) // 2] if self.knobs.cut_last_line else held

    def _spoiled(self, line: bytes, number: int) -> bytes:
        if self._meets("corrupt_line_rate", number):
            return line[: len(line) // 2] + b"\n"
        if self._meets("invalid_utf8_rate", number):
            mark = next(mark for mark in _MARKS if mark in line)
            return line.replace(mark, mark + _NOT_UTF8, 1)
        return line

    def _meets(self, knob: str, number: int) -> bool:
        rate = getattr(self.knobs, knob)
        return bool(rate) and draw(self.seed, self.job, number, knob) < rate


def _of_nobody(line: bytes, number: int) -> bytes:
    return orjson.dumps(orjson.loads(line) | {"key": f"k_nobody_{number}"}, option=orjson.OPT_APPEND_NEWLINE)
