"""What is known of a prepared batch before anybody pays for it: a canary's figures, the estimate, and both gates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.canary import CanaryFigures, check_failures
from airflow_batch_gemini.batch.columns import typed
from airflow_batch_gemini.batch.estimate import BatchEstimate, OutputTokens, check_floor
from airflow_batch_gemini.batch.estimating import estimate
from airflow_batch_gemini.batch.pricing import budget_of, price_of
from airflow_batch_gemini.batch.sampling import spread
from airflow_batch_gemini.batch.schema import shape_of
from airflow_batch_gemini.operators._canary import Canary
from airflow_batch_gemini.operators._estimate import Sample, estimated
from airflow_batch_gemini.sql.results import TAKEN

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._plan import Plan
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Nothing of a batch without requests."""

    estimate: BatchEstimate | None = None
    canary: CanaryFigures | None = None


def outlook(
    operator: GeminiBatchPrepareOperator,
    plan: Plan,
    sample: Sample,
    storage: WorkspaceHook,
    *,
    killed: Callable[[], bool],
) -> Outlook:
    """Ask a canary if one is wanted, estimate with what it measured, and tell both.

    :param killed: whether the task was told to stop.
    :raises GateError: too many rows would fail, or the batch may cost too much.
    """
    if not sample.lines:
        return Outlook()
    found = None
    if operator.canary_rows:
        _refuse_what_no_canary_can_save(operator, plan, sample)
        found = _canary(operator, plan, sample, storage, killed=killed)
        for line in found.lines():
            operator.log.info("%s", line)
        check_failures(found, operator.max_failure_rate, answers=f"{plan.workspace.folder}/canary/")
    return Outlook(
        estimate=estimated(
            operator,
            sample,
            project=plan.project,
            location=plan.location,
            model=plan.model,
            output=None if found is None else found.answer_tokens,
        ),
        canary=found,
    )


def _refuse_what_no_canary_can_save(operator: GeminiBatchPrepareOperator, plan: Plan, sample: Sample) -> None:
    """Pay for no canary where the prompts alone would already cost too much."""
    price = price_of(plan.model, operator.price)
    found = estimate(
        model=plan.model, price=price, sizes=sample.sizes, lines=sample.lines, output=OutputTokens()
    )
    check_floor(found, budget_of(operator.max_cost_usd))


def _canary(
    operator: GeminiBatchPrepareOperator,
    plan: Plan,
    sample: Sample,
    storage: WorkspaceHook,
    *,
    killed: Callable[[], bool],
) -> CanaryFigures:
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

    schema = operator.template.vertex_schema if operator.template else None
    hook = GeminiBatchHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain)
    with closing(hook):
        canary = Canary(
            hook,
            storage,
            plan.workspace,
            project=plan.project,
            location=plan.location,
            model=plan.model,
            killed=killed,
        )
        return canary.measure(
            spread(sample.lines, operator.canary_rows),
            sample.lines,
            population=sum(size.rows for size in sample.sizes),
            shape=shape_of(schema),
            columns=typed(schema, taken=TAKEN),
            price=price_of(plan.model, operator.price),
        )
