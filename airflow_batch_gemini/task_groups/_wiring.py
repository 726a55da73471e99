"""How the tasks of a group hang together: one round after the other, each a submit, a wait and a load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from airflow.sdk import Context, TaskGroup, task

from airflow_batch_gemini.batch.report import newest
from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.publish import GeminiBatchPublishOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.task_groups._options import arguments_of


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
    publish: Mapping[str, Any] | None = None
    """What publishes after the last round is given; ``None``: every load publishes its own."""
    outlets: Sequence[Any] = ()
    """What the last task tells of; a load would tell of it in every round."""

    def over_rounds(self) -> Wish:
        """Return what the tasks are given when rounds follow: what tells and what judges has to wait for the last one.

        With a gate the loads hold their rows back until all of them can be judged.
        """
        load = dict(self.load)
        given = load.pop("outlets", None) or ()
        outlets = tuple(given) if isinstance(given, list | tuple | set) else (given,)
        gates = {name: load.pop(name, None) for name in _GATES}
        if all(gate is None for gate in gates.values()):
            return replace(self, load=load, outlets=outlets)
        known = arguments_of(GeminiBatchPublishOperator)
        publish = {name: value for name, value in load.items() if name in known}
        return replace(
            self,
            load={**load, "hold": True},
            repair={**self.repair, "hold": True},
            publish={**publish, **gates},
            outlets=outlets,
        )


_GATES = ("max_failed_rate", "max_invalid_rate")


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

    A round in which no row deserves another try is skipped, and with it the rounds after it. The last task, ``report``
    or ``publish``, is not: it runs when a load has succeeded and none has failed, and so does what comes after the
    group.
    """
    loads = [loaded]
    for number in range(1, rounds + 1):
        suffix = f"_{number}"
        repair = GeminiBatchRepairOperator(
            task_id=f"repair{suffix}", batch=batch, round=number, **wish.tables, **wish.repair
        )
        loads[-1] >> repair
        loads.append(wire_round(group, repair.output, wish, suffix=suffix)[1])
    reports = [one.output for one in loads]
    last: dict[str, Any] = {"trigger_rule": "none_failed_min_one_success", "outlets": [*wish.outlets]}
    if wish.publish is None:
        task(task_id="report", **last)(told)(reports)
    else:
        GeminiBatchPublishOperator(
            task_id="publish", batch=batch, reports=reports, **wish.tables, **{**wish.publish, **last}
        )


def told(reports: Sequence[Mapping[str, Any] | None], **context: Any) -> dict[str, Any]:
    """Return the report of the last round that was not skipped, and tell the outlets of it, once for all rounds."""
    from airflow_batch_gemini.operators._lineage import tell_outlets

    report = newest(reports)
    tell_outlets(cast("Context", context), context["task"].outlets, report)
    return report


def _job(group: TaskGroup, batch: Any, wish: Wish, suffix: str) -> tuple[Any, Any]:
    """Return the tasks that submit and wait: one instance of each for every part."""
    submit_id, wait_id = f"submit{suffix}", f"wait{suffix}"
    if next(group.iter_mapped_task_groups(), None) is not None:
        submitted = GeminiBatchSubmitOperator(task_id=submit_id, batch=batch, **wish.submit)
        job_name: Any = submitted.output
        return submitted, GeminiBatchSensor(task_id=wait_id, job_name=job_name, **wish.wait)
    mapped = GeminiBatchSubmitOperator.partial(task_id=submit_id, **wish.submit).expand(batch=batch)
    return mapped, GeminiBatchSensor.partial(task_id=wait_id, **wish.wait).expand(job_name=mapped.output)
