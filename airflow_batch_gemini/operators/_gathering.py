"""What a load asks Cloud Storage, Vertex AI and BigQuery before its first job, and what it writes after its last."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.layout import BatchTables, Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.loading import PartJob, paid_ledger, part_job
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName, project_id
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.report import Report
from airflow_batch_gemini.exceptions import ServiceError
from airflow_batch_gemini.operators._manifest import manifest_of
from airflow_batch_gemini.operators._results import (
    check_tables,
    due_view,
    lacking_columns,
    one_location,
    published_tables,
)
from airflow_batch_gemini.sql.batches import BATCHES
from airflow_batch_gemini.sql.parts import PartPlan, StoredFile, plan_asides, plan_part
from airflow_batch_gemini.sql.plan import LoadPlan, results_columns
from airflow_batch_gemini.sql.releasing import held_back
from airflow_batch_gemini.sql.results import ERRORS

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import ObjectInfo, WorkspaceHook
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator

_WRITE_TRIES = 5


def gather(operator: GeminiBatchLoadOperator, warehouse: WarehouseHook, *, attempt: str) -> LoadPlan:
    """Read manifest, ledgers and jobs, check that all fits together, and return the plan. Nothing is changed."""
    ref = _checked(operator)
    project = operator.project_id or warehouse.project_id or None
    results, errors, batches = published_tables(
        operator.results_table,
        operator.errors_table,
        batches_table=operator.batches_table,
        default_project=project,
    )
    dataset = results.dataset_name
    if operator.landing_dataset:
        dataset = DatasetName.parse(operator.landing_dataset, default_project=project)
    with closing(_workspace(operator)) as workspace:
        manifest = manifest_of(workspace, ref, fate="Nothing was loaded")
        tables = BatchTables(dataset, manifest.batch_id)
        jobs = _part_jobs(operator, workspace, manifest)
        wanted, meant = results_columns(manifest), (results, errors)
        if operator.hold:
            check_tables(warehouse, {results: wanted, errors: ERRORS})
            held = held_back(manifest, results, errors)
            results, errors = held.results, held.errors
        columns = {results: wanted, errors: ERRORS} | ({batches: BATCHES} if batches else {})
        datasets = [*(table.dataset_name for table in (*columns, *meant)), dataset]
        location = one_location(operator.location, warehouse, datasets, jobs)
        found = {table: warehouse.table_info(table) for table in columns}
        there = found[results]
        lacks = tuple(
            (table, lacking_columns(table, named, found[table])) for table, named in columns.items()
        )
        return LoadPlan(
            manifest=manifest,
            project=project or results.project,
            location=location,
            parts=tuple(
                _part_plan(
                    workspace,
                    warehouse,
                    tables,
                    job,
                    max_corrupt_lines=operator.max_corrupt_lines,
                    fingerprinted=manifest.fingerprinted,
                )
                for job in jobs
            ),
            asides=plan_asides(manifest, tables, files=_aside_files(workspace, manifest)),
            lacking=lacks,
            found=there.columns if there else (),
            made=there is not None and found[errors] is not None,
            meant=meant if operator.hold else None,
            view=due_view(warehouse, results, wanted) if operator.latest_view and not operator.hold else None,
            jobs=tuple(job.job for job in jobs),
            landing=tables,
            results=results,
            errors=errors,
            batches=batches,
            attempt=attempt,
        )


def _checked(operator: GeminiBatchLoadOperator) -> BatchRef:
    """Judge every name by its grammar, before the connection's credential is loaded to complete one."""
    ref = BatchRef.from_xcom(operator.batch)
    GcsUri.parse(ref.workspace)
    named = operator.batches_table if isinstance(operator.batches_table, str) else None
    for table in filter(None, (operator.results_table, operator.errors_table, named)):
        TableName.parse(table, default_project="project")
    if operator.landing_dataset:
        DatasetName.parse(operator.landing_dataset, default_project="project")
    if operator.project_id:
        project_id(operator.project_id)
    return ref


def keep_report(operator: GeminiBatchLoadOperator, plan: LoadPlan, report: Report) -> None:
    """Write ``report.json``; then say in every ledger that its job's answers are in BigQuery."""
    places = Workspace(GcsUri.parse(plan.manifest.workspace))
    with closing(_workspace(operator)) as workspace:
        if not _write_report(workspace, places.report, report):
            operator.log.info("A newer attempt has written %s meanwhile; it is left as it is.", places.report)
        for part, job in zip(plan.manifest.parts, plan.jobs, strict=True):
            if not _mark_loaded(workspace, places.ledger(part.index), job.name):
                operator.log.info(
                    "The ledger of part %d moved on meanwhile; it is left as it is.", part.index
                )


def _write_report(workspace: WorkspaceHook, uri: GcsUri, report: Report) -> bool:
    """Write the report unless a newer attempt has written its own."""
    from airflow_batch_gemini.hooks.workspace import PreconditionLost

    for _ in range(_WRITE_TRIES):
        stored = workspace.read(uri)
        if stored is not None and Report.attempt_of(stored.data) > report.attempt:
            return False
        generation = 0 if stored is None else stored.info.generation
        try:
            workspace.write(uri, report.to_json(), if_generation=generation)
        except PreconditionLost:
            continue  # another one was written in between: look whose
        return True
    raise ServiceError(f"{uri} changed {_WRITE_TRIES} times while it was written. A retry helps.")


def _mark_loaded(workspace: WorkspaceHook, uri: GcsUri, job_name: str) -> bool:
    """Move the ledger to LOADED if it still stands for *job_name*; whoever changed it meanwhile knows better."""
    from airflow_batch_gemini.hooks.workspace import PreconditionLost

    stored = workspace.read(uri)
    ledger = None if stored is None else Ledger.from_json(stored.data)
    if stored is None or ledger is None or ledger.job_name != job_name:
        return False
    if ledger.state == "SUBMITTED":
        try:
            workspace.write(uri, ledger.loaded().to_json(), if_generation=stored.info.generation)
        except PreconditionLost:
            return False
    return True


def _workspace(operator: GeminiBatchLoadOperator) -> WorkspaceHook:
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    return WorkspaceHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain)


def _part_jobs(
    operator: GeminiBatchLoadOperator, workspace: WorkspaceHook, manifest: Manifest
) -> list[PartJob]:
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

    vertex = GeminiBatchHook(
        gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain
    )
    places = Workspace(GcsUri.parse(manifest.workspace))
    jobs = []
    with closing(vertex):
        for part in manifest.parts:
            stored = workspace.read(places.ledger(part.index))
            found = None if stored is None else Ledger.from_json(stored.data)
            ledger = paid_ledger(manifest, part.index, found)
            jobs.append(part_job(part, ledger, vertex.get(str(ledger.job_name))))
    return jobs


def _part_plan(
    workspace: WorkspaceHook,
    warehouse: WarehouseHook,
    tables: BatchTables,
    job: PartJob,
    *,
    max_corrupt_lines: int,
    fingerprinted: bool,
) -> PartPlan:
    requests, resumes = _stored_at(workspace, job.part.uri), job.part.resumes
    files, predictions, output = [], None, job.output_uri or ""
    if output.startswith("bq://"):
        predictions = warehouse.table_info(TableName.parse(output))
    elif output:
        files = [_stored(found) for found in workspace.list(GcsUri.parse(output))]
    return plan_part(
        job,
        tables,
        requests_file=requests,
        resumed_file=_stored_at(workspace, resumes.requests.uri) if resumes else None,
        files=files,
        predictions=predictions,
        max_corrupt_lines=max_corrupt_lines,
        fingerprinted=fingerprinted,
    )


def _aside_files(workspace: WorkspaceHook, manifest: Manifest) -> dict[str, StoredFile]:
    uris = [aside.uri for aside in (manifest.copies, manifest.rejected) if aside]
    return {uri: found for uri in uris if (found := _stored_at(workspace, uri))}


def _stored_at(workspace: WorkspaceHook, uri: str) -> StoredFile | None:
    """Return what is stored there; nothing for a table."""
    found = workspace.stat(GcsUri.parse(uri)) if uri.startswith("gs://") else None
    return _stored(found) if found else None


def _stored(found: ObjectInfo) -> StoredFile:
    return StoredFile(GcsUri.parse(found.uri), found.generation, found.crc32c)
