"""Rows that did not succeed, asked once more where that may help."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini.batch.pricing import Price, price_of
from airflow_batch_gemini.batch.repair import MAX_ROUNDS, RepairPolicy
from airflow_batch_gemini.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.allowance import Allowance
    from airflow_batch_gemini.batch.manifest import Manifest
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._repairing import RepairPlan
    from airflow_batch_gemini.operators._resuming import DeadJob


class GeminiBatchRepairOperator(BaseOperator):
    """Make a batch of exactly those rows of another one that deserve another try, each by its own rule.

    Errors that may pass and rows that are missing or mismatched are sent as they were; truncated ones with more output
    tokens, or less thinking where there are no more; those that do not fit the schema with a sentence more in their
    system instruction. Blocked rows and lasting errors stay in the errors table. Nothing is paid here: submit, wait and
    load follow, mapped over what this returns, a small dict for each part as from ``GeminiBatchPrepareOperator``.

    The load puts the answers to the others of the first round, whose id all rounds share. Success wins over whatever
    was before; a row that fails again has its newest error. Rows that share a request get its answer.

    Run again over the same tables it writes the same bytes. Once its rows were sent, it leaves them as they are: they
    are chosen anew only when the first round was bought anew or the arguments have changed, and then without those that
    have succeeded meanwhile. When no row deserves it, this task and what follows are skipped.

    With *resume* a job of the first round that ended early (FAILED, EXPIRED, CANCELLED or PARTIALLY_SUCCEEDED) is gone
    on with as Vertex AI has it: a copy of its output is what another job reads, one part of this round. That one runs
    every row in it that has no response, those that the policy gives up included, and gives the others back; these are
    neither landed nor counted nor priced again. Rows of which that output has no line and rows that deserve something
    else are sent as requests. So are all where limits allow less than such a job would run, where its output cannot be
    read whole, is larger than an input may be or is gone when the round is submitted, and once a round of repair was
    loaded: the output lacks what that one has answered, and it would be bought again. The log says why.

    How Vertex AI tells the rows that are finished is not documented, and none of this was tried at Google. Should it
    run them again it would bill them; their rows stay as they are, and the report of the load has a note.

    Requests on Cloud Storage are picked out of the files of the first round, of which the worker sees line after line;
    those in BigQuery become a table without a byte passing the worker.

    :param batch: what ``GeminiBatchPrepareOperator`` returned, whatever the round. Templated.
    :param results_table: what the load operator is given. Templated.
    :param errors_table: the same; by default the results table's name with ``_errors``. Templated.
    :param hold: whether the loads have held their rows back; those are chosen from then.
    :param round: which repair pass this is, from 1 to 9; each round has a task of its own.
    :param policy: by outcome (``"invalid"``) or outcome and reason (``"failed/NO_CANDIDATES"``) what is done instead of
        the usual: ``"same"``, ``"more_tokens"``, ``"correct"`` or ``"give_up"``; or a ``RepairPolicy``.
    :param model: another model for this round. Templated.
    :param max_rows: rows in this round at most; the first ones are taken.
    :param max_cost_usd: what they may cost, reckoned by what the rows so far did cost.
    :param price: USD per million tokens instead of the built-in list, like ``{"input": 1.5, "output": 9}``.
    :param resume: go on with jobs of the first round that ended early.
    :param project_id: project that runs the BigQuery jobs; by default the connection's, else the results table's.
        Templated.
    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    template_fields: Sequence[str] = (
        "batch", "results_table", "errors_table", "model", "project_id", "gcp_conn_id", "impersonation_chain",
    )  # fmt: skip
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        batch: Any,
        results_table: str,
        errors_table: str | None = None,
        hold: bool = False,
        round: int = 1,  # noqa: A002  # the word of the tables
        policy: RepairPolicy | Mapping[str, str] | None = None,
        model: str | None = None,
        max_rows: int | None = None,
        max_cost_usd: float | str | Decimal | None = None,
        price: Price | Mapping[str, Any] | None = None,
        resume: bool = False,
        project_id: str | None = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.results_table = results_table
        self.errors_table = errors_table
        self.hold = hold
        self.round = round
        self.policy = policy
        self.model = model
        self.max_rows = max_rows
        self.max_cost_usd = max_cost_usd
        self.price = price
        self.resume = resume
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        _check(self)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Prepare the round, and return its batch: one small dict a part."""
        from airflow_batch_gemini.operators._mended import Mender
        from airflow_batch_gemini.operators._repairing import allowed, planned, sent_before

        with closing(self._workspace()) as hook, closing(self._warehouse()) as warehouse:
            plan = planned(self, context, hook, warehouse)
            if (before := sent_before(plan, hook)) is not None:
                self.log.info("Round %d was sent before, and stays as it is.", self.round)
                return before.to_xcom()
            resumed, allowance = self._resumed(plan, allowed(plan, self, warehouse), hook, warehouse)
            mender = Mender(
                plan=plan,
                allowance=allowance,
                resumed=resumed,
                hook=hook,
                warehouse=warehouse,
                created_at=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
                log=self.log,
            )
            return self._told(mender.mend())

    def _resumed(
        self, plan: RepairPlan, allowance: Allowance, hook: WorkspaceHook, warehouse: WarehouseHook
    ) -> tuple[tuple[DeadJob, ...], Allowance]:
        """Return the jobs that others go on with, and what may be sent beside that."""
        from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
        from airflow_batch_gemini.operators._resuming import DeadJobs

        if not self.resume:
            return (), allowance
        vertex = GeminiBatchHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        with closing(vertex):
            found = DeadJobs(plan=plan, hook=hook, warehouse=warehouse, vertex=vertex, log=self.log)
            return found.take(allowance)

    def _told(self, manifest: Manifest | None) -> list[dict[str, Any]]:
        if manifest is None:
            why = (
                f"No row deserves round {self.round}: all have succeeded, another try would not help them, or "
                "max_rows= or max_cost_usd= allows none. Nothing was sent."
            )
            self.log.info(why)  # Airflow folds the reason of a skip away
            raise AirflowSkipException(why)
        self.log.info("Round %d: %s requests.", self.round, f"{manifest.rows:,}")
        return manifest.to_xcom()

    def _workspace(self) -> WorkspaceHook:
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook

        return WorkspaceHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)

    def _warehouse(self) -> WarehouseHook:
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        return WarehouseHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)


def _check(operator: GeminiBatchRepairOperator) -> None:
    """Refuse what cannot be meant while the DAG is parsed."""
    RepairPolicy.of(operator.policy)
    if operator.price is not None:
        price_of("", operator.price)
    if type(operator.round) is not int or not 1 <= operator.round <= MAX_ROUNDS:
        raise ConfigurationError(
            f"round={operator.round!r} is not a number from 1 to {MAX_ROUNDS}. Nothing was sent."
        )
    if operator.max_rows is not None and (type(operator.max_rows) is not int or operator.max_rows < 1):
        raise ConfigurationError(f"max_rows={operator.max_rows!r} is no number of rows. Nothing was sent.")
    if type(operator.resume) is not bool:
        raise ConfigurationError(f"resume={operator.resume!r} is neither True nor False. Nothing was sent.")
    if operator.max_cost_usd is not None and not _is_money(operator.max_cost_usd):
        raise ConfigurationError(
            f"max_cost_usd={operator.max_cost_usd!r} is no sum of money. Nothing was sent."
        )


def _is_money(value: object) -> bool:
    try:
        usd = Decimal(str(value))
    except InvalidOperation:
        return False
    return usd.is_finite() and usd > 0
