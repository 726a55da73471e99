"""Going on with a job that ended before all of its rows were run: what it wrote is what the next job reads.

A row has to have a line there to be run at all. Whether the service writes lines of rows that a job did not come to is
not documented; where it does not, they are sent as requests of their own.

Source: page "Resume a job": the next job runs the requests that failed or were not finished, and merges the others.
How it tells them apart is not documented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.batch.parts import MAX_BYTES


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A file, or a table, in the state in which it was seen."""

    uri: str
    """``gs://….jsonl`` or ``bq://project.dataset.table``."""
    checksum: str = ""
    """crc32c of a file as Cloud Storage reports it (base64)."""


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The job that the job of a part goes on with."""

    job_name: str
    ended: float | None
    """When it ended, in epoch seconds: what is answered later was not answered by it."""
    requests: Stored
    """What it was asked: the lines of all these rows come back, also of those that it had answered."""
    outputs: tuple[Stored, ...]
    """What it wrote: all files, in their order, or one table."""

    @property
    def decisive(self) -> list[str]:
        """What decides the answers of a job that goes on with it."""
        return [self.job_name, *(output.checksum for output in self.outputs)]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Resumed:
        """Read what ``dataclasses.asdict`` made of it."""
        return cls(
            job_name=document["job_name"],
            ended=document["ended"],
            requests=Stored(**document["requests"]),
            outputs=tuple(Stored(**output) for output in document["outputs"]),
        )


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Rows that a job wrote a line of, but no response: a job that goes on with it runs all of them."""

    rows: int = 0
    sent_again: int = 0
    """Those of them that a repair would send again as they were."""
    mismatched: int = 0
    """Others, whose line asks what another row asks: that would be asked, and paid for, under the wrong key."""
    asked_since: bool = False
    """Whether a later round has asked for rows: what it has answered would be paid for once more."""

    @property
    def why_not(self) -> str | None:
        """What keeps another job from going on for them; ``None`` when nothing does."""
        if not self.rows or not self.sent_again:
            return "its output has no row that it would be run for"
        if self.asked_since:
            return "a later round has asked for rows since"
        return "rows of its output ask what others ask" if self.mismatched else None


def why_not(*, readable: bool, sizes: Sequence[int]) -> str | None:
    """Return what keeps another job from going on with one that ended early; ``None`` when nothing does.

    :param readable: whether the load could read every line of its output, and none came twice: an import fails at one
        that is no JSON, and a row with two lines would be run, and paid for, for each of them that has no response.
    :param sizes: bytes of its output files; of a table, nothing that a job would have to bear.
    """
    if not sizes:
        return "it wrote no output"
    if not readable:
        return "nobody can say that every line of its output is whole, and there once"
    if sum(sizes) > MAX_BYTES:
        return f"its output has more than the {MAX_BYTES:,} bytes that a job reads"
    return None
