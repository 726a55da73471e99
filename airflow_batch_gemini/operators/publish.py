"""Rows of all rounds, held back until the last one, into the tables that others read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini.batch.report import newest
from airflow_batch_gemini.batch.report_table import report_lines
from airflow_batch_gemini.operators._publisher import Publisher

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.sql.plan import LoadPlan


class GeminiBatchPublishOperator(Publisher, BaseOperator):
    """Judge a batch as all its rounds left it, and publish it at once, or not at all.

    The loads before it have ``hold=True``: their rows lie in two tables of the batch's own, where the repairs chose
    from them. What a gate counts here are the rows that no round could mend. Only when they pass, one script puts every
    row into the results table or the errors table; whoever reads these has never seen a row that was not judged.

    Where no round was loaded, as when the batch was not approved, this is skipped too.

    Run again it changes nothing. When a gate does not pass, nothing is published and nothing is lost: what is held back
    stays for seven days, and can be loaded anew after that, since the answers are in the workspace.

    :param batch: what ``GeminiBatchPrepareOperator`` returned. Templated.
    :param reports: what the loads returned, in the order of the rounds; of a round that was skipped, ``None``.
    :param results_table: what the loads are given. Templated.
    :param errors_table: the same; by default the results table's name with ``_errors``. Templated.
    :param max_failed_rate: publish nothing and fail when a larger share of all rows, from 0 to 1, has no answer after
        the last round: they are ``failed``, ``missing``, ``blocked``, ``mismatched`` or ``rejected``.
    :param max_invalid_rate: the same of rows with an answer that cannot be used: ``invalid`` or ``truncated``.
    :param latest_view: keep a view ``<results_table>_latest`` with the newest answer to every key.
    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    :param project_id: project that runs the BigQuery jobs; by default the connection's, else the results table's.
    :param location: where BigQuery works; by default where the results dataset lies. It must be the same.
    :param deferrable: hold no worker while BigQuery works.
    :param poll_interval: seconds between looks at BigQuery jobs.
    :param timeout: seconds for all of it. What runs then runs on, and a retry attaches to it.
    :return: the report of the last round there was, with the tables that were published to.
    """

    template_fields: Sequence[str] = (
        "batch",
        "reports",
        "results_table",
        "errors_table",
        "gcp_conn_id",
        "impersonation_chain",
        "project_id",
        "location",
    )

    def __init__(
        self,
        *,
        batch: Any,
        reports: Any,
        results_table: str,
        errors_table: str | None = None,
        max_failed_rate: float | None = None,
        max_invalid_rate: float | None = None,
        latest_view: bool = True,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
        location: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 5.0,
        timeout: float = 6 * 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.reports = reports
        self.results_table = results_table
        self.errors_table = errors_table
        self.max_failed_rate = max_failed_rate
        self.max_invalid_rate = max_invalid_rate
        self._gates()
        self.latest_view = latest_view
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.location = location
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge, publish, and return the report."""
        if all(report is None for report in self.reports):
            raise AirflowSkipException("No round of this batch was loaded. Nothing was published.")
        with closing(self._warehouse()) as warehouse:
            return self._drive(context, warehouse, time.time() + self.timeout)

    def _drive(self, context: Context, warehouse: WarehouseHook, deadline: float) -> dict[str, Any]:
        from airflow_batch_gemini.operators._lineage import tell
        from airflow_batch_gemini.operators._releasing import release, release_lineage, release_plan
        from airflow_batch_gemini.operators._results import show_latest
        from airflow_batch_gemini.operators._steps import Steps

        report, attempt = newest(self.reports), str(context["ti"].id)
        plan, held = release_plan(self, warehouse, attempt=attempt)
        steps = Steps(self, warehouse, plan, deadline)
        standing = release(steps, held, self._gates(), round=report["round"])
        notes = show_latest(steps)
        self._lineage = release_lineage(plan, held)
        tell(self._lineage, warehouse, self.log)
        return self._tell(
            context, plan, {**report, "standing": standing, "notes": [*report["notes"], *notes]}
        )

    def _tell(self, context: Context, plan: LoadPlan, report: dict[str, Any]) -> dict[str, Any]:
        """Tell the log and the outlets."""
        from airflow_batch_gemini.operators._lineage import tell_outlets

        tables = {**report["tables"], "results": str(plan.results), "errors": str(plan.errors)}
        report = {**report, "tables": tables}
        tell_outlets(context, self.outlets, report)
        for line in report_lines(report):
            self.log.info("%s", line)
        return report
