"""How good a batch must be to be published: the share of its rows that may end without an answer one can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.exceptions import ConfigurationError, QualityError

FAILED = (Outcome.FAILED, Outcome.MISSING, Outcome.BLOCKED, Outcome.MISMATCHED, Outcome.REJECTED)
"""No answer to the row came, whatever the reason."""
INVALID = (Outcome.INVALID, Outcome.TRUNCATED)
"""An answer came that is cut off, or is not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class QualityGates:
    """Shares of the rows, each from 0 to 1; ``None``: any share passes.

    Every row that did not succeed counts into exactly one of them; with 0 the first such row is too much.
    """

    max_failed_rate: float | None = None
    max_invalid_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_failed_rate", "max_invalid_rate"):
            rate = getattr(self, name)
            if rate is not None and not (_is_number(rate) and 0 <= rate <= 1):
                raise ConfigurationError(
                    f"{name}={rate!r} is no share of rows from 0 to 1. Nothing was loaded; correct it."
                )

    @property
    def any(self) -> bool:
        """Whether anything is to be judged."""
        return self.max_failed_rate is not None or self.max_invalid_rate is not None


@dataclass(frozen=True)
class _Finding:
    """Rows that one gate counts, beside its limit."""

    argument: str
    limit: float
    said: str
    counts: Mapping[str, int]
    rows: int

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def passed(self) -> bool:
        return self.count == 0 or self.count / self.rows <= self.limit

    def __str__(self) -> str:
        found = ", ".join(f"{count:,} {outcome}" for outcome, count in self.counts.items() if count)
        rate = f"{100 * self.count / self.rows:.3g} %"
        return f"{self.count:,} {self.said} ({found}): {rate}, and {self.argument}={self.limit:g}"


def check_quality(
    outcomes: Mapping[str, int],
    gates: QualityGates,
    *,
    round: int,  # noqa: A002  # the word of the tables
    table: str,
    answers: Sequence[str],
) -> None:
    """Raise when a gate that is set finds more rows than it lets through. Called before anything is published.

    :param outcomes: rows by outcome, of the whole batch, as they will stand once this round is published.
    :param table: holds what this round, or all of them, came to, row by row.
    :param answers: the tables with the raw answers of this round.
    """
    failed = [one for one in _findings(outcomes, gates) if not one.passed]
    if not failed:
        return
    whole = f"of all rounds up to round {round} " if round else ""
    shown = ", ".join(answers[:3]) + (f" and {len(answers) - 3} more" if len(answers) > 3 else "")
    raise QualityError(
        f"Of {failed[0].rows:,} rows {whole}{'; '.join(map(str, failed))}. Nothing was published; what the job "
        f"answered is paid for and kept. Look at {table} for outcomes and reasons"
        f"{f', and at {shown} for the raw answers: both stay' if shown else ': it stays'} for seven days. To publish "
        f"all the same, raise {' and '.join(one.argument for one in failed)} and clear this task, which buys nothing. "
        "To buy other answers, correct the template or the rows and clear prepare."
    )


def _findings(outcomes: Mapping[str, int], gates: QualityGates) -> list[_Finding]:
    rows = sum(outcomes.values())
    asked = (
        ("max_failed_rate", gates.max_failed_rate, "have no answer", FAILED),
        ("max_invalid_rate", gates.max_invalid_rate, "have an answer that cannot be used", INVALID),
    )
    return [
        _Finding(name, limit, said, {one.value: outcomes.get(one.value, 0) for one in counted}, rows)
        for name, limit, said, counted in asked
        if limit is not None
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
