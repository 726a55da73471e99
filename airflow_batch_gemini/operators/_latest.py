"""The view of the newest answers: worth a try after every publish, and no reason to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_batch_gemini.exceptions import GeminiBatchError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
    from airflow_batch_gemini.sql.plan import LoadPlan

_PATIENCE_SECONDS = 60.0


def show_latest(
    operator: GeminiBatchLoadOperator, warehouse: WarehouseHook, plan: LoadPlan, attempt: str
) -> list[str]:
    """Make the view if it is due; return what a person should know. It reads no rows, so nobody is deferred for it."""
    if plan.view is None:
        return []
    try:
        job = warehouse.ensure_job(
            configuration=plan.show_latest(plan.view),
            project=plan.project,
            location=plan.location,
            purpose="view",
            salt=attempt,
        )
        warehouse.wait(job, timeout=_PATIENCE_SECONDS, poll_interval=operator.poll_interval)
    except GeminiBatchError as error:
        note = f"{plan.view} was not made, the results are published all the same: {error}"
        operator.log.warning("%s", note)
        return [note]
    return []
