"""What a prepare operator was asked for: every name parsed, and what its arguments stand for."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Identity
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.ready import ReadyMade
from airflow_batch_gemini.batch.render import Renderer
from airflow_batch_gemini.batch.reuse import Sieve
from airflow_batch_gemini.operators._answered import Reuse, answered_rows, holds_fingerprints
from airflow_batch_gemini.operators._checks import as_uris, check_arguments, limits_of
from airflow_batch_gemini.operators._manifest import ManifestKeeper

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._rows import Source
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be prepared where: every name parsed, nothing asked yet."""

    identity: Identity
    attempt: str
    keeper: ManifestKeeper
    project: str
    location: str
    model: str
    workspace: Workspace
    table: TableName | None
    requests: DatasetName | None
    predictions: DatasetName | None
    limits: Limits
    results: TableName | None
    read: list[TableName] = field(default_factory=list)
    """Tables that a query turns out to read."""


def plan_of(operator: GeminiBatchPrepareOperator, context: Context, hook: WorkspaceHook) -> Plan:
    """Check all arguments, and parse what they name."""
    check_arguments(operator, rendered=True)
    ti = context["ti"]
    project = names.project_id(operator.project_id or hook.project_id)
    index = -1 if ti.map_index is None else ti.map_index
    identity = Identity(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=index)

    def dataset(name: str | None) -> DatasetName | None:
        return DatasetName.parse(name, default_project=project) if name else None

    workspace, attempt = Workspace(identity.workspace(GcsUri.parse(operator.work_uri))), str(ti.id)
    return Plan(
        identity=identity,
        attempt=attempt,
        keeper=ManifestKeeper(hook, workspace, attempt=attempt),
        project=project,
        location=names.location(operator.location),
        model=names.model_path(operator.model),
        workspace=workspace,
        table=TableName.parse(operator.source_table, default_project=project)
        if operator.source_table
        else None,
        requests=dataset(operator.requests_dataset),
        predictions=dataset(operator.predictions_dataset),
        limits=limits_of(operator),
        results=TableName.parse(operator.results_table, default_project=project)
        if operator.results_table
        else None,
    )


def source_of(operator: GeminiBatchPrepareOperator, plan: Plan, context: Context) -> Source:
    """Return where the rows come from."""
    from airflow_batch_gemini.operators._rows import Source
    from airflow_batch_gemini.operators._yielded import called

    rows = None
    if operator.rows is not None:
        rows = partial(
            called, operator.rows, op_args=operator.op_args, op_kwargs=operator.op_kwargs, context=context
        )
    return Source(
        template=operator.template,
        sql=operator.sql,
        parameters=operator.parameters,
        table=plan.table,
        uris=as_uris(operator.source_uri),
        source_format=operator.source_format,
        rows=rows,
        key_column=operator.key_column,
        project_id=plan.project,
        gcp_conn_id=operator.gcp_conn_id,
        impersonation_chain=operator.impersonation_chain,
        read=plan.read,
    )


def renderer_of(operator: GeminiBatchPrepareOperator, plan: Plan) -> Renderer | ReadyMade:
    """Return what makes a request of a row."""
    if operator.template is not None:
        return Renderer(operator.template, key_column=operator.key_column, max_line_bytes=plan.limits.size)
    ordered = operator.sql is None and plan.table is None
    return ReadyMade(
        key_column=operator.key_column,
        max_line_bytes=plan.limits.size,
        positions=ordered,
        strict=operator.on_lint != "ignore",
    )


def sieve_of(operator: GeminiBatchPrepareOperator, plan: Plan) -> Sieve | None:
    """Return what holds back requests that need not be sent."""
    if not (operator.dedupe or operator.incremental):
        return None
    answered = None
    if operator.incremental and plan.results is not None:
        with closing(warehouse_of(operator)) as warehouse:
            answered = answered_rows(warehouse, plan.results, plan.identity.batch_id, project=plan.project)
    return Sieve(model=plan.model, dedupe=operator.dedupe, answered=answered)


def reuse_of(operator: GeminiBatchPrepareOperator, plan: Plan, warehouse: WarehouseHook) -> Reuse | None:
    """Return which requests BigQuery is to hold back."""
    if not (operator.dedupe or operator.incremental):
        return None
    has_answers = operator.incremental and plan.results and holds_fingerprints(warehouse, plan.results)
    return Reuse(
        model=plan.model,
        batch_id=plan.identity.batch_id,
        dedupe=operator.dedupe,
        results=plan.results if has_answers else None,
    )


def warehouse_of(operator: GeminiBatchPrepareOperator) -> WarehouseHook:
    """Return a hook for BigQuery, to be closed."""
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    return WarehouseHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain)
