"""@task.gemini_batch: found by Airflow, and a prepare operator in everything but where its rows come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, Context, task
from airflow.sdk.exceptions import AirflowException

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.decorators.gemini_batch import GeminiBatchDecoratedOperator
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch

JOB: dict[str, Any] = {
    "template": GeminiTemplate(prompt="{text}"),
    "model": "gemini-3.5-flash",
    "location": "us-central1",
    "work_uri": "gs://my-bucket/gemini",
}


@pytest.fixture
def dag() -> Iterator[DAG]:
    """A DAG to define tasks in."""
    with DAG("dag", schedule=None) as made:
        yield made


def test_airflow_finds_it_by_the_package(dag: DAG) -> None:
    """``task.gemini_batch`` is there without an import of ours; the function's name is the task's."""

    @task.gemini_batch(**JOB, retries=4, dedupe=True)
    def letters(folder: str, ds: str | None = None) -> Iterator[dict[str, str]]:
        """Yield a row a letter."""
        yield {"key": folder, "text": str(ds)}

    batch = letters("{{ ds }}")
    made = dag.get_task("letters")
    assert isinstance(made, GeminiBatchDecoratedOperator)
    assert (made.retries, made.dedupe, made.doc_md) == (4, True, "Yield a row a letter.")
    assert batch.operator is made
    made.render_template_fields(Context(ds="2026-11-29"))
    assert list(made.op_args) == ["2026-11-29"]


def test_outputs_of_other_tasks_are_its_arguments(dag: DAG) -> None:
    """And its own is the batch that a group takes."""

    @task
    def folder() -> str:
        return "letters"

    @task.gemini_batch(**JOB)
    def letters(folder: str) -> Iterator[dict[str, str]]:
        yield {"key": folder, "text": "x"}

    gemini_batch(batch=letters(folder()), results_table="p.d.t")
    assert dag.get_task("letters").upstream_task_ids == {"folder"}
    assert dag.get_task("gemini_batch.submit").upstream_task_ids == {"letters"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modle": "m"}, "Invalid arguments"),
        ({"sql": "SELECT 1"}, "Rows come either from"),
        ({"rows": list}, "rows"),
        ({"requests_dataset": "d"}, "needs sql= or source_table="),
        ({"on_lint": "pass"}, "on_lint='pass' is none of"),
        ({"model": "a b"}, "not a well-formed model id"),
    ],
)
def test_a_wrong_argument_is_an_error_of_the_dag_file(dag: DAG, options: Any, said: str) -> None:
    """As for the operator."""

    @task.gemini_batch(**{**JOB, **options})
    def letters() -> Iterator[dict[str, str]]:
        yield {}

    with pytest.raises((AirflowException, TypeError), match=said):
        letters()


def test_a_call_that_does_not_fit_the_function_is_refused(dag: DAG) -> None:
    """When the DAG is parsed, like any call."""

    @task.gemini_batch(**JOB)
    def letters(folder: str) -> Iterator[dict[str, str]]:
        yield {"key": folder}

    with pytest.raises(TypeError, match="missing a required argument: 'folder'"):
        letters()


def test_a_coroutine_is_refused(dag: DAG) -> None:
    """Rows are gone through one by one, in a worker."""

    @task.gemini_batch(**JOB)
    async def letters() -> Any:
        yield {}

    with pytest.raises(AirflowException, match="not async"):
        letters()
