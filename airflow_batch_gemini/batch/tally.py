"""What the audit of a load counted, and what must be true of it before anything is published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.exceptions import AccountingError, OutputError

_BY_PART = ("answered", "returned", "anew")
TOKENS = ("prompt", "cached", "output", "thoughts", "total")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the audit query counted, before anything was published."""

    outcomes: Mapping[str, int]
    tokens: Mapping[str, int]
    cost_usd: Decimal | None
    """Of the rows whose cost is known; ``None`` where there are answers, and that of none is."""
    without_tokens: int
    """Rows with an answer that does not say its tokens: their cost is unknown and not part of the sum."""
    lines: int
    """Output lines landed."""
    unknown: int
    """Output lines whose key is no request of this batch."""
    unverified: int = 0
    """Requests whose line does not repeat them, so that only the key says whose answer it is."""
    answered: Mapping[int, int] = field(default_factory=dict)
    """Requests of every part that a line came back for."""
    returned: Mapping[int, int] = field(default_factory=dict)
    """By part, lines of rows that a resumed job was not asked for: the job before it had answered them."""
    anew: Mapping[int, int] = field(default_factory=dict)
    """By part, those of them that say they are later than that job."""

    @property
    def rows(self) -> int:
        """Rows that have an outcome."""
        return sum(self.outcomes.values())

    @property
    def duplicates(self) -> int:
        """Output lines beyond the first of their key."""
        return self.lines - self.unknown - sum(self.returned.values()) - sum(self.answered.values())


def tally(rows: Iterable[Mapping[str, Any]]) -> Tally:
    """Read the rows of the audit query: one per outcome, some per part, one for each other thing it counts."""
    found = list(rows)
    counted = {str(row["outcome"]): row for row in found if row["outcome"] not in _BY_PART}
    by_part = {
        name: {whole(row["part"]): whole(row["row_count"]) for row in found if row["outcome"] == name}
        for name in _BY_PART
    }
    outcomes = {outcome.value: counted.get(outcome.value) for outcome in Outcome}
    had = [row for row in outcomes.values() if row is not None]
    costs = [Decimal(str(row["cost_usd"])) for row in had if row["cost_usd"] is not None]
    tokens = {name: sum(whole(row[f"{name}_tokens"]) for row in had) for name in TOKENS}
    without_tokens = sum(whole(row["without_tokens"]) for row in had)
    return Tally(
        outcomes={name: whole(row and row["row_count"]) for name, row in outcomes.items()},
        tokens=tokens,
        cost_usd=None if without_tokens and not tokens["prompt"] else sum(costs, Decimal(0)),
        without_tokens=without_tokens,
        lines=whole(counted["lines"]["row_count"]),
        unknown=whole(counted["unknown"]["row_count"]) - sum(by_part["returned"].values()),
        unverified=whole(counted["unverified"]["row_count"]),
        **by_part,
    )


def whole(value: object) -> int:
    """Return a count that BigQuery answered; none is 0."""
    return int(str(value)) if value is not None else 0


def audit(counted: Tally, *, rows: int, landed: int | None = None) -> None:
    """Raise unless every row that was sent has exactly one outcome and every line belongs to a row.

    Called before anything is published.

    :param landed: lines that the load jobs say they landed; ``None`` when no job, or not only jobs, did.
    """
    if counted.unknown:
        raise OutputError(
            f"{counted.unknown:,} of {counted.lines:,} output lines carry a key that is no request of this batch. "
            "Nothing was published; the landing tables keep them for a look."
        )
    if counted.rows != rows or counted.duplicates < 0:
        raise AccountingError(
            f"{rows:,} rows were prepared, but {counted.rows:,} have an outcome ({counted.lines:,} lines came "
            "back). Nothing was published; the request files are not those of the manifest."
        )
    if landed is not None and landed != counted.lines:
        raise AccountingError(
            f"{landed:,} output lines were landed, but the landing tables have {counted.lines:,}: somebody changed "
            "them. Nothing was published; delete the landing tables and clear this task to land them anew."
        )


def check_echoes(counted: Tally) -> list[str]:
    """Return what a person should know of whose answers these are."""
    notes = []
    if other := counted.outcomes[Outcome.MISMATCHED]:
        notes.append(
            f"{other:,} rows came back with another request than was sent for their key. They are mismatched, in the "
            "errors table with what came; nothing of it is published as a result."
        )
    if counted.unverified:
        notes.append(
            f"{counted.unverified:,} rows came back without the request they answer: only the key says whose answers "
            "they are."
        )
    return notes


def standing_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Read the rows of the query for how the rows of all rounds stand."""
    found = {str(row["outcome"]): whole(row["row_count"]) for row in rows}
    return {outcome.value: found.get(outcome.value, 0) for outcome in Outcome}
