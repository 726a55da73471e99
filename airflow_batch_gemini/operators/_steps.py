"""The BigQuery jobs of a load, one after the other: started once, waited for here or in the triggerer."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from airflow_batch_gemini.batch.landing import JobOutcome, WarehouseJob
from airflow_batch_gemini.exceptions import AccountingError, LandingError, OwnershipLostError
from airflow_batch_gemini.sql.publishing import SUPERSEDED, UNACCOUNTED

if TYPE_CHECKING:
    from airflow.sdk.types import Logger
    from airflow.triggers.base import BaseTrigger

    from airflow_batch_gemini.batch.names import TableName
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.sql.plan import Landed, LoadPlan

_TRANSIENT_ATTEMPTS = 3
_CONTENDED_ATTEMPTS = 20
"""Batches that end together, as those of a mapped group do, publish to the same tables; BigQuery lets one through at a
time and aborts the others."""
KEPT_SECONDS = 7 * 24 * 3600.0
"""How long tables that a load makes on its way stay for a look."""


class Waiter(Protocol):
    """What the steps need to know of the task that takes them."""

    deferrable: bool
    poll_interval: float
    timeout: float
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None

    @property
    def log(self) -> Logger:
        """Where it tells what it does."""

    def defer(
        self, *, trigger: BaseTrigger, method_name: str, kwargs: dict[str, Any] | None, timeout: Any
    ) -> NoReturn:
        """Leave the worker."""


@dataclass(frozen=True)
class Steps:
    """Takes the steps of one load; a step that is done is found done, one that is not done may defer the task.

    :param deadline: epoch seconds by which all must be done.
    """

    operator: Waiter
    warehouse: WarehouseHook
    plan: LoadPlan
    deadline: float

    def land(self) -> Landed:
        """Run all load jobs side by side, and return what they landed."""

        def jobs() -> list[WarehouseJob]:
            return [
                self._job(load.purpose, load.configuration, salt=load.salt, expect_table=load.table)
                for load in self.plan.loads
            ]

        return self.plan.landed([outcome for _, outcome in self._finish(jobs)])

    def take(self, purpose: str, configuration: Mapping[str, Any]) -> WarehouseJob:
        """Run one job that every attempt runs anew, and return it."""
        [(done, _)] = self._finish(lambda: [self._job(purpose, configuration, salt=self.plan.attempt)])
        return done

    def expire(self, tables: Iterable[TableName]) -> None:
        """Let BigQuery delete tables that were made on the way, once there was time for a look."""
        for table in tables:
            self.warehouse.expire_table(table, seconds=KEPT_SECONDS)

    def _job(self, purpose: str, configuration: Mapping[str, Any], **kwargs: Any) -> WarehouseJob:
        return self.warehouse.ensure_job(
            configuration=configuration,
            project=self.plan.project,
            location=self.plan.location,
            purpose=purpose,
            **kwargs,
        )

    def _finish(self, start: Callable[[], list[WarehouseJob]]) -> list[tuple[WarehouseJob, JobOutcome]]:
        """Return the jobs that *start* names once all have succeeded; defer meanwhile, or wait here."""
        while True:
            seen = [(job, self._look(job)) for job in start()]
            for job, outcome in seen:
                refuse_failed(job, outcome)
            if all(outcome.done and not outcome.failed for _, outcome in seen):
                return seen
            if running := [job for job, outcome in seen if not outcome.done]:
                self._defer(running)

    def _look(self, job: WarehouseJob) -> JobOutcome:
        if self.operator.deferrable:
            return self.warehouse.look(job)
        left = max(self.deadline - time.time(), 0.0)
        return self.warehouse.until_done(job, timeout=left, poll_interval=self.operator.poll_interval)

    def _defer(self, jobs: Sequence[WarehouseJob]) -> None:
        from airflow_batch_gemini.triggers.warehouse import GeminiBatchWarehouseTrigger

        operator, left = self.operator, self.deadline - time.time()
        if left <= 0:
            raise LandingError(
                f"BigQuery is not done after {operator.timeout:.0f} s with {', '.join(map(str, jobs))}. It works on; "
                "a retry goes on from there."
            )
        operator.log.info("Waiting for BigQuery, %d to go, first %s.", len(jobs), jobs[0])
        operator.defer(
            trigger=GeminiBatchWarehouseTrigger(
                jobs=[job.to_list() for job in jobs],
                deadline=self.deadline,
                poll_interval=operator.poll_interval,
                gcp_conn_id=operator.gcp_conn_id,
                impersonation_chain=operator.impersonation_chain,
            ),
            method_name="resume",
            kwargs={"deadline": self.deadline},
            timeout=dt.timedelta(seconds=left + 10 * operator.poll_interval + 60),
        )


def refuse_failed(job: WarehouseJob, outcome: JobOutcome) -> None:
    """Raise for a job that failed, unless the next one of its name may well succeed."""
    if SUPERSEDED in (outcome.error or ""):
        raise OwnershipLostError(
            f"BigQuery job {job} changed nothing: {SUPERSEDED}. This attempt stops; look at the newer one."
        )
    if UNACCOUNTED in (outcome.error or ""):
        raise AccountingError(
            f"BigQuery job {job} changed nothing: {UNACCOUNTED}. The first round is not in these tables, or was "
            "prepared anew since this round was, or somebody deleted rows of it. Load the first round, then clear this "
            "one's repair task."
        )
    # Our scripts create only what does not exist; "duplicate" says that somebody created it at the same moment.
    may_pass = outcome.transient or outcome.reason == "duplicate"
    attempts = _CONTENDED_ATTEMPTS if outcome.contended else _TRANSIENT_ATTEMPTS
    if outcome.failed and not (may_pass and job.attempt + 1 < attempts):
        raise LandingError(f"{outcome.sentence(job)} What was landed is kept; a retry goes on from there.")
