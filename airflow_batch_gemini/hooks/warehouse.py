"""BigQuery: jobs that are started once, looked at, and read page by page."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_batch_gemini.batch.landing import (
    MAX_ATTEMPTS,
    Column,
    JobOutcome,
    TableInfo,
    WarehouseJob,
    job_id,
    same_configuration,
)
from airflow_batch_gemini.batch.names import DatasetName, TableName, project_id
from airflow_batch_gemini.batch.parameters import job_parameters
from airflow_batch_gemini.batch.progress import duration
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    GeminiBatchError,
    LandingError,
    SourceError,
)
from airflow_batch_gemini.hooks._bigquery import (
    REQUEST_SECONDS,
    column_of,
    grow,
    insert,
    outcome_of,
    retry,
    tables_read,
    translated,
)
from airflow_batch_gemini.hooks._endpoint import checked_override, fitting_credentials

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud.bigquery import Client

__all__ = ["Column", "JobOutcome", "TableInfo", "WarehouseHook", "WarehouseJob"]

PROGRESS_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1


class WarehouseHook(GoogleBaseHook):
    """BigQuery by an Airflow connection of type ``google_cloud_platform``.

    With ``BIGQUERY_EMULATOR_HOST`` it talks to a local stand-in, and then only with credentials that no Google
    service would honour.

    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self._clients: dict[str, Client] = {}

    def get_credentials_and_project_id(self) -> tuple[Credentials, str | None]:
        """Load the connection's credentials, after a look at where they would be sent."""
        override = checked_override(self, "BIGQUERY_EMULATOR_HOST")
        credentials, project = super().get_credentials_and_project_id()
        return fitting_credentials(credentials, override), project

    def client(self, project: str) -> Client:
        """Return the BigQuery client that starts its jobs in *project*."""
        from google.cloud.bigquery import Client

        if project not in self._clients:
            project_id(project)  # the client puts it into its URLs as it is
            self._clients[project] = Client(project=project, credentials=self.get_credentials())
        return self._clients[project]

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        while self._clients:
            self._clients.popitem()[1].close()

    def ensure_job(
        self,
        *,
        configuration: Mapping[str, Any],
        project: str,
        location: str,
        purpose: str,
        salt: str = "",
        expect_table: TableName | None = None,
        failure: type[GeminiBatchError] = LandingError,
    ) -> WarehouseJob:
        """Start the job unless it exists, and return its name: asked again, it attaches and starts nothing.

        A lost answer, a crash or a second attempt meets 409 and attaches after comparing configurations. Only after a
        failed job, or when the table that a finished job wrote is gone, a new one starts under the next name.

        :param configuration: ``configuration`` of a job as the REST API spells it, with ``query`` or ``load``.
        :param purpose: one word for the job's name.
        :param salt: makes a different job of the same configuration.
        :param expect_table: what the job leaves behind.
        :param failure: what to raise when BigQuery refuses the job.
        """
        for attempt in range(MAX_ATTEMPTS):
            name = job_id(configuration, purpose=purpose, salt=salt, attempt=attempt)
            job = WarehouseJob(project=project, location=location, job_id=name)
            if self._insert(job, configuration, failure) or self._attach(
                job, configuration, expect_table, failure
            ):
                return job
        raise failure(
            f"BigQuery failed {MAX_ATTEMPTS} times at the same {purpose} job, last {job}. Nothing was changed; "
            "look at the error of that job."
        )

    def look(self, job: WarehouseJob, *, failure: type[GeminiBatchError] = LandingError) -> JobOutcome:
        """Ask once how *job* is."""
        return outcome_of(self._get(job, failure))

    def wait(
        self,
        job: WarehouseJob,
        *,
        timeout: float,
        poll_interval: float = 2.0,
        failure: type[GeminiBatchError] = LandingError,
    ) -> JobOutcome:
        """Look until *job* is done; raise *failure* when it failed or took longer than *timeout* seconds.

        A job that takes too long runs on: asking for it again attaches to it.
        """
        outcome = self.until_done(job, timeout=timeout, poll_interval=poll_interval, failure=failure)
        if outcome.failed:
            raise failure(outcome.sentence(job))
        return outcome

    def until_done(
        self,
        job: WarehouseJob,
        *,
        timeout: float,
        poll_interval: float = 2.0,
        failure: type[GeminiBatchError] = LandingError,
    ) -> JobOutcome:
        """Look until *job* is done, however it ended; raise *failure* after *timeout* seconds.

        The first looks follow each other faster: most statements take less than *poll_interval*.
        """
        began = told = time.monotonic()
        pause = min(_FIRST_PAUSE_SECONDS, poll_interval)
        while not (outcome := self.look(job, failure=failure)).done:
            now = time.monotonic()
            if now - told >= PROGRESS_SECONDS:
                told = now
                self.log.info("BigQuery job %s has been running for %s.", job, duration(now - began))
            if now >= began + timeout:
                raise failure(
                    f"BigQuery job {job} is not done after {timeout:.0f} s. It runs on; a retry waits for it."
                )
            time.sleep(pause)  # BigQuery tells nobody: who waits has to ask
            pause = min(2 * pause, poll_interval)
        return outcome

    def job_rows(
        self, job: WarehouseJob, *, page_size: int = 5000, failure: type[GeminiBatchError] = LandingError
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows that a finished query job answered, one page in memory at a time."""
        with translated(failure, f"reading the rows of job {job}"):
            rows = self._get(job, failure).result(
                page_size=page_size, timeout=REQUEST_SECONDS, job_retry=None
            )
            for row in rows:
                yield dict(row.items())

    def query_rows(
        self,
        sql: str,
        *,
        project: str,
        location: str,
        params: Mapping[str, Any] | None = None,
        page_size: int = 5000,
        on_total: Callable[[int], None] | None = None,
        on_read: Callable[[Sequence[TableName]], None] | None = None,
        failure: type[GeminiBatchError] = SourceError,
    ) -> Iterator[dict[str, Any]]:
        """Run a query and yield its rows as dicts, one page in memory at a time.

        :param params: named parameters (``@name``), as :func:`~airflow_batch_gemini.batch.parameters.query_parameters`
            reads them.
        :param on_total: told how many rows there are, before the first of them.
        :param on_read: told which tables the query read, before the first row.
        """
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig.from_api_repr({"query": {"useLegacySql": False, **job_parameters(params)}})
        with translated(failure, "running a query"):
            query = self.client(project).query(
                sql, job_config=config, location=location, project=project, retry=retry()
            )
            rows = query.result(page_size=page_size)
            if on_total is not None:
                on_total(int(rows.total_rows or 0))
            if on_read is not None:
                on_read(tables_read(query))
            for row in rows:
                yield dict(row.items())

    def dataset_location(self, dataset: DatasetName) -> str:
        """Return where *dataset* lies: ``us-central1``, ``US``; :class:`SourceError` when there is none.

        :raises ConfigurationError: its tables take ``a`` and ``A`` for the same text: two keys would be one row there,
            and get each other's answers.
        """
        with translated(SourceError, f"looking at dataset {dataset}"):
            found = self.client(dataset.project).get_dataset(
                str(dataset), retry=retry(), timeout=REQUEST_SECONDS
            )
        if collation := found.to_api_repr().get("defaultCollation"):
            raise ConfigurationError(
                f"Dataset {dataset} has the default collation {collation}: in its tables keys that differ in upper and "
                "lower case alone would be one row. Nothing was changed; use a dataset without one."
            )
        return str(found.location)

    def table_info(self, table: TableName) -> TableInfo | None:
        """Return what BigQuery says of *table*; ``None`` only when BigQuery says that there is none."""
        from google.api_core.exceptions import NotFound

        with translated(SourceError, f"looking at table {table}"):
            try:
                found = self.client(table.project).get_table(
                    str(table), retry=retry(), timeout=REQUEST_SECONDS
                )
            except NotFound:
                return None
        return TableInfo(
            table=table,
            location=str(found.location),
            rows=int(found.num_rows or 0),
            size=int(found.num_bytes or 0),
            columns=tuple(map(column_of, found.schema)),
            description=found.description or "",
        )

    def grow_table(self, table: TableName, columns: Sequence[Column]) -> None:
        """Give the STRUCTs of *table* the fields that *columns* have and they lack; nothing else is changed.

        No statement does that, and no job. Of two at a time one is refused and looks again at what the other left.

        :param columns: as they have to become; what is there must be the beginning of it.
        """
        with translated(LandingError, f"adding fields to table {table}"):
            grow(self.client(table.project), table, columns)

    def expire_table(self, table: TableName, *, seconds: float) -> None:
        """Let BigQuery delete *table* by itself, *seconds* from now."""
        from google.cloud.bigquery import Table

        changed = Table(str(table))
        changed.expires = dt.datetime.now(tz=dt.UTC) + dt.timedelta(seconds=seconds)
        with translated(LandingError, f"setting the expiration of table {table}"):
            self.client(table.project).update_table(
                changed, ["expires"], retry=retry(), timeout=REQUEST_SECONDS
            )

    def _insert(
        self, job: WarehouseJob, configuration: Mapping[str, Any], failure: type[GeminiBatchError]
    ) -> bool:
        """Start *job*; ``False`` when a job of that name exists."""
        from google.api_core.exceptions import Conflict

        with translated(failure, f"starting job {job}"):
            try:
                insert(self.client(job.project), job, configuration)
            except Conflict:
                return False
        return True

    def _attach(
        self,
        job: WarehouseJob,
        configuration: Mapping[str, Any],
        expect_table: TableName | None,
        failure: type[GeminiBatchError],
    ) -> bool:
        """Return whether the existing *job* does the work; ``False`` when it takes another one."""
        found = self._get(job, failure)
        if not same_configuration(configuration, found.to_api_repr().get("configuration")):
            raise failure(
                f"BigQuery job {job} exists and does something else than was asked. Nothing was changed; it was not "
                "started by this package."
            )
        outcome = outcome_of(found)
        if outcome.failed:
            self.log.info("BigQuery job %s failed (%s): starting the next one.", job, outcome.reason)
            return False
        if outcome.done and expect_table is not None and self.table_info(expect_table) is None:
            self.log.info("What BigQuery job %s wrote is gone: starting the next one.", job)
            return False
        return True

    def _get(self, job: WarehouseJob, failure: type[GeminiBatchError]) -> Any:
        with translated(failure, f"looking at job {job}"):
            return self.client(job.project).get_job(
                job.job_id,
                project=job.project,
                location=job.location,
                retry=retry(),
                timeout=REQUEST_SECONDS,
            )
