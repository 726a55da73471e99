"""A whole batch in one call: prepare, submit, wait and load, wired over as many parts as the rows need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from airflow.sdk import BaseOperator, TaskGroup, XComArg
from airflow.sdk.definitions.xcom_arg import PlainXComArg

from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.repair import MAX_ROUNDS
from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.task_groups._approval import approval_task
from airflow_batch_gemini.task_groups._options import check_names, check_values
from airflow_batch_gemini.task_groups._wiring import Wish, wire_repair, wire_round

__all__ = ["GeminiBatchGroup", "gemini_batch"]

_ANY_JOB = "projects/p/locations/us-central1/batchPredictionJobs/1"


class GeminiBatchGroup(TaskGroup):
    """The tasks of one batch as :func:`gemini_batch` wires them; ``group["load"]`` is one of them."""

    @property
    def output(self) -> XComArg:
        """The report of the last round that was not skipped, for a task after the group."""
        ends = ("publish", "report", "load")
        last, *_ = [name for name in ends if self._has(name)]
        return XComArg(cast("BaseOperator", self[last]))

    def _has(self, name: str) -> bool:
        return self.child_id(name) in self.children  # type: ignore[no-untyped-call]  # Airflow leaves it untyped


def gemini_batch(
    *,
    results_table: str,
    group_id: str = "gemini_batch",
    batch: Any = None,
    errors_table: str | None = None,
    project_id: str | None = None,
    price: Price | Mapping[str, Any] | None = None,
    gcp_conn_id: str | None = None,
    impersonation_chain: str | Sequence[str] | None = None,
    approval: bool | Mapping[str, Any] = False,
    teardown: bool = False,
    rounds: int = 0,
    resume: bool = False,
    submit: Mapping[str, Any] | None = None,
    wait: Mapping[str, Any] | None = None,
    load: Mapping[str, Any] | None = None,
    repair: Mapping[str, Any] | None = None,
    default_args: Mapping[str, Any] | None = None,
    **prepare: Any,
) -> GeminiBatchGroup:
    """Wire a whole batch, from rows to the results table, and return its task group.

    ``prepare`` → (``approve`` →) ``submit`` → ``wait`` → ``load``, with one mapped submit and wait for each part. In a
    task group that is mapped itself, which Airflow maps no task in, a batch has to fit one part.

    With *rounds* there follow ``repair_1`` → ``submit_1`` → ``wait_1`` → ``load_1`` and so on, for rows that did not
    succeed and deserve another try. Where no row does, that round and those after it are skipped, and nothing else is:
    what comes after the group follows ``report``, which runs when a load has succeeded and no task has failed. An asset
    among the ``outlets`` of *load* is told of by that task: one event a batch, whatever the rounds.

    Each load publishes its rows, and the rounds mend what is there. With ``max_failed_rate`` or ``max_invalid_rate`` in
    *load* nothing is published before it is judged, and only what no round could mend counts: the loads hold their rows
    back, and ``publish``, in the place of ``report``, judges all of them and publishes them at once, or fails.

    A wait whose job failed keeps its load from running. With ``load={"trigger_rule": "none_skipped"}`` what that job
    answered is landed all the same, and the rest is for the rounds.

    Every argument is judged when the DAG is parsed, those of the mapped tasks too: a wrong name or value is an import
    error of the DAG file, not a failure after the bill.

    :param results_table: ``project.dataset.table`` for succeeded rows; with ``incremental=True`` also where earlier
        answers are.
    :param group_id: the group's id, and the prefix of its tasks.
    :param batch: what a prepare task outside of the group returns, such as a function under ``@task.gemini_batch``.
        Then the group begins with ``submit`` (or ``approve``), and no argument of prepare may be given.
    :param errors_table: for all other rows; by default the results table's name with ``_errors``.
    :param project_id: the project of the jobs, Vertex AI's and BigQuery's; by default the connection's.
    :param price: USD per million tokens instead of the built-in list, for estimate, report and repair alike.
    :param gcp_conn_id: the connection of every task; by default what *default_args* say, the DAG's too, or
        ``google_cloud_default``.
    :param impersonation_chain: service account that every task impersonates, or a chain of them.
    :param approval: ask a person before there is a job: a task ``approve`` shows rows, parts, size, and what prepare
        knows of the cost, and holds no worker meanwhile. Rejected, the rest is skipped, and in a mapped group
        ``approve`` too. A dict is for ``ApprovalOperator``, like ``{"subject": …, "body": …, "response_timeout": …}``.
    :param teardown: add a teardown task ``cancel``: what still runs when the waits are over, as after a timeout, is
        cancelled. What it answered until then is kept and paid for.
    :param rounds: how often rows that deserve it are asked once more, at most 9. They are paid for without another
        approval; ``repair={"max_cost_usd": …}`` bounds each round.
    :param resume: let these rounds go on with jobs of the first one that ended early, as ``GeminiBatchRepairOperator``
        has it. Its load must run although a wait has failed, see above.
    :param submit: more arguments of ``GeminiBatchSubmitOperator``, of each part's task.
    :param wait: more arguments of ``GeminiBatchSensor``, of each part's task.
    :param load: more arguments of ``GeminiBatchLoadOperator``.
    :param repair: more arguments of ``GeminiBatchRepairOperator``, of each round's task.
    :param default_args: defaults for every task of the group, like ``{"retries": 3}``.
    :param prepare: every other argument is one of ``GeminiBatchPrepareOperator``: ``template``, ``model``,
        ``location``, ``work_uri``, and ``sql``, ``source_table``, ``source_uri`` or ``rows``, and so on.
    """
    connection = _given(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
    payer = {**connection, **_given(project_id=project_id, price=price)}
    wish = Wish(
        connection=connection,
        tables={"results_table": results_table, **_given(errors_table=errors_table)},
        submit={**connection, **(submit or {})},
        wait={**connection, **(wait or {})},
        load={**payer, **(load or {})},
        repair={**payer, **({"resume": True} if resume else {}), **(repair or {})},
        teardown=teardown,
    )
    for name, given in [("repair=", repair), ("resume=", resume)]:
        if given and not rounds:
            raise ConfigurationError(f"{name} is for rounds=, and there are none. Nothing was sent.")
    _check(batch, prepare, wish, rounds=rounds)
    wish = wish.over_rounds() if rounds else wish
    defaults: Any = dict(default_args or {})
    group = GeminiBatchGroup(group_id=group_id, default_args=defaults)
    check_values(GeminiBatchSubmitOperator, {"batch": [], **wish.submit}, group=group)
    check_values(GeminiBatchSensor, {"job_name": _ANY_JOB, **wish.wait}, group=group)
    if batch is not None:
        _check_place(batch.operator, group)
    with group:
        if batch is None:
            if prepare.get("incremental"):
                prepare = {**prepare, "results_table": results_table}
            batch = GeminiBatchPrepareOperator(task_id="prepare", **payer, **prepare).output
        submitted, loaded = wire_round(group, batch, wish)
        if approval:
            options = approval if isinstance(approval, Mapping) else {}
            batch >> approval_task(options, prepare=batch.operator, submit=submitted) >> submitted
        if rounds:
            wire_repair(group, batch, loaded, wish, rounds=rounds)
    return group


def _given(**arguments: Any) -> dict[str, Any]:
    """Return what was said: a ``None`` that is passed on would hide what *default_args* say."""
    return {name: value for name, value in arguments.items() if value is not None}


def _check(batch: object, prepare: Mapping[str, Any], wish: Wish, *, rounds: int) -> None:
    """Refuse at once what a task of the group would refuse in its own time, or never see."""
    if batch is not None and not isinstance(batch, PlainXComArg):
        raise ConfigurationError(
            "batch= wants the output of a prepare task, like prepare.output, or the call of a function under "
            "@task.gemini_batch. Nothing was sent."
        )
    if batch is not None and prepare:
        raise ConfigurationError(
            f"batch= is prepared already: {', '.join(prepare)} belong to its prepare task. Nothing was sent."
        )
    if type(rounds) is not int or not 0 <= rounds <= MAX_ROUNDS:
        raise ConfigurationError(
            f"rounds={rounds!r} is not a number from 0 to {MAX_ROUNDS}. Nothing was sent."
        )
    check_names(GeminiBatchPrepareOperator, prepare, given="gemini_batch()", taken=())
    for name, operator, taken in _TASKS:
        check_names(operator, getattr(wish, name), given=f"{name}=", taken=taken)


def _check_place(prepare: Any, group: TaskGroup) -> None:
    """Refuse several batches where one is wanted: its jobs would be paid for, and no load could tell them apart."""
    around = {one.group_id for one in group.iter_mapped_task_groups()}
    if prepare.is_mapped or any(one.group_id not in around for one in prepare.iter_mapped_task_groups()):
        raise ConfigurationError(
            f"batch= is what {prepare.task_id} returns, and as it is mapped that are several batches. Nothing was "
            "sent; call gemini_batch() in a mapped task group, together with the task that prepares."
        )


_TABLES = frozenset({"batch", "results_table", "errors_table"})
_TASKS: tuple[tuple[str, type[BaseOperator], frozenset[str]], ...] = (
    ("submit", GeminiBatchSubmitOperator, frozenset({"batch", "part"})),
    ("wait", GeminiBatchSensor, frozenset({"job_name"})),
    ("load", GeminiBatchLoadOperator, _TABLES | {"hold"}),
    ("repair", GeminiBatchRepairOperator, _TABLES | {"hold", "round"}),
)
"""The tasks that take options, and the arguments of each that the group sets."""
