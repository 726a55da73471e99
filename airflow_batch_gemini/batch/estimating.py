"""From a sample of requests to what the batch will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from airflow_batch_gemini.batch.calibration import Calibration, Counted, calibrate, relative_error
from airflow_batch_gemini.batch.embedding import is_embedding_model
from airflow_batch_gemini.batch.estimate import BatchEstimate, OutputFrom, OutputTokens, PartEstimate, Usd
from airflow_batch_gemini.batch.media_tokens import Tokens
from airflow_batch_gemini.batch.names import model_id, model_path
from airflow_batch_gemini.batch.pricing import LONG_CONTEXT, MILLION, Price
from airflow_batch_gemini.batch.sampling import PartSize, SampledLine, spread
from airflow_batch_gemini.batch.weighing import LEAST_OUTPUT, Weight, weigh

ENOUGH = 30
"""Requests of its own by which a part is judged; with fewer it is taken to be like the whole batch."""
_BOUNDS = ("low", "expected", "high")


@dataclass(frozen=True)
class Reading:
    """A sampled request, and what it is taken to cost."""

    line: SampledLine
    weight: Weight
    input_tokens: Tokens


@dataclass(frozen=True)
class Share:
    """How much of a part's tokens and rows costs the price of long prompts."""

    tokens: float
    rows: float


def estimate(
    *,
    model: str,
    price: Price | None,
    sizes: Sequence[PartSize],
    lines: Sequence[SampledLine],
    counted: Mapping[int, int] | None = None,
    output: OutputTokens | None = None,
) -> BatchEstimate:
    """Return what a batch will cost.

    :param sizes: how large each part is.
    :param lines: requests that stand for all, each for as many: what :attr:`Sampler.kept` holds.
    :param counted: by row of *lines* the tokens that ``countTokens`` told.
    :param output: what a canary measured of an answer. Without it an answer is taken to be as long as its request
        lets it be, which is what is expected and at most; and :data:`LEAST_OUTPUT` tokens at least.
    """
    counted = counted or {}
    weights = {line.row: weigh(line.request, model=model) for line in lines}
    calibration = _calibration(lines, weights, counted, rows=sum(size.rows for size in sizes))
    readings = [_reading(line, weights[line.row], calibration, counted) for line in lines]
    vectors = is_embedding_model(model_path(model))
    uncounted = [
        one for one in readings if one.line.row not in counted and not calibration.knows(one.line.media)
    ]
    return BatchEstimate(
        model=model_id(model),
        parts=tuple(_part(size, readings, price, OutputTokens() if vectors else output) for size in sizes),
        price_date=None if price is None else price.date,
        sampled=len(lines),
        counted=len(counted),
        output_from=_output_from(readings, output, vectors=vectors),
        assumed=tuple(sorted({kind for one in uncounted for kind in one.weight.assumed})),
    )


def worth_counting(lines: Sequence[SampledLine], count: int, *, model: str) -> tuple[SampledLine, ...]:
    """Return at most *count* of *lines* whose tokens should be counted: of each kind of media by what it costs."""
    if len({line.media for line in lines}) <= 1:
        return spread(lines, count)
    guess, weights = Calibration(), Counter[str]()
    for line in lines:
        weights[line.media] += round(guess.tokens(line.media, weigh(line.request, model=model)).expected)
    return spread(lines, count, weights=weights)


def _calibration(
    lines: Iterable[SampledLine], weights: Mapping[int, Weight], counted: Mapping[int, int], *, rows: int
) -> Calibration:
    known = [
        Counted(line.media, weights[line.row], counted[line.row]) for line in lines if line.row in counted
    ]
    return calibrate(known, rows=rows)


def _reading(
    line: SampledLine, weight: Weight, calibration: Calibration, counted: Mapping[int, int]
) -> Reading:
    if line.row in counted:
        return Reading(line, weight, Tokens.exactly(counted[line.row]))
    return Reading(line, weight, calibration.tokens(line.media, weight))


def _output_from(readings: Iterable[Reading], output: OutputTokens | None, *, vectors: bool) -> OutputFrom:
    if vectors:
        return "none"
    if output is not None:
        return "canary"
    return "model" if any(one.weight.limit is None for one in readings) else "limits"


def _part(
    size: PartSize, readings: Sequence[Reading], price: Price | None, output: OutputTokens | None
) -> PartEstimate:
    own = [one for one in readings if one.line.part == size.part]
    base = own if len(own) >= min(ENOUGH, size.rows) else list(readings)
    paid_in = _rounded(_scaled(base, size))
    each = _longest(base, size) if output is None else output
    paid_out = _rounded(each.times(size.rows, size.rows, size.rows))
    return PartEstimate(
        part=size.part,
        rows=size.rows,
        input_tokens=paid_in,
        output_tokens=paid_out,
        usd=None if price is None else _usd(price, paid_in, paid_out, base),
    )


def _scaled(base: Sequence[Reading], size: PartSize) -> Tokens:
    """Return the input tokens of a part: by its bytes where all is text, else by its rows."""
    by_bytes = all(one.line.media == "text" for one in base)
    measures = [one.line.size if by_bytes else 1 for one in base]
    total = sum((one.input_tokens for one in base), Tokens())
    if not (known := sum(measures)):
        return Tokens()
    factor = (size.size if by_bytes else size.rows) / known
    rate = total.expected / known
    off = [one.input_tokens.expected - rate * measure for one, measure in zip(base, measures, strict=True)]
    error = relative_error(off, total.expected) * _unseen(base, size)
    return total.times(factor * max(1 - error, 0.0), factor, factor * (1 + error))


def _longest(base: Sequence[Reading], size: PartSize) -> Tokens:
    """Return the longest answer, on average, which without a canary is what to expect."""
    most = [one.weight.most_output for one in base]
    if not most:
        return Tokens()
    mean = sum(most) / len(most)
    error = relative_error([one - mean for one in most], sum(most)) * _unseen(base, size)
    least = sum(min(one, LEAST_OUTPUT) for one in most) / len(most)
    return Tokens(least, mean, mean * (1 + error))


def _unseen(base: Sequence[Reading], size: PartSize) -> float:
    """Return by how much an error is smaller because a share of the rows was looked at: of all of them, nothing."""
    return max(1 - len(base) / size.rows, 0.0) ** 0.5 if size.rows else 0.0


def _long(base: Sequence[Reading], bound: str) -> Share:
    """Return how much is in prompts that cost the price of long ones, if each has the tokens of *bound*."""
    tokens = [getattr(one.input_tokens, bound) for one in base]
    long = [one for one in tokens if one > LONG_CONTEXT]
    return Share(sum(long) / sum(tokens), len(long) / len(base)) if long else Share(0.0, 0.0)


def _usd(price: Price, paid_in: Tokens, paid_out: Tokens, base: Sequence[Reading]) -> Usd:
    short_rates, long_rates = price.rates(long=False), price.rates(long=True)
    sums = []
    for bound in _BOUNDS:
        long = _long(base, bound)
        prompt, output = round(getattr(paid_in, bound)), round(getattr(paid_out, bound))
        long_prompt, long_output = round(prompt * long.tokens), round(output * long.rows)
        nano = (prompt - long_prompt) * short_rates.prompt + long_prompt * long_rates.prompt
        nano += (output - long_output) * short_rates.output + long_output * long_rates.output
        sums.append(Decimal((nano + MILLION // 2) // MILLION).scaleb(-9))
    return Usd(*sums)


def _rounded(tokens: Tokens) -> Tokens:
    return Tokens(round(tokens.low), round(tokens.expected), round(tokens.high))
