"""What became of a batch, in counts that add up."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from airflow_batch_gemini.batch.canary import CanaryFigures
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.exceptions import AccountingError, OutputError

_ANSWERED = "answered"
TOKENS = ("prompt", "cached", "output", "thoughts", "total")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the audit query counted, before anything was published."""

    outcomes: Mapping[str, int]
    tokens: Mapping[str, int]
    cost_usd: Decimal
    """Of the rows whose cost is known."""
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

    @property
    def rows(self) -> int:
        """Rows that have an outcome."""
        return sum(self.outcomes.values())

    @property
    def duplicates(self) -> int:
        """Output lines beyond the first of their key."""
        return self.lines - self.unknown - sum(self.answered.values())


def tally(rows: Iterable[Mapping[str, Any]]) -> Tally:
    """Read the rows of the audit query: one per outcome, ``answered`` per part, one for each other thing it counts."""
    found = list(rows)
    counted = {str(row["outcome"]): row for row in found if row["outcome"] != _ANSWERED}
    outcomes = {outcome.value: counted.get(outcome.value) for outcome in Outcome}
    had = [row for row in outcomes.values() if row is not None]
    costs = [Decimal(str(row["cost_usd"])) for row in had if row["cost_usd"] is not None]
    return Tally(
        outcomes={name: _int(row and row["row_count"]) for name, row in outcomes.items()},
        tokens={name: sum(_int(row[f"{name}_tokens"]) for row in had) for name in TOKENS},
        cost_usd=sum(costs, Decimal(0)),
        without_tokens=sum(_int(row["without_tokens"]) for row in had),
        lines=_int(counted["lines"]["row_count"]),
        unknown=_int(counted["unknown"]["row_count"]),
        unverified=_int(counted["unverified"]["row_count"]),
        answered={_int(row["part"]): _int(row["row_count"]) for row in found if row["outcome"] == _ANSWERED},
    )


def _int(value: object) -> int:
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
    found = {str(row["outcome"]): _int(row["row_count"]) for row in rows}
    return {outcome.value: found.get(outcome.value, 0) for outcome in Outcome}


@dataclass(frozen=True, kw_only=True)
class Report:
    """A batch's end: counts per outcome, tokens, cost, jobs, tables, times."""

    batch_id: str
    model: str
    rows: int
    outcomes: Mapping[str, int]
    duplicates: int
    unverified: int
    """Rows whose line does not repeat the request that was sent."""
    corrupt_lines: int
    """Output lines that were left out because they are not JSON; their rows are ``missing``."""
    tokens: Mapping[str, int]
    cost_usd: Decimal | None
    without_tokens: int
    price: Mapping[str, Any] | None
    """Standard prices and their date; ``None`` when the model's price is unknown, and then the cost is, too."""
    jobs: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    """What a person should look at."""
    copies: int = 0
    """Rows that share another row's request, which was paid for once."""
    answered_before: int = 0
    """Rows left out because an earlier batch has their answer; not among *rows*."""
    round: int = 0
    """Which repair pass this was; 0 is the first."""
    standing: Mapping[str, int] = field(default_factory=dict)
    """How the rows of all rounds stand by now; *outcomes* is of this round alone."""
    canary: CanaryFigures | None = None
    """What a canary found before; its answers cost the standard price, which is no part of *cost_usd*."""
    attempt: str = ""
    """The task instance that loaded; later ones compare greater."""

    def to_dict(self) -> dict[str, Any]:
        """Return what XCom and ``report.json`` keep. Money is in USD."""
        document = asdict(self)
        document["cost_usd"] = None if self.cost_usd is None else float(self.cost_usd)
        document["canary"] = None if self.canary is None else self.canary.to_dict()
        return document

    def counts(self) -> dict[str, Any]:
        """Return what an asset event tells those who wait for the results."""
        return {
            "batch_id": self.batch_id,
            "rows": self.rows,
            **{name: count for name, count in self.outcomes.items() if count},
            "cost_usd": self.to_dict()["cost_usd"],
        }

    def to_json(self) -> bytes:
        """Render ``report.json``."""
        return json.dumps(self.to_dict(), indent=1, sort_keys=True).encode()

    @staticmethod
    def attempt_of(data: bytes) -> str:
        """Return which attempt wrote a ``report.json``; empty when it does not say."""
        try:
            document = json.loads(data)
        except ValueError:
            return ""
        return str(document.get("attempt", "")) if isinstance(document, dict) else ""

    @classmethod
    def of(
        cls,
        counted: Tally,
        *,
        batch_id: str,
        model: str,
        price: Price | None,
        jobs: Sequence[Job],
        tables: Mapping[str, str],
        loaded_at: float,
        corrupt_lines: int = 0,
        notes: Sequence[str] = (),
        copies: int = 0,
        answered_before: int = 0,
        round: int = 0,  # noqa: A002  # the word of the tables
        standing: Mapping[str, int] | None = None,
        canary: CanaryFigures | None = None,
        attempt: str = "",
    ) -> Report:
        """Put a report together.

        :param loaded_at: epoch seconds.
        """
        ends = [job.end_time for job in jobs if job.end_time is not None]
        created = [job.create_time for job in jobs if job.create_time is not None]
        return cls(
            batch_id=batch_id,
            model=model,
            rows=counted.rows,
            outcomes=counted.outcomes,
            duplicates=counted.duplicates,
            unverified=counted.unverified,
            corrupt_lines=corrupt_lines,
            tokens=counted.tokens,
            cost_usd=None if price is None else counted.cost_usd,
            without_tokens=counted.without_tokens,
            price=None if price is None else price.to_dict(),
            jobs=[{"name": job.name, "state": job.state, "output": job.output_uri} for job in jobs],
            tables=tables,
            times={
                "first_job_created": _rfc3339(min(created, default=None)),
                "last_job_ended": _rfc3339(max(ends, default=None)),
                "loaded": _rfc3339(loaded_at),
            },
            notes=list(notes),
            copies=copies,
            answered_before=answered_before,
            round=round,
            standing=standing or {},
            canary=canary,
            attempt=attempt,
        )

    def lines(self) -> list[str]:
        """Return the small table that ends the log of the load."""
        cells = [("batch", self.batch_id), ("model", self.model), ("rows", f"{self.rows:,}")]
        cells += [(f"  {name}", f"{count:,}") for name, count in self.outcomes.items() if count]
        if self.round:
            cells.insert(1, ("round", str(self.round)))
            standing = [(f"  {name}", f"{count:,}") for name, count in self.standing.items() if count]
            cells += [("rows of all rounds", f"{sum(self.standing.values()):,}"), *standing]
        seldom = {
            "rows that share a request": self.copies,
            "rows answered before": self.answered_before,
            "duplicate lines": self.duplicates,
            "lines without an echo": self.unverified,
            "corrupt lines": self.corrupt_lines,
        }
        cells += [(name, f"{count:,}") for name, count in seldom.items() if count]
        cells += [(f"{name} tokens", f"{self.tokens[name]:,}") for name in TOKENS]
        cells.append(("cost", "unknown" if self.cost_usd is None else f"{self.cost_usd:.6f} USD"))
        if self.canary is not None:
            paid = "unknown" if self.canary.cost_usd is None else f"{self.canary.cost_usd} USD"
            cells.append(("cost of the canary", f"{paid}, beside that"))
        if self.without_tokens:
            cells.append(("rows of unknown cost", f"{self.without_tokens:,}"))
        cells += list(self.tables.items())
        width = max(len(name) for name, _ in cells)
        return [f"{name:<{width}}  {value}" for name, value in cells]


def _rfc3339(epoch: float | None) -> str | None:
    if epoch is None:
        return None
    return dt.datetime.fromtimestamp(epoch, tz=dt.UTC).isoformat(timespec="seconds")
