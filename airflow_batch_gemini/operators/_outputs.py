"""Whether a job that died without telling its counts has left answers: those were paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.loading import prediction_files
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.exceptions import ServiceError, SourceError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook


class JobOutputs:
    """What jobs wrote, on Cloud Storage or in BigQuery as each job says."""

    def __init__(
        self,
        *,
        project_id: str,
        workspace: WorkspaceHook,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
    ) -> None:
        self._project_id = project_id
        self._workspace = workspace
        self._connection = (gcp_conn_id, impersonation_chain)

    def any_answer(self, uri: str) -> bool:
        """Return whether anything lies there that may be an answer: a prediction file with a byte in it, or a row."""
        if uri.startswith("bq://"):
            return self._any_row(TableName.parse(uri))
        sizes = {info.uri: info.size for info in self._workspace.list(GcsUri.parse(uri))}
        return any(sizes[name] for name in prediction_files(sizes))

    def _any_row(self, table: TableName) -> bool:
        """Ask for a row: a table's counts leave out what was streamed into it a moment ago."""
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        conn_id, chain = self._connection
        warehouse = WarehouseHook(gcp_conn_id=conn_id, impersonation_chain=chain)
        try:
            info = warehouse.table_info(table)
            if info is None:
                return False
            rows = warehouse.query_rows(
                f"SELECT 1 AS one FROM {table.sql} LIMIT 1",
                project=self._project_id,
                location=info.location,
            )
            return any(True for _ in rows)
        except SourceError as error:
            raise ServiceError(
                f"Whether {table} holds answers that were paid for is not known ({error}). Nothing was sent; "
                "a retry looks again."
            ) from error
        finally:
            warehouse.close()
