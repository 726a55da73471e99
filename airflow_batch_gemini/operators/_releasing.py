"""Rows of all rounds that were held back: judged as they stand, then published at once."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.lineage import Data, Lineage
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri, TableName, project_id
from airflow_batch_gemini.batch.quality import QualityGates, check_quality
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.tally import standing_of
from airflow_batch_gemini.exceptions import AccountingError, ConfigurationError, SourceError
from airflow_batch_gemini.operators._manifest import manifest_of
from airflow_batch_gemini.operators._publishing import complete_tables
from airflow_batch_gemini.operators._results import due_view, lacking_columns, one_location, published_tables
from airflow_batch_gemini.sql.landing import query
from airflow_batch_gemini.sql.plan import LoadPlan, results_columns
from airflow_batch_gemini.sql.releasing import held_back, standings
from airflow_batch_gemini.sql.results import ERRORS, LoadedBatch

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.operators._steps import Steps
    from airflow_batch_gemini.operators.publish import GeminiBatchPublishOperator


def release_plan(
    operator: GeminiBatchPublishOperator, warehouse: WarehouseHook, *, attempt: str
) -> tuple[LoadPlan, LoadedBatch]:
    """Read the manifest, check that the tables fit, and return where to publish, and what. Nothing is changed."""
    manifest = _manifest(operator)
    project = operator.project_id or warehouse.project_id or None
    results, errors, _ = published_tables(
        operator.results_table, operator.errors_table, batches_table=None, default_project=project
    )
    held = held_back(manifest, results, errors)
    _check_held(warehouse, held)
    wanted = results_columns(manifest)
    columns = {results: wanted, errors: ERRORS}
    found = {table: warehouse.table_info(table) for table in columns}
    there = found[results]
    datasets = [table.dataset_name for table in columns]
    plan = LoadPlan(
        manifest=manifest,
        project=project or results.project,
        location=one_location(operator.location, warehouse, datasets, []),
        parts=(),
        lacking=tuple(
            (table, lacking_columns(table, named, found[table])) for table, named in columns.items()
        ),
        found=there.columns if there else (),
        made=there is not None and found[errors] is not None,
        whole=True,
        view=due_view(warehouse, results, wanted) if operator.latest_view else None,
        jobs=(),
        landing=BatchTables(results.dataset_name, manifest.batch_id),
        results=results,
        errors=errors,
        attempt=attempt,
    )
    return plan, held


def release(steps: Steps, held: LoadedBatch, gates: QualityGates, *, round: int) -> dict[str, int]:  # noqa: A002  # the word of the tables
    """Judge the rows that are held back, publish them, and return how they stand.

    What is judged is the copy that is published: a load that is cleared meanwhile changes what is held back.

    :param round: the last one there was.
    """
    plan = steps.plan
    steps.take("release", plan.release(held))
    # A gate that does not pass says that these are there for as long from now.
    steps.expire((plan.outcomes, held.results, held.errors))
    standing = standing_of(steps.warehouse.job_rows(steps.take("judge", query(standings(plan.outcomes)))))
    if (found := sum(standing.values())) != plan.manifest.accounted_rows:
        raise AccountingError(
            f"Batch {held.batch_id} has {plan.manifest.accounted_rows:,} rows, but {found:,} of them are held back in "
            f"{held.results} and {held.errors}. Nothing was published; clear the load of the first round and what "
            "follows it."
        )
    check_quality(standing, gates, round=round, table=str(held.errors), answers=())
    steps.take("publish", complete_tables(steps).publish())
    steps.expire(plan.passing)
    return standing


def release_lineage(plan: LoadPlan, held: LoadedBatch) -> Lineage:
    """Return what was read and what was published to, with the columns."""
    return Lineage(
        inputs=(Data(held.results), Data(held.errors)),
        outputs=(Data(plan.results, tuple(results_columns(plan.manifest))), Data(plan.errors, ERRORS)),
    )


def _manifest(operator: GeminiBatchPublishOperator) -> Manifest:
    """Read the manifest once every name is judged by its grammar."""
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    ref = BatchRef.from_xcom(operator.batch)
    GcsUri.parse(ref.workspace)
    for table in filter(None, (operator.results_table, operator.errors_table)):
        TableName.parse(table, default_project="project")
    if operator.project_id:
        project_id(operator.project_id)
    workspace = WorkspaceHook(
        gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain
    )
    with closing(workspace) as hook:
        manifest = manifest_of(hook, ref)
    if manifest.first is not None:
        raise ConfigurationError(
            f"batch= is round {manifest.round} of batch {manifest.root_batch_id}; what publishes all rounds wants what "
            "prepare returned. Nothing was published."
        )
    return manifest


def _check_held(warehouse: WarehouseHook, held: LoadedBatch) -> None:
    for table in (held.results, held.errors):
        if warehouse.table_info(table) is None:
            raise SourceError(
                f"There is no table {table}: no load held back rows of this batch, or seven days have passed since. "
                "Nothing was published; clear the load of the first round and what follows it, which buys nothing."
            )
