"""A whole batch in one call: prepare, submit, wait and load, wired over as many parts as the rows need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from airflow.sdk import BaseOperator, TaskGroup, XComArg
from airflow.sdk.definitions.xcom_arg import PlainXComArg

from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.task_groups._approval import approval_task
from airflow_batch_gemini.task_groups._options import check_names, check_values

__all__ = ["GeminiBatchGroup", "gemini_batch"]

_ANY_JOB = "projects/p/locations/us-central1/batchPredictionJobs/1"


class GeminiBatchGroup(TaskGroup):
    """The tasks of one batch as :func:`gemini_batch` wires them; ``group["load"]`` is one of them."""

    @property
    def output(self) -> XComArg:
        """What the load task returns: the report, for a task after the group."""
        return XComArg(cast("BaseOperator", self["load"]))


def gemini_batch(
    *,
    results_table: str,
    group_id: str = "gemini_batch",
    batch: Any = None,
    errors_table: str | None = None,
    project_id: str | None = None,
    gcp_conn_id: str = "google_cloud_default",
    impersonation_chain: str | Sequence[str] | None = None,
    approval: bool | Mapping[str, Any] = False,
    teardown: bool = False,
    submit: Mapping[str, Any] | None = None,
    wait: Mapping[str, Any] | None = None,
    load: Mapping[str, Any] | None = None,
    default_args: Mapping[str, Any] | None = None,
    **prepare: Any,
) -> GeminiBatchGroup:
    """Wire a whole batch, from rows to the results table, and return its task group.

    ``prepare`` → (``approve`` →) ``submit`` → ``wait`` → ``load``, with one mapped submit and wait for each part. In a
    task group that is mapped itself, which Airflow maps no task in, a batch has to fit one part.

    Every argument is judged when the DAG is parsed, those of the mapped tasks too: a wrong name or value is an import
    error of the DAG file, not a failure after the bill.

    :param results_table: ``project.dataset.table`` for succeeded rows; with ``incremental=True`` also where earlier
        answers are.
    :param group_id: the group's id, and the prefix of its tasks.
    :param batch: what a prepare task outside of the group returns, such as a function under ``@task.gemini_batch``.
        Then the group begins with ``submit`` (or ``approve``), and no argument of prepare may be given.
    :param errors_table: for all other rows; by default the results table's name with ``_errors``.
    :param project_id: the project of the jobs, Vertex AI's and BigQuery's; by default the connection's.
    :param gcp_conn_id: the connection of every task.
    :param impersonation_chain: service account that every task impersonates, or a chain of them.
    :param approval: ask a person before anything is paid: a task ``approve`` shows rows, parts, size, and what prepare
        knows of the cost, and holds no worker meanwhile. Rejected, the rest is skipped. A dict is for
        ``ApprovalOperator``, like ``{"subject": …, "body": …, "response_timeout": …}``.
    :param teardown: add a teardown task ``cancel``: what still runs when the waits are over, as after a timeout, is
        cancelled. What it answered until then is kept and paid for.
    :param submit: more arguments of ``GeminiBatchSubmitOperator``, of each part's task.
    :param wait: more arguments of ``GeminiBatchSensor``, of each part's task.
    :param load: more arguments of ``GeminiBatchLoadOperator``.
    :param default_args: defaults for every task of the group, like ``{"retries": 3}``.
    :param prepare: every other argument is one of ``GeminiBatchPrepareOperator``: ``template``, ``model``,
        ``location``, ``work_uri``, and ``sql``, ``source_table``, ``source_uri`` or ``rows``, and so on.
    """
    connection: dict[str, Any] = {"gcp_conn_id": gcp_conn_id, "impersonation_chain": impersonation_chain}
    submit, wait = {**connection, **(submit or {})}, {**connection, **(wait or {})}
    load = {**connection, "project_id": project_id, **(load or {})}
    _check(batch, prepare=prepare, submit=submit, wait=wait, load=load)
    defaults: Any = dict(default_args or {})
    group = GeminiBatchGroup(group_id=group_id, default_args=defaults)
    with group:
        if batch is None:
            if prepare.get("incremental"):
                prepare = {**prepare, "results_table": results_table}
            made = GeminiBatchPrepareOperator(
                task_id="prepare", project_id=project_id, **connection, **prepare
            )
            batch = made.output
        submitted, waited = _job(group, batch, submit=submit, wait=wait)
        if approval:
            options = approval if isinstance(approval, Mapping) else {}
            asked = approval_task(options, prepare_id=batch.operator.task_id)
            batch >> asked >> submitted
        loaded = GeminiBatchLoadOperator(
            task_id="load", batch=batch, results_table=results_table, errors_table=errors_table, **load
        )
        waited >> loaded
        if teardown:
            cancel = GeminiBatchCancelOperator(task_id="cancel", batch=batch, **connection)
            [waited, loaded] >> cancel.as_teardown(setups=submitted)
    return group


def _check(batch: object, **options: Mapping[str, Any]) -> None:
    """Refuse at once what a task of the group would refuse in its own time, or never see."""
    if batch is not None and not isinstance(batch, PlainXComArg):
        raise ConfigurationError(
            "batch= wants the output of a prepare task, like prepare.output, or the call of a function under "
            "@task.gemini_batch. Nothing was sent."
        )
    if batch is not None and options["prepare"]:
        raise ConfigurationError(
            f"batch= is prepared already: {', '.join(options['prepare'])} belong to its prepare task. Nothing was sent."
        )
    for name, operator, taken in _TASKS:
        given = "gemini_batch()" if name == "prepare" else f"{name}="
        check_names(operator, options[name], given=given, taken=taken)
    check_values(GeminiBatchSubmitOperator, {"batch": [], **options["submit"]})
    check_values(GeminiBatchSensor, {"job_name": _ANY_JOB, **options["wait"]})


_TASKS: tuple[tuple[str, type[BaseOperator], frozenset[str]], ...] = (
    ("prepare", GeminiBatchPrepareOperator, frozenset()),
    ("submit", GeminiBatchSubmitOperator, frozenset({"batch", "part"})),
    ("wait", GeminiBatchSensor, frozenset({"job_name"})),
    ("load", GeminiBatchLoadOperator, frozenset({"batch", "results_table", "errors_table"})),
)
"""The tasks that take options, and the arguments of each that the group sets."""


def _job(
    group: TaskGroup, batch: XComArg, *, submit: Mapping[str, Any], wait: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Return the tasks that submit and wait: one instance of each for every part."""
    if next(group.iter_mapped_task_groups(), None) is not None:
        submitted = GeminiBatchSubmitOperator(task_id="submit", batch=batch, **submit)
        job_name: Any = submitted.output
        return submitted, GeminiBatchSensor(task_id="wait", job_name=job_name, **wait)
    mapped = GeminiBatchSubmitOperator.partial(task_id="submit", **submit).expand(batch=batch)
    return mapped, GeminiBatchSensor.partial(task_id="wait", **wait).expand(job_name=mapped.output)
