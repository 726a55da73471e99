"""How the tasks of a group hang together: one round after the other, each a submit, a wait and a load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup, task

from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the tasks of every round are given."""

    connection: Mapping[str, Any]
    tables: Mapping[str, Any]
    submit: Mapping[str, Any]
    wait: Mapping[str, Any]
    load: Mapping[str, Any]
    repair: Mapping[str, Any]
    teardown: bool


def wire_round(group: TaskGroup, batch: Any, wish: Wish, *, suffix: str = "") -> tuple[Any, Any]:
    """Wire submit, wait and load of what *batch* says; return the first and the last of them.

    :param batch: the output of a task that prepares; when that is skipped, so are they.
    """
    submitted, waited = _job(group, batch, wish, suffix)
    loaded = GeminiBatchLoadOperator(task_id=f"load{suffix}", batch=batch, **wish.tables, **wish.load)
    waited >> loaded
    if wish.teardown:
        cancel = GeminiBatchCancelOperator(task_id=f"cancel{suffix}", batch=batch, **wish.connection)
        [waited, loaded] >> cancel.as_teardown(setups=submitted)
    return submitted, loaded


def wire_repair(group: TaskGroup, batch: Any, loaded: Any, wish: Wish, *, rounds: int) -> None:
    """Wire *rounds* after the first one, and the task that has the last word.

    A round in which no row deserves another try is skipped, and with it the rounds after it. ``report`` is not: it runs
    when a load has succeeded and none has failed, and so does what comes after the group.
    """
    loads = [loaded]
    for number in range(1, rounds + 1):
        suffix = f"_{number}"
        repair = GeminiBatchRepairOperator(
            task_id=f"repair{suffix}", batch=batch, round=number, **wish.tables, **wish.repair
        )
        loads[-1] >> repair
        loads.append(wire_round(group, repair.output, wish, suffix=suffix)[1])
    rule = "none_failed_min_one_success"
    task(task_id="report", trigger_rule=rule)(newest)([one.output for one in loads])


def newest(reports: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return the report of the last round that was not skipped: its ``standing`` is that of the rows of all rounds."""
    *_, last = (report for report in reports if report is not None)
    return dict(last)


def _job(group: TaskGroup, batch: Any, wish: Wish, suffix: str) -> tuple[Any, Any]:
    """Return the tasks that submit and wait: one instance of each for every part."""
    submit_id, wait_id = f"submit{suffix}", f"wait{suffix}"
    if next(group.iter_mapped_task_groups(), None) is not None:
        submitted = GeminiBatchSubmitOperator(task_id=submit_id, batch=batch, **wish.submit)
        job_name: Any = submitted.output
        return submitted, GeminiBatchSensor(task_id=wait_id, job_name=job_name, **wish.wait)
    mapped = GeminiBatchSubmitOperator.partial(task_id=submit_id, **wish.submit).expand(batch=batch)
    return mapped, GeminiBatchSensor.partial(task_id=wait_id, **wish.wait).expand(job_name=mapped.output)
