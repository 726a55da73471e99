"""The input one job reads: a copy of the part's requests, made and deleted on the server side.

Deleting it fences the job off: one that has not started yet fails at import and bills nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.layout import BatchTables, Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.batch.purchase import input_description
from airflow_batch_gemini.batch.resuming import Resumed, Stored
from airflow_batch_gemini.exceptions import ServiceError, SourceError
from airflow_batch_gemini.sql.clone import clone_table, copy_table, drop_table

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

_STATEMENT_SECONDS = 600.0


class JobInputs:
    """Copies of one part's requests, on Cloud Storage or in BigQuery as the manifest says."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        part: int,
        workspace: WorkspaceHook,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
    ) -> None:
        self._manifest = manifest
        self._part = manifest.parts[part]
        self._workspace = workspace
        self._connection = (gcp_conn_id, impersonation_chain)

    def copy(self, epoch: int, nonce: str) -> str:
        """Copy the requests for the job of this *epoch*; the *nonce* keeps any two copies apart.

        For a part that goes on with another job, that is what the other job wrote; where that is not there any more,
        the requests of the rows that it left without an answer, which are the same purchase.
        """
        if self._part.resumes is not None and self._is_left(self._part.resumes):
            return self._copy_outputs(self._part.resumes, epoch, nonce)
        if self._part.uri.startswith("bq://"):
            return self._in_bigquery(clone_table, TableName.parse(self._part.uri), epoch, nonce)
        target = self._file(epoch, nonce)
        copied = self._workspace.copy(GcsUri.parse(self._part.uri), target)
        if copied.crc32c != self._part.checksum:
            self._workspace.delete(target)
            raise SourceError(
                f"{self._part.uri} is not what was prepared: its checksum is {copied.crc32c}, the manifest says "
                f"{self._part.checksum}. Nothing was submitted; clear the prepare task."
            )
        return str(target)

    def delete(self, uri: str) -> None:
        """Delete a copy; one that is not there is as good."""
        if uri.startswith("bq://"):
            table = TableName.parse(uri)
            self._run(drop_table(table), table.dataset_name, "drop")
        else:
            self._workspace.delete(GcsUri.parse(uri))

    def _is_left(self, resumed: Resumed) -> bool:
        """Whether everything that a job wrote is there, as it was found when the repair was prepared."""
        gone = [output.uri for output in resumed.outputs if not self._is_there(output)]
        if gone:
            self._workspace.log.warning(
                "%s is not resumed: %s is gone, or not what was found. Its rows are sent as requests.",
                resumed.job_name,
                ", ".join(gone),
            )
        return not gone

    def _is_there(self, output: Stored) -> bool:
        if output.uri.startswith("bq://"):
            warehouse = self._warehouse()
            return warehouse.table_info(TableName.parse(output.uri)) is not None
        info = self._workspace.stat(GcsUri.parse(output.uri))
        return info is not None and info.crc32c == output.checksum

    def _copy_outputs(self, resumed: Resumed, epoch: int, nonce: str) -> str:
        """Put what a job wrote together in one file, or table, without a byte of it passing here."""
        [first, *_] = resumed.outputs
        if first.uri.startswith("bq://"):
            return self._in_bigquery(copy_table, TableName.parse(first.uri), epoch, nonce)
        sources, target = [GcsUri.parse(output.uri) for output in resumed.outputs], self._file(epoch, nonce)
        size = sum(info.size for uri in sources if (info := self._workspace.stat(uri)))
        if self._workspace.compose(sources, target).size != size:
            self._workspace.delete(target)
            raise ServiceError(
                f"{target} is not as large as what it was put together from. Nothing was submitted; a retry helps."
            )
        return str(target)

    def _file(self, epoch: int, nonce: str) -> GcsUri:
        return Workspace(GcsUri.parse(self._manifest.workspace)).job_input(self._part.index, epoch, nonce)

    def _in_bigquery(self, copying: Callable[..., str], source: TableName, epoch: int, nonce: str) -> str:
        plain = BatchTables(source.dataset_name, self._manifest.batch_id).job_input(self._part.index, epoch)
        target = source.dataset_name.table(f"{plain.table}_{nonce}")
        ledger = Workspace(GcsUri.parse(self._manifest.workspace)).ledger(self._part.index)
        statement = copying(source, target, description=input_description(ledger))
        self._run(statement, target.dataset_name, "clone")
        return target.uri

    def _run(self, statement: str, dataset: DatasetName, purpose: str) -> None:
        """Run *statement* once; no two copies share a name, so neither do their jobs."""
        warehouse = self._warehouse()
        job = warehouse.ensure_job(
            configuration={"query": {"query": statement, "useLegacySql": False}},
            project=self._manifest.project_id,
            location=warehouse.dataset_location(dataset),
            purpose=purpose,
            failure=ServiceError,
        )
        warehouse.wait(job, timeout=_STATEMENT_SECONDS, failure=ServiceError)

    def _warehouse(self) -> WarehouseHook:
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        conn_id, chain = self._connection
        return WarehouseHook(gcp_conn_id=conn_id, impersonation_chain=chain)
