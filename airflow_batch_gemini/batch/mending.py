"""The request lines of a repair, made of those of the first round as they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from airflow_batch_gemini.batch.allowance import Allowance
from airflow_batch_gemini.batch.render import key_of
from airflow_batch_gemini.batch.repair import Action, Treatment
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.reuse import ROW_BYTES, RowSet, key_number
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.batch.treatment import fingerprint_of, treated_line


class Mending:
    """Makes lines of lines, as a :class:`~airflow_batch_gemini.batch.render.Renderer` makes them of rows.

    Rows that nobody chose leave no line. Some twenty bytes are kept of each row that was chosen.

    :param chosen: by the place of its treatment, the keys of the rows.
    """

    def __init__(
        self, treatments: Sequence[Treatment], chosen: Mapping[int, RowSet], allowance: Allowance
    ) -> None:
        self._treatments = treatments
        self._chosen = chosen
        self._taking = allowance.taking()
        self._fingerprints = RowSet()
        self.sent: Counter[Action] = Counter()
        """Rows by what is done for them."""
        self.given_up = 0
        """Rows for which nothing more can be done."""

    @property
    def left(self) -> int:
        """Rows that the allowance leaves as they are."""
        return self._taking.left

    def make(self, batch: RowBatch) -> tuple[list[str], RequestLines]:
        """Return the key and the line of every row that is sent."""
        keys, lines = [], []
        for line in batch.lines or ():
            key = key_of(line)
            place = self._place(key_number(key))
            if place is not None and (made := self._mended(line, place)) is not None:
                keys.append(key)
                lines.append(made)
        return keys, RequestLines.of(lines)

    def sends(self, fingerprint: str) -> bool:
        """Whether the request that is known by *fingerprint* is sent."""
        return _number(fingerprint) in self._fingerprints

    def _place(self, number: int) -> int | None:
        return next((place for place, rows in self._chosen.items() if number in rows), None)

    def _mended(self, line: bytes, place: int) -> bytes | None:
        treatment = self._treatments[place]
        made = treated_line(line, treatment)
        if made is None:
            self.given_up += 1
            return None
        if not self._taking.take(place):
            return None
        self.sent[treatment.action] += 1
        if fingerprint := fingerprint_of(line):
            self._fingerprints.add(_number(fingerprint))
        return made


def _number(fingerprint: str) -> int:
    return int(fingerprint[: 2 * ROW_BYTES], 16)
