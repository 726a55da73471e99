"""What became of a batch, in counts that add up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from airflow_batch_gemini.batch.canary import CanaryFigures
from airflow_batch_gemini.batch.estimate import Usd
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.report_table import report_lines
from airflow_batch_gemini.batch.stages import Stages, rfc3339
from airflow_batch_gemini.batch.tally import Tally, whole


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
    returned_lines: int
    """Output lines of rows that the jobs which were resumed had answered; an earlier round has them."""
    tokens: Mapping[str, int]
    cost_usd: Decimal | None
    without_tokens: int
    price: Mapping[str, Any] | None
    """Standard prices and their date; ``None`` when the model's price is unknown, and then the cost is, too."""
    jobs: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, Any] = field(default_factory=dict)
    durations: Mapping[str, float | None] = field(default_factory=dict)
    """Seconds of every stage, see :data:`~airflow_batch_gemini.batch.stages.DURATIONS`, and of the ``whole``."""
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
    rounds: Sequence[Mapping[str, Any]] = ()
    """What each round came to, this one last; alone where no table of batches tells of those before."""
    estimate: Usd | None = None
    """What the round was to cost; ``None``: nobody had estimated it, or nobody knows the price."""
    canary: CanaryFigures | None = None
    """What a canary found before; its answers cost the standard price, which is no part of *cost_usd*."""
    attempt: str = ""
    """The task instance that loaded; later ones compare greater."""

    @property
    def cost_against_estimate(self) -> float | None:
        """The cost as a multiple of the expected one; ``None`` where one of them is unknown or nothing."""
        if self.cost_usd is None or self.estimate is None or not self.estimate.expected:
            return None
        return round(float(self.cost_usd / self.estimate.expected), 4)

    @property
    def cost_of_all_rounds(self) -> float | None:
        """What all rounds up to this one cost; ``None`` where the cost of one is unknown, or the first is not told."""
        costs: list[float | None] = [one["cost_usd"] for one in self.rounds]
        if None in costs or not self.rounds or self.rounds[0]["round"] != 0:
            return None
        return round(sum(cost for cost in costs if cost is not None), 9)

    def to_dict(self) -> dict[str, Any]:
        """Return what XCom and ``report.json`` keep. Money is in USD."""
        document = asdict(self)
        document["cost_usd"] = None if self.cost_usd is None else float(self.cost_usd)
        usd = self.estimate
        document["estimate"] = usd and {name: float(text) for name, text in usd.to_dict().items()}
        document["cost_against_estimate"] = self.cost_against_estimate
        document["cost_usd_of_all_rounds"] = self.cost_of_all_rounds
        document["repeats_avoided"] = self.copies + self.answered_before
        document["canary"] = None if self.canary is None else self.canary.to_dict()
        return document

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

    @staticmethod
    def tells_of_whole_output(data: bytes, job_name: str) -> bool:
        """Whether a ``report.json`` counts the answers of that job in, and no line was left out, or there twice."""
        try:
            document = json.loads(data)
            spoiled = document["corrupt_lines"] or document["duplicates"]
            return not spoiled and job_name in {job["name"] for job in document["jobs"]}
        except (ValueError, KeyError, TypeError):
            return False

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
        stages: Stages,
        corrupt_lines: int = 0,
        notes: Sequence[str] = (),
        copies: int = 0,
        answered_before: int = 0,
        round: int = 0,  # noqa: A002  # the word of the tables
        standing: Mapping[str, int] | None = None,
        rounds_before: Sequence[Mapping[str, Any]] = (),
        estimate: Usd | None = None,
        canary: CanaryFigures | None = None,
        attempt: str = "",
    ) -> Report:
        """Put a report together."""
        cost = counted.cost_usd if price is not None else None
        this = {"round": round, "rows": counted.rows, "outcomes": dict(counted.outcomes)}
        return cls(
            batch_id=batch_id,
            model=model,
            rows=counted.rows,
            outcomes=counted.outcomes,
            duplicates=counted.duplicates,
            unverified=counted.unverified,
            corrupt_lines=corrupt_lines,
            returned_lines=sum(counted.returned.values()),
            tokens=counted.tokens,
            cost_usd=cost,
            without_tokens=counted.without_tokens,
            price=None if price is None else price.to_dict(),
            jobs=[{"name": job.name, "state": job.state, "output": job.output_uri} for job in jobs],
            tables=tables,
            times={
                "prepared": rfc3339(stages.prepared),
                "first_job_created": rfc3339(stages.submitted),
                "first_job_started": rfc3339(stages.started),
                "last_job_ended": rfc3339(stages.ended),
                "landed": rfc3339(stages.landed),
                "loaded": rfc3339(stages.loaded),
            },
            durations=stages.durations(),
            estimate=estimate,
            rounds=[*rounds_before, {**this, "cost_usd": None if cost is None else float(cost)}],
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
        return report_lines(self.to_dict())


def counts_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an asset event tells those who wait for the results.

    :param report: as XCom keeps it.
    """
    later = {"round": report["round"], "standing": dict(report["standing"])} if report["round"] else {}
    return {
        "batch_id": report["batch_id"],
        "rows": report["rows"],
        **{name: count for name, count in report["outcomes"].items() if count},
        "cost_usd": report["cost_usd"],
        **later,
    }


def newest(reports: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return the report of the last round that was not skipped: its ``standing`` is that of the rows of all rounds.

    A task that is skipped when it is cleared leaves what it returned before. A report counts only if its round was
    asked after the one before it had ended, or loaded after it.
    """
    last, *later = (report for report in reports if report is not None)
    for report in later:
        if not _follows(report.get("times", {}), last.get("times", {})):
            break
        last = report
    return dict(last)


def _follows(times: Mapping[str, str | None], before: Mapping[str, str | None]) -> bool:
    pairs = [
        (times.get("first_job_created"), before.get("last_job_ended")),
        (times.get("loaded"), before.get("loaded")),
    ]
    known = [(time, earlier) for time, earlier in pairs if time and earlier]
    return not known or any(time >= earlier for time, earlier in known)


def round_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Read a row of the table of batches as a round of the report."""
    cost = row["cost_usd"]
    return {
        "round": whole(row["round"]),
        "rows": whole(row["row_count"]),
        "outcomes": {outcome.value: whole(row[outcome.value]) for outcome in Outcome},
        "cost_usd": None if cost is None else float(cost),
    }
