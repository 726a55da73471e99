"""``@task.gemini_batch``: a Python function whose rows become a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator


class GeminiBatchDecoratedOperator(DecoratedOperator, GeminiBatchPrepareOperator):
    """A prepare operator whose rows a function under ``@task.gemini_batch`` yields."""

    custom_operator_name = "@task.gemini_batch"
    template_fields = GeminiBatchPrepareOperator.template_fields

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            kwargs_to_upstream={"rows": python_callable, "op_args": op_args, "op_kwargs": op_kwargs},
            **kwargs,
        )


def gemini_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a function that yields rows, dicts, into a task that prepares a batch of them.

    What calling the function returns is the batch: for ``batch=`` of :func:`.gemini_batch`, which does the rest, or of
    the single operators. Arguments of the call may be templates and outputs of other tasks; what the function names of
    the context it gets. It runs in the task, anew in every attempt, and must yield the same rows for the same requests.

    :param python_callable: the function; a generator keeps memory flat, however many rows there are.
    :param kwargs: arguments of ``GeminiBatchPrepareOperator``, but no other source of rows.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=GeminiBatchDecoratedOperator,
        **kwargs,
    )
