"""Answers into BigQuery, server side."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf

from airflow_batch_gemini.batch.loading import check_answered, check_returned
from airflow_batch_gemini.batch.pricing import Price, price_of
from airflow_batch_gemini.batch.tally import Tally, audit, check_echoes, tally
from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.operators._publisher import Publisher

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.report import Report
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.sql.plan import Landed, LoadPlan


class GeminiBatchLoadOperator(Publisher, BaseOperator):
    """Bring the answers of a batch into a results table and an errors table, and report.

    BigQuery does the work: load jobs land requests and predictions as they are, one query gives every row exactly one
    outcome, one script publishes both tables atomically. No answer passes through the worker. Every step has a job id
    made from what it does, so a retry, a clear or a second attempt attaches to what is there and changes nothing.
    Before anything is published the counts must add up. A stalled attempt that wakes up after a newer one has published
    publishes nothing and fails with ``OwnershipLostError``.

    Rows of a job that failed or was cancelled are landed as far as it answered them; the rest is ``missing``.
    Landing tables stay for seven days.

    The properties of the response schema become typed columns. Tables that are there are given the columns they lack,
    and their STRUCTs the fields, and are never changed otherwise; one that has a property as another type is refused
    before the first job. A line that repeats another request than was sent for its key is ``mismatched``: nobody's
    answer.

    An output that is not whole is never taken for one that is. The load fails, publishes nothing and says what is
    missing when a shard is absent, a line cannot be read (see *max_corrupt_lines*), a line carries a key that was not
    sent, or a job says it succeeded with answers of which not one is there: those were paid for, and landed as
    ``missing`` the next repair would buy them again. An empty output of a job that claims no answers is landed: every
    row is ``missing``, with a warning. A doubled line counts once. BigQuery reads lines up to 100 MB.

    :param batch: what ``GeminiBatchPrepareOperator`` returned. Every part must have a job, and that must have ended.
    :param results_table: ``project.dataset.table`` for succeeded rows; created when missing, extended when it lacks
        columns or fields.
    :param errors_table: for all other rows; by default the results table's name with ``_errors``.
    :param batches_table: for one row a round: rows by outcome, tokens, cost beside the estimate, and when it came to
        which stage; published together with the results. By default the results table's name with ``_batches``;
        several loads may share one. ``False`` or ``None``: none.
    :param landing_dataset: ``project.dataset`` for the landing tables; by default the results table's.
    :param batch_date: ``YYYY-MM-DD``, the partition to land in; by default the run's logical date, or when the run has
        none the date it was to run after.
    :param max_corrupt_lines: lines that the output of one job may have that are not JSON (cut, garbled, perhaps of
        invalid UTF-8, which BigQuery may also read with U+FFFD in the place of what is invalid). They are left out, the
        report counts them, and their rows are ``missing``. With more the load fails and publishes nothing.
    :param max_failed_rate: publish nothing and fail when a larger share of the rows, from 0 to 1, has no answer: they
        are ``failed``, ``missing``, ``blocked``, ``mismatched`` or ``rejected``. The share is that of all rows of the
        batch, copies and rejected ones included. A later round is judged with the rounds before it: by how all rows
        of the batch would stand with it, not by its own rows, which are the difficult ones. Landing and outcomes tables
        stay for a look; clear the task with a higher limit to publish, which buys nothing. A load that stops is not
        repaired: where rounds of repair follow, *hold* the rows and let ``GeminiBatchPublishOperator`` judge them.
    :param max_invalid_rate: the same of rows with an answer that cannot be used: ``invalid`` or ``truncated``.
    :param hold: publish nothing yet: put the rows into two tables of the batch's own, beside the results table and kept
        for seven days, where a repair with *hold* chooses from them and ``GeminiBatchPublishOperator`` publishes those
        of all rounds at once. The table of batches has its row all the same: the round was paid for.
    :param latest_view: keep a view ``<results_table>_latest`` with the newest answer to every key. Where it cannot be
        made the load succeeds all the same and says so.
    :param price: USD per million tokens instead of the built-in list, like ``{"input": 1.5, "output": 9}``.
    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    :param project_id: project that runs the BigQuery jobs; by default the connection's, else the results table's.
    :param location: where BigQuery works; by default where the results dataset lies. It must be the same.
    :param deferrable: hold no worker while BigQuery works.
    :param poll_interval: seconds between looks at BigQuery jobs.
    :param timeout: seconds for all of it. What runs then runs on, and a retry attaches to it.
    :return: the report as a dict, which is also kept as ``report.json`` in the workspace.
    """

    template_fields: Sequence[str] = (
        "batch",
        "results_table",
        "errors_table",
        "batches_table",
        "landing_dataset",
        "batch_date",
        "gcp_conn_id",
        "impersonation_chain",
        "project_id",
        "location",
    )

    def __init__(
        self,
        *,
        batch: Any,
        results_table: str,
        errors_table: str | None = None,
        batches_table: str | bool | None = True,
        landing_dataset: str | None = None,
        batch_date: str | None = None,
        max_corrupt_lines: int = 0,
        max_failed_rate: float | None = None,
        max_invalid_rate: float | None = None,
        hold: bool = False,
        latest_view: bool = True,
        price: Price | Mapping[str, Any] | None = None,
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
        if max_corrupt_lines < 0:
            raise ConfigurationError(f"max_corrupt_lines={max_corrupt_lines} is less than none.")
        self.batch = batch
        self.results_table = results_table
        self.errors_table = errors_table
        self.batches_table = batches_table
        self.landing_dataset = landing_dataset
        self.batch_date = batch_date
        self.max_corrupt_lines = max_corrupt_lines
        self.max_failed_rate = max_failed_rate
        self.max_invalid_rate = max_invalid_rate
        self.hold = hold
        if self._gates().any and hold:
            raise ConfigurationError(
                "max_failed_rate= and max_invalid_rate= are for what publishes, and hold=True publishes nothing. "
                "Nothing was loaded; give them to GeminiBatchPublishOperator."
            )
        self.latest_view = latest_view
        self.price = price
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.location = location
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Load, and return the report."""
        with closing(self._warehouse()) as warehouse:
            return self._drive(context, warehouse, time.time() + self.timeout)

    def _drive(self, context: Context, warehouse: WarehouseHook, deadline: float) -> dict[str, Any]:
        """Take every step in order; a step that is done is found done."""
        from airflow_batch_gemini.operators._gathering import gather
        from airflow_batch_gemini.operators._publishing import Publishing
        from airflow_batch_gemini.operators._results import show_latest
        from airflow_batch_gemini.operators._steps import Steps

        batch_date, attempt = self._batch_date(context), str(context["ti"].id)
        given = None if self.price is None else price_of("", self.price)
        plan = gather(self, warehouse, attempt=attempt)
        price = given or price_of(plan.manifest.model)
        steps = Steps(self, warehouse, plan, deadline)
        landed = steps.land()
        steps.take("classify", plan.classify(batch_date=batch_date, price=price))
        steps.expire(plan.kept)
        counted = tally(warehouse.job_rows(steps.take("audit", plan.audit())))
        notes = self._checked(plan, counted, landed)
        publishing = Publishing(steps, counted, landed, price)
        publishing.judge(self._gates())
        publishing.publish(batch_date=batch_date)
        steps.expire(plan.passing)
        notes += show_latest(steps)
        self._lineage = publishing.lineage()
        return self._tell(context, plan, publishing.report(notes=notes, now=time.time()))

    def _checked(self, plan: LoadPlan, counted: Tally, landed: Landed) -> list[str]:
        """Raise unless the counts add up; return what a person should know."""
        audit(counted, rows=plan.manifest.accounted_rows, landed=landed.lines)
        notes = check_answered(plan.jobs_by_part, counted.answered, counted.returned)
        notes += check_returned(plan.manifest, plan.jobs_by_part, counted.anew)
        notes += check_echoes(counted)
        for note in notes:
            self.log.warning("%s", note)
        return notes

    def _tell(self, context: Context, plan: LoadPlan, report: Report) -> dict[str, Any]:
        """Write ``report.json``, move the ledgers on, tell the log and the outlets."""
        from airflow_batch_gemini.operators._gathering import keep_report
        from airflow_batch_gemini.operators._lineage import tell_outlets

        keep_report(self, plan, report)
        tell_outlets(context, self.outlets, report.to_dict())
        for line in report.lines():
            self.log.info("%s", line)
        if plan.holds:
            self.log.info("These rows are held back until all rounds are published.")
        return report.to_dict()

    def _batch_date(self, context: Context) -> str:
        given = self.batch_date or context.get("ds") or context["dag_run"].run_after.strftime("%Y-%m-%d")
        try:
            return dt.date.fromisoformat(str(given)).isoformat()
        except ValueError as error:
            raise ConfigurationError(
                f"batch_date={given!r} is not a date (like '2026-11-30'). Nothing was loaded; correct it."
            ) from error
