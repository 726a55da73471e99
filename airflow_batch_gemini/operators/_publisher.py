"""What a task that publishes by steps in BigQuery is, whatever it publishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.landing import WarehouseJob
from airflow_batch_gemini.batch.quality import QualityGates

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.batch.lineage import Lineage
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook


class Publisher:
    """The half of an operator that waits for BigQuery without a worker, and tells OpenLineage in the end."""

    max_failed_rate: float | None
    max_invalid_rate: float | None
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None
    _lineage: Lineage | None = None
    """Known once everything is published."""

    def resume(self, context: Context, event: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Go on after a deferral: from the top, attaching to everything that is done."""
        from airflow_batch_gemini.operators._steps import refuse_failed

        with closing(self._warehouse()) as warehouse:
            for job in map(WarehouseJob.from_list, event["jobs"]):
                refuse_failed(job, warehouse.look(job))
            return self._drive(context, warehouse, deadline)

    def get_openlineage_facets_on_complete(self, _: object) -> Any:
        """Tell OpenLineage's provider, which calls this, what was read and published, with the columns."""
        from airflow_batch_gemini.operators._lineage import facets

        return facets(self._lineage)

    def _drive(self, context: Context, warehouse: WarehouseHook, deadline: float) -> dict[str, Any]:
        """Take every step in order; a step that is done is found done. Each operator has steps of its own."""
        raise NotImplementedError

    def _gates(self) -> QualityGates:
        return QualityGates(max_failed_rate=self.max_failed_rate, max_invalid_rate=self.max_invalid_rate)

    def _warehouse(self) -> WarehouseHook:
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        return WarehouseHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
