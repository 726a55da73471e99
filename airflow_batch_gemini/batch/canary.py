"""What a few real answers say about a batch before it is paid for: outcomes, tokens, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from airflow_batch_gemini.batch import intervals
from airflow_batch_gemini.batch.canary_answer import CanaryAnswer, Fate
from airflow_batch_gemini.batch.columns import NO_COLUMNS, Typed
from airflow_batch_gemini.batch.estimate import OutputTokens
from airflow_batch_gemini.batch.intervals import Interval
from airflow_batch_gemini.batch.outcome import Outcome, Reading
from airflow_batch_gemini.batch.pricing import Price, cost
from airflow_batch_gemini.batch.sampling import SampledLine
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.exceptions import GateError, ServiceError

MAX_ROWS = 1000
_NOT_ALLOWED = frozenset({401, 403, 404})
"""Refusals that are about the caller, the model or the place rather than about a row."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One row of the sample: what came of it, and for how many rows of the batch it stands.

    :param answer: ``None`` when it was not asked, for want of quota or time.
    """

    answer: CanaryAnswer | None
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CanaryFigures:
    """What the canary measured: counts and tokens only."""

    rows: int
    """Rows that were asked, now or by an earlier attempt."""
    outcomes: Mapping[str, int]
    """Outcome → rows, as the load would count them; without those whose answer was lost."""
    lost: int = 0
    """Rows that were asked and whose answer never came. They may have been billed, and are not asked again."""
    unasked: int = 0
    """Rows that could not be asked: no quota, or no time."""
    prompt_tokens: Interval | None = None
    """Of a row, as all that follows."""
    output_tokens: Interval | None = None
    thoughts_tokens: Interval | None = None
    paid_output_tokens: Interval | None = None
    """Output and thoughts together, 0 for what failed: what a row of the batch will be billed for."""
    failure_rate: Interval | None = None
    """Share of rows that do not succeed; ``None`` when no answer came at all."""
    cost_usd: str | None = None
    """What the answers cost at the standard price, without the discount of a batch; ``None`` when nobody knows it."""

    @property
    def judged(self) -> int:
        """Rows with an outcome."""
        return sum(self.outcomes.values())

    @property
    def failures(self) -> int:
        """Rows that did not succeed."""
        return self.judged - self.outcomes.get(Outcome.SUCCEEDED.value, 0)

    @property
    def answer_tokens(self) -> OutputTokens | None:
        """What the estimate takes for an answer; ``None`` where too few rows were answered to say."""
        found = self.paid_output_tokens
        return None if found is None else OutputTokens(found.low, found.expected, found.high)

    def to_dict(self) -> dict[str, Any]:
        """Return what the manifest keeps."""
        found = {name: getattr(self, name) for name in _INTERVALS}
        kept = {name: None if one is None else one.to_dict() for name, one in found.items()}
        return {**asdict(self), "outcomes": dict(self.outcomes), **kept}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> CanaryFigures:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**value, **{name: Interval.from_dict(value[name]) for name in _INTERVALS}})

    def lines(self) -> list[str]:
        """Return what the log says: counts, nothing of any answer."""
        counts = [f"{count:,} {outcome}" for outcome, count in self.outcomes.items() if count]
        counts += [f"{self.lost:,} lost"] if self.lost else []
        said = [f"Canary: {self.rows:,} rows were asked: {', '.join(counts) or 'no answer came'}."]
        if self.unasked:
            said.append(f"Canary: {self.unasked:,} more rows could not be asked in time.")
        if self.failure_rate is not None:
            said.append(
                f"Canary: {_percent(self.failure_rate.expected)} of rows fail "
                f"({_percent(self.failure_rate.low)} to {_percent(self.failure_rate.high)}, 95 %)."
            )
        for name, found in (("prompt", self.prompt_tokens), ("output", self.paid_output_tokens)):
            if found is not None:
                said.append(
                    f"Canary: {found.expected:,.0f} {name} tokens a row ({found.low:,.0f} to {found.high:,.0f}, 95 %)."
                )
        paid = "an unknown sum" if self.cost_usd is None else f"{self.cost_usd} USD"
        said.append(f"Canary: its answers cost {paid}, at the standard price.")
        return said


_INTERVALS = ("prompt_tokens", "output_tokens", "thoughts_tokens", "paid_output_tokens", "failure_rate")


def weights(sample: Sequence[SampledLine], kept: Sequence[SampledLine]) -> list[float]:
    """Return for how many lines that were watched each line of *sample* stands.

    A sample has at least one line of every kind of media, so rare kinds are in it more often than among all.
    """
    all_kinds, chosen = Counter(line.media for line in kept), Counter(line.media for line in sample)
    return [all_kinds[line.media] / chosen[line.media] for line in sample]


def figures(
    judged: Iterable[Judged],
    *,
    shape: Shape,
    population: int,
    columns: Typed = NO_COLUMNS,
    price: Price | None = None,
) -> CanaryFigures:
    """Put together what is known of the whole sample.

    :param columns: what the response schema promises.
    :param population: rows of the batch.
    :param price: the model's; ``None``: nobody knows it.
    """
    every = list(judged)
    asked = [(one.answer, one.weight) for one in every if one.answer is not None]
    read = [(answer.reading(shape, columns), weight) for answer, weight in asked]
    found = [(reading, weight) for reading, weight in read if reading is not None]
    outcomes = Counter(reading.outcome for reading, _ in found)

    def mean(count_of: Callable[[Reading], int | None]) -> Interval | None:
        said = [(count, weight) for one, weight in found if (count := count_of(one)) is not None]
        return intervals.mean([one for one, _ in said], [weight for _, weight in said], population=population)

    return CanaryFigures(
        rows=len(asked),
        outcomes={outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        lost=len(asked) - len(found),
        unasked=len(every) - len(asked),
        prompt_tokens=mean(_prompt),
        output_tokens=mean(_output),
        thoughts_tokens=mean(_thoughts),
        paid_output_tokens=mean(_paid),
        failure_rate=intervals.share(
            [reading.outcome is not Outcome.SUCCEEDED for reading, _ in found],
            [weight for _, weight in found],
            population=population,
        ),
        cost_usd=_cost([answer for answer, _ in asked], [reading for reading, _ in found], price),
    )


def refused_altogether(answers: Iterable[CanaryAnswer]) -> int | None:
    """Return the code with which every request was refused before anybody looked at it; ``None`` when one was not."""
    found = list(answers)
    refused = all(one.fate is Fate.REFUSED and one.code in _NOT_ALLOWED for one in found)
    return found[0].code if found and refused else None


def check_failures(found: CanaryFigures, max_failure_rate: float | None, *, answers: str) -> None:
    """Refuse a batch of which the sample shows that more rows than *max_failure_rate* would fail.

    The lower bound of the interval decides, not the share of the sample: of 20 rows, one that fails by bad luck is
    5 % already. With 20 rows and 0.05 the third failure stops a batch: one with 5 % of failures is stopped once in
    thirteen times, one with 20 % four times in five, one with 40 % practically always; more rows tell more. 0 stops
    at the first failure.

    :param answers: where the canary's answers lie.
    :raises GateError: with counts, and what to do.
    :raises ServiceError: some rows could not be asked yet, and those that were show nothing bad.
    """
    if max_failure_rate is None:
        return
    kept = f"No job was sent; the canary's answers are kept in {answers} and paid for"
    if found.failure_rate is None and not found.unasked:
        raise GateError(
            f"No answer came to any of the {found.rows:,} rows that the canary asked, so max_failure_rate= cannot be "
            f"judged. {kept}, perhaps. Delete that folder to ask anew, then clear this task."
        )
    if found.failure_rate is not None and found.failure_rate.low > max_failure_rate:
        ended = ", ".join(f"{count:,} {outcome}" for outcome, count in found.outcomes.items())
        raise GateError(
            f"Of {found.judged:,} rows that the canary asked {found.failures:,} did not succeed ({ended}): at least "
            f"{_percent(found.failure_rate.low)} of all rows would not, and max_failure_rate={max_failure_rate:g}. "
            f"{kept}. Look at them and correct template or rows, or raise max_failure_rate=; then clear this task."
        )
    if found.unasked:
        raise ServiceError(
            f"{found.unasked:,} rows of the canary could not be asked in time, so max_failure_rate= cannot be judged. "
            f"No job was sent; the {found.rows:,} answers so far are kept, and a retry asks the rest."
        )


def _prompt(reading: Reading) -> int | None:
    return reading.tokens.prompt


def _output(reading: Reading) -> int | None:
    return _answered(reading, reading.tokens.output)


def _thoughts(reading: Reading) -> int | None:
    return _answered(reading, reading.tokens.thoughts)


def _paid(reading: Reading) -> int | None:
    output, thoughts = _output(reading), _thoughts(reading)
    return None if output is None or thoughts is None else output + thoughts


def _answered(reading: Reading, tokens: int | None) -> int | None:
    """Return a count of what was answered: 0 where it is left out, unknown where the response counts nothing at all."""
    if reading.code is None and _prompt(reading) is None:
        return None
    return 0 if tokens is None else tokens


def _cost(answers: Sequence[CanaryAnswer], readings: Sequence[Reading], price: Price | None) -> str | None:
    """Return what the answers cost; unknown as soon as one may have been billed without saying how much."""
    answered = [reading for reading in readings if _prompt(reading) is not None]
    if price is None or len(answered) < sum(answer.fate is not Fate.REFUSED for answer in answers):
        return None
    costs = [
        cost(
            price,
            prompt=_prompt(one),
            cached=one.tokens.cached,
            output=_output(one),
            thoughts=_thoughts(one),
            batch=False,
        )
        for one in answered
    ]
    return f"{sum((one for one in costs if one is not None), Decimal(0)):.6f}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
