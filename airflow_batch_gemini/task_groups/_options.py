"""What the tasks of a group are given: judged when the DAG is parsed, before there is a task to fail."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from airflow.sdk import DAG, BaseOperator, TaskGroup, XComArg

from airflow_batch_gemini.exceptions import ConfigurationError

_PLACE = ("task_id", "dag", "task_group")


def check_names(
    operator: type[BaseOperator], options: Mapping[str, Any], *, given: str, taken: Collection[str]
) -> None:
    """Refuse what *operator* has no argument for, and what the group says itself.

    :param given: how the user gave *options*, like ``wait=``.
    :param taken: arguments that the group sets, beside those that place a task.
    """
    known, taken = arguments_of(operator), {*taken, *_PLACE}
    for name in options:
        if name in taken:
            raise ConfigurationError(f"{given} sets {name}: the group does that itself. Nothing was sent.")
        if name not in known:
            near = get_close_matches(str(name), sorted(known - taken), n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ConfigurationError(
                f"{given} sets {name}: {operator.__name__} has no such argument{hint} Nothing was sent."
            )


def check_values(operator: type[BaseOperator], arguments: Mapping[str, Any], *, group: TaskGroup) -> None:
    """Let *operator* judge arguments that are to be mapped: it would see them only once it runs, after the bill.

    The task is made in a DAG that nobody registers, without what other tasks are still to say: that would tie them to
    it.

    :param group: where the mapped tasks will be, whose ``default_args``, and those of the DAG, they take as well.
    """
    defaults = {**group.dag.default_args, **(group.default_args or {})}
    dag = DAG("arguments_on_trial", schedule=None, auto_register=False, default_args=defaults)
    known = {
        name: value
        for name, value in arguments.items()
        if name not in operator.template_fields or not any(XComArg.iter_xcom_references(value))
    }
    operator(task_id="on_trial", **{**known, "dag": dag, "task_group": dag.task_group})


def arguments_of(operator: type[BaseOperator]) -> set[str]:
    """Return what can be said to *operator*, its own and Airflow's."""
    return {
        name
        for one in operator.__mro__
        if issubclass(one, BaseOperator)
        for name, parameter in inspect.signature(one.__init__).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }
