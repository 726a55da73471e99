"""What a prepared batch will cost: tokens counted of a few requests, the table told, the budget kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.estimate import BatchEstimate, OutputTokens, check_budget
from airflow_batch_gemini.batch.estimating import estimate, worth_counting
from airflow_batch_gemini.batch.pricing import budget_of, price_of
from airflow_batch_gemini.batch.sampling import PartSize, SampledLine
from airflow_batch_gemini.exceptions import EndpointError, ServiceError

if TYPE_CHECKING:
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

_PUBLISHED = "publishers/"
_AT_ONCE = 8


@dataclass(frozen=True)
class Sample:
    """How large the parts are, and some requests that stand for all of them."""

    sizes: Sequence[PartSize]
    lines: Sequence[SampledLine]


def estimated(
    operator: GeminiBatchPrepareOperator,
    sample: Sample,
    *,
    project: str,
    location: str,
    model: str,
    output: OutputTokens | None = None,
) -> BatchEstimate:
    """Return what the batch will cost, and tell it.

    :param output: what a canary measured of an answer.
    :raises GateError: the batch may cost more than ``max_cost_usd``.
    """
    found = estimate(
        model=model,
        price=price_of(model, operator.price),
        sizes=sample.sizes,
        lines=sample.lines,
        counted=_counted(operator, sample, project=project, location=location, model=model),
        output=output,
    )
    operator.log.info("What the batch will cost:\n%s", found.table())
    check_budget(found, budget_of(operator.max_cost_usd))
    return found


def _counted(
    operator: GeminiBatchPrepareOperator, sample: Sample, *, project: str, location: str, model: str
) -> Mapping[int, int]:
    """Return by row the tokens of some requests; of none, or fewer, when they cannot be counted."""
    lines = worth_counting(sample.lines, operator.count_tokens_rows, model=model)
    if not lines or not model.startswith(_PUBLISHED):
        return {}
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

    hook = GeminiBatchHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain)
    with closing(hook), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="count") as pool:
        count = partial(hook.count_tokens, project_id=project, location=location, model=model)
        try:
            counts = {line.row: pool.submit(count, request=line.request) for line in lines}
            wait(counts.values(), return_when=FIRST_EXCEPTION)
        finally:  # after a failure, or out of time, nobody is asked who was not yet
            pool.shutdown(cancel_futures=True)
        counts = {row: one for row, one in counts.items() if not one.cancelled()}
        failures = [error for one in counts.values() if (error := one.exception()) is not None]
        for error in failures:
            if not isinstance(error, ServiceError | EndpointError):
                raise error
        if failures:
            operator.log.warning("%s The estimate is the wider for it.", failures[0])
        return {row: one.result() for row, one in counts.items() if one.exception() is None}
