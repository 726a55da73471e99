"""What a repair knows before it makes anything: the batch, how its rows stand, and what was made of them before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.allowance import Allowance, Standing, allowance
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import FirstBatch, Identity, Manifest
from airflow_batch_gemini.batch.names import GcsUri, TableName, model_path, project_id
from airflow_batch_gemini.batch.pricing import price_of
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.repair import RepairPolicy, Treatment
from airflow_batch_gemini.exceptions import ConfigurationError, SourceError
from airflow_batch_gemini.operators._manifest import ManifestKeeper, manifest_of
from airflow_batch_gemini.sql import repair as statements
from airflow_batch_gemini.sql.releasing import held_back
from airflow_batch_gemini.sql.results import LoadedBatch

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator


@dataclass(frozen=True, kw_only=True)
class RepairPlan:
    """What is to be repaired, how, and where it is written."""

    root: Manifest
    round: int
    model: str
    identity: Identity
    attempt: str
    places: Workspace
    keeper: ManifestKeeper
    loaded: LoadedBatch
    project: str
    """Runs the BigQuery jobs."""
    policy: RepairPolicy
    treatments: tuple[Treatment, ...]
    first: FirstBatch
    job_names: tuple[str, ...]
    """The job that answered each part of the first round; empty where there is none."""

    def manifest(self, *, created_at: str, **made: Any) -> Manifest:
        """Return the manifest of the round's batch; all but its requests is that of the first one."""
        root = self.root
        return Manifest(
            identity=self.identity,
            workspace=str(self.places.folder),
            project_id=root.project_id,
            location=root.location,
            model=self.model,
            requests=root.requests,
            predictions=root.predictions,
            predictions_dataset=root.predictions_dataset,
            template_fingerprint=root.template_fingerprint,
            template_version=root.template_version,
            response_schema=root.response_schema,
            fingerprinted=root.fingerprinted,
            created_at=created_at,
            attempt=self.attempt,
            round=self.round,
            first=self.first,
            **made,
        )


def planned(
    operator: GeminiBatchRepairOperator, context: Context, hook: WorkspaceHook, warehouse: WarehouseHook
) -> RepairPlan:
    """Read the batch of the first round, and say what its repair is. Nothing is changed."""
    root = _root(operator, hook)
    loaded, project = _loaded(operator, root, warehouse)
    ti = context["ti"]
    index = -1 if ti.map_index is None else ti.map_index
    identity = Identity(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=index)
    places, attempt = Workspace(identity.workspace(root.work_uri)), str(ti.id)
    policy, model = RepairPolicy.of(operator.policy), root.model
    if operator.model:
        model = model_path(operator.model)
    asked = [model, repr(policy), operator.round, operator.max_rows, str(operator.max_cost_usd)]
    asked += ["resume"] if operator.resume else []
    job_names = _job_names(hook, root)
    return RepairPlan(
        root=root,
        round=operator.round,
        model=model,
        identity=identity,
        attempt=attempt,
        places=places,
        keeper=ManifestKeeper(hook, places, attempt=attempt),
        loaded=loaded,
        project=project,
        policy=policy,
        treatments=policy.treatments(round=operator.round),
        first=FirstBatch(
            batch_id=root.batch_id,
            workspace=root.workspace,
            fingerprint=root.batch_fingerprint,
            rows=root.accounted_rows,
            basis=_digest([root.batch_fingerprint, *job_names, *asked]),
        ),
        job_names=tuple(job_names),
    )


def _checked(operator: GeminiBatchRepairOperator) -> BatchRef:
    """Judge every name by its grammar, before the connection's credential is loaded to complete one."""
    ref = BatchRef.from_xcom(operator.batch)
    GcsUri.parse(ref.workspace)
    for table in (operator.results_table, operator.errors_table or None):
        if table is not None:
            TableName.parse(table, default_project="project")
    if operator.model:
        model_path(operator.model)
    if operator.project_id:
        project_id(operator.project_id)
    return ref


def _root(operator: GeminiBatchRepairOperator, hook: WorkspaceHook) -> Manifest:
    root = manifest_of(hook, _checked(operator))
    if root.first is not None:
        raise ConfigurationError(
            f"batch= is round {root.round} of batch {root.root_batch_id}; a repair wants what prepare returned, "
            "whatever the round. Nothing was sent."
        )
    return root


def _loaded(
    operator: GeminiBatchRepairOperator, root: Manifest, warehouse: WarehouseHook
) -> tuple[LoadedBatch, str]:
    """Return where the batch was loaded, and the project that runs the BigQuery jobs."""
    project = operator.project_id or warehouse.project_id or None
    results = TableName.parse(operator.results_table, default_project=project)
    errors = TableName.parse(operator.errors_table or f"{results}_errors", default_project=project)
    loaded = LoadedBatch(
        batch_id=root.batch_id, fingerprint=root.batch_fingerprint, results=results, errors=errors
    )
    if operator.hold:
        loaded = held_back(root, results, errors)
    return loaded, project or results.project


def sent_before(plan: RepairPlan, hook: WorkspaceHook) -> Manifest | None:
    """Return what an earlier attempt prepared for this round, once it was, or may have been, paid for.

    Its answers have changed the tables that it was chosen from: chosen anew it would be another batch.
    """
    stored = hook.read(plan.places.manifest)
    if stored is None or not hook.list(plan.places.folder / "ledger"):
        return None
    found = Manifest.from_json(stored.data)
    return found if found.first == plan.first else None


def allowed(plan: RepairPlan, operator: GeminiBatchRepairOperator, warehouse: WarehouseHook) -> Allowance:
    """Return what may be sent, once it is clear that the tables speak of all rows of this very batch."""
    loaded, columns = plan.loaded, {"batch_id", "batch_fingerprint", "copy_of"}
    for table in (loaded.results, loaded.errors):
        info = warehouse.table_info(table)
        if info is None or not columns <= {column.name for column in info.columns}:
            raise SourceError(
                f"{table} is no table that GeminiBatchLoadOperator has loaded this batch into. Nothing was sent; load "
                "the batch first, or correct results_table= and errors_table=."
            )
    rows = warehouse.query_rows(statements.standings(loaded), project=plan.project, location="")
    standings = [Standing.of(row) for row in rows]
    if (found := sum(one.rows for one in standings)) != plan.first.rows:
        raise SourceError(
            f"Batch {loaded.batch_id} has {plan.first.rows:,} rows, but {found:,} of them are in {loaded.results} and "
            f"{loaded.errors}. Nothing was sent; load the batch first, into these tables."
        )
    usd = operator.max_cost_usd
    return allowance(
        standings,
        plan.treatments,
        max_rows=operator.max_rows,
        max_cost_usd=None if usd is None else Decimal(str(usd)),
        price=price_of(plan.model, operator.price),
    )


def _job_names(hook: WorkspaceHook, root: Manifest) -> list[str]:
    """Return the jobs that answered the first round: others leave other rows without an answer."""
    places, names = Workspace(GcsUri.parse(root.workspace)), []
    for part in root.parts:
        stored = hook.read(places.ledger(part.index))
        names.append("" if stored is None else Ledger.from_json(stored.data).job_name or "")
    return names


def _digest(decisive: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32]
