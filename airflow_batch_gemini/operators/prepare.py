"""Rows into requests: checked, cut into parts, and written down whole or not at all."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini.batch import lint, names
from airflow_batch_gemini.batch.lint import RULES, OnLint
from airflow_batch_gemini.batch.manifest import Aside, BatchTables, Identity, Manifest, Part, Workspace
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.batch.parts import MAX_BYTES, Limits
from airflow_batch_gemini.batch.ready import FINGERPRINT, ReadyMade
from airflow_batch_gemini.batch.render import Renderer
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.reuse import Sieve
from airflow_batch_gemini.batch.rows import Format
from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.operators._answered import Reuse, answered_rows, holds_fingerprints
from airflow_batch_gemini.operators._checks import as_uris, check_arguments, limits_of
from airflow_batch_gemini.operators._manifest import ManifestKeeper
from airflow_batch_gemini.operators._place import check_place

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._rows import Source


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


class GeminiBatchPrepareOperator(BaseOperator):
    """Make one request of every row, check all of them, and write them down for the jobs to come.

    Nothing is paid here. Requests are streamed to the workspace with the memory of a few thousand rows, or, with
    *requests_dataset*, made by BigQuery without a byte passing the worker. ``manifest.json`` is written last: whatever
    ends a preparation early leaves nothing that the next task would take for a batch. Run again over the same rows it
    writes the same bytes.

    Returns the batch as a list with a small dict for each part, to map the submit operator over.

    :param sql: a query; each row becomes a request. Templated.
    :param parameters: values for ``@name`` in *sql*: text, numbers, booleans, dates, times, bytes, or lists of one of
        these; ``{"value": …, "type": "DATE"}`` for NULL, for an empty list (``"ARRAY<STRING>"``), and for rendered text
        that is to be something else. They never become part of the statement. Templated.
    :param source_table: or a table, ``[project.]dataset.table``. Templated.
    :param source_uri: or files, one URI or several: JSONL, CSV or Parquet on ``gs://``, ``s3://``, ``file://`` and
        whatever else Airflow's object storage reaches, also compressed. Wildcards are allowed; a folder, ending in
        ``/``, means every file below it; folders called ``name=value`` are columns. Templated.
    :param rows: or a function that yields rows, dicts: called as ``PythonOperator`` calls its function, anew in every
        attempt, and never made a list. It must yield the same rows again for the same requests.
    :param op_args: positional arguments for *rows*. Templated.
    :param op_kwargs: keyword arguments for *rows*, which also gets what it names of the context. Templated.
    :param template: how a row becomes a request: a ``GeminiTemplate``, or for an embedding model an
        ``EmbeddingTemplate``, which takes neither *requests_dataset* nor *predictions_dataset*. ``None``: the rows are
        requests, ``{"request": {…}}`` with a key or without, or requests alone; they are taken byte for byte.
    :param model: a model id, or a model's full path. Templated.
    :param location: where the jobs will run: a region, ``global``, ``us`` or ``eu``. Templated.
    :param work_uri: a folder on Cloud Storage; the batch gets one of its own below it. Templated.
    :param key_column: the column whose values tell rows apart. Ready-made requests of files and of *rows* may leave out
        a ``key``; they are then called by their place, ``row-0000000001``.
    :param source_format: ``"jsonl"``, ``"csv"`` or ``"parquet"``, where the file's name does not say it.
    :param requests_dataset: make the requests in a table of this dataset; needs *sql* or *source_table*, and a dataset
        that lies in *location*. The tables expire after 30 days. Templated.
    :param predictions_dataset: let Vertex AI write its answers to a table of this dataset; the same holds. Templated.
    :param max_rows_per_part: rows in one job; by default as many as it takes, 200,000 or 1,000,000 for vectors.
    :param max_bytes_per_part: bytes in one job, at most 10^9.
    :param on_lint: ``"fail"`` at the first row that breaks a rule; ``"drop"`` such rows: the load puts them into the
        errors table as ``rejected``; or ``"ignore"`` the rules for ready-made requests and send them all the same.
        Rules that only warn are counted in the log.
    :param dedupe: send equal requests once; the answer is that of every row that asks the same.
    :param incremental: leave out rows whose answer to the same request is in *results_table* from another batch that
        was prepared with *incremental* or *dedupe*. When that are all rows, this task and what follows are skipped.
    :param results_table: ``[project.]dataset.table``, what the load operator is given. Templated.
    :param project_id: the project of the jobs; by default the connection's. Templated.
    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    template_fields: Sequence[str] = (
        "sql", "parameters", "source_table", "source_uri", "op_args", "op_kwargs",
        "model", "location", "work_uri", "key_column", "requests_dataset", "predictions_dataset", "results_table",
        "project_id", "gcp_conn_id", "impersonation_chain",
    )  # fmt: skip
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        template: Template | None,
        model: str,
        location: str,
        work_uri: str,
        sql: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        source_table: str | None = None,
        source_uri: str | Sequence[str] | None = None,
        rows: Callable[..., Iterable[Mapping[str, Any]]] | None = None,
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        key_column: str = "key",
        source_format: Format | None = None,
        requests_dataset: str | None = None,
        predictions_dataset: str | None = None,
        max_rows_per_part: int | None = None,
        max_bytes_per_part: int = MAX_BYTES,
        on_lint: OnLint = "fail",
        dedupe: bool = False,
        incremental: bool = False,
        results_table: str | None = None,
        project_id: str | None = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.template = template
        self.model = model
        self.location = location
        self.work_uri = work_uri
        self.sql = sql
        self.parameters = parameters
        self.source_table = source_table
        self.source_uri = source_uri
        self.rows = rows
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}
        self.key_column = key_column
        self.source_format = source_format
        self.requests_dataset = requests_dataset
        self.predictions_dataset = predictions_dataset
        self.max_rows_per_part = max_rows_per_part
        self.max_bytes_per_part = max_bytes_per_part
        self.on_lint = on_lint
        self.dedupe = dedupe
        self.incremental = incremental
        self.results_table = results_table
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        check_arguments(self, rendered=False)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Prepare, and return the batch: one small dict a part."""
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook

        hook = WorkspaceHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        with closing(hook):
            plan = self._plan(context, hook)
            dataset = plan.requests
            if self.template is not None:
                lint.refuse_template(lint.lint_request(self.template.request, importer=dataset is None))
            manifest = self._in_bigquery(plan, dataset) if dataset else self._on_storage(plan, hook, context)
        self.log.info("Prepared %s: %s requests.", plan.workspace.folder, f"{manifest.rows:,}")
        if manifest.copies or manifest.answered:
            self.log.info(
                "Not sent: %s rows that ask what another one asks, %s that were answered before.",
                f"{manifest.copies.rows if manifest.copies else 0:,}",
                f"{manifest.answered:,}",
            )
        return manifest.to_xcom()

    def _plan(self, context: Context, hook: WorkspaceHook) -> Plan:
        check_arguments(self, rendered=True)
        ti = context["ti"]
        project = names.project_id(self.project_id or hook.project_id)
        index = -1 if ti.map_index is None else ti.map_index
        identity = Identity(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=index)

        def dataset(name: str | None) -> DatasetName | None:
            return DatasetName.parse(name, default_project=project) if name else None

        workspace, attempt = Workspace(identity.workspace(GcsUri.parse(self.work_uri))), str(ti.id)
        return Plan(
            identity=identity,
            attempt=attempt,
            keeper=ManifestKeeper(hook, workspace, attempt=attempt),
            project=project,
            location=names.location(self.location),
            model=names.model_path(self.model),
            workspace=workspace,
            table=TableName.parse(self.source_table, default_project=project) if self.source_table else None,
            requests=dataset(self.requests_dataset),
            predictions=dataset(self.predictions_dataset),
            limits=limits_of(self),
            results=TableName.parse(self.results_table, default_project=project)
            if self.results_table
            else None,
        )

    def _on_storage(self, plan: Plan, hook: WorkspaceHook, context: Context) -> Manifest:
        """Stream rows to request files."""
        from airflow_batch_gemini.operators._files import RequestFiles

        if plan.predictions is not None:
            with closing(self._warehouse()) as warehouse:
                check_place(warehouse, plan.predictions, plan.location)
        source = self._source(plan, context)
        plan.keeper.start_over()
        renderer = self._renderer(plan)
        with RequestFiles(
            hook,
            plan.workspace,
            self.log,
            progress=source.progress,
            sieve=self._sieve(plan),
            on_lint=self.on_lint,
        ) as files:
            parts = files.write(source.batches(hook), renderer=renderer, limits=plan.limits)
            broken = files.broken + (renderer.found if isinstance(renderer, ReadyMade) else Counter())
            for rule, count in sorted(broken.items()):
                self.log.warning(
                    "%s, %s rows: %s; %s.", rule, f"{count:,}", RULES[rule].says, RULES[rule].fix
                )
            if not parts and not files.answered:
                why = "no row that breaks no rule" if files.rejected else "no rows"
                raise SourceError(f"{source} has {why}. Nothing was sent.")
            files.verify()
            return self._keep(
                plan, parts, copies=files.copies, rejected=files.rejected, answered=files.answered
            )

    def _source(self, plan: Plan, context: Context) -> Source:
        from airflow_batch_gemini.operators._rows import Source
        from airflow_batch_gemini.operators._yielded import called

        rows = None
        if self.rows is not None:
            rows = partial(called, self.rows, op_args=self.op_args, op_kwargs=self.op_kwargs, context=context)
        return Source(
            template=self.template,
            sql=self.sql,
            parameters=self.parameters,
            table=plan.table,
            uris=as_uris(self.source_uri),
            source_format=self.source_format,
            rows=rows,
            key_column=self.key_column,
            project_id=plan.project,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
        )

    def _renderer(self, plan: Plan) -> Renderer | ReadyMade:
        if self.template is not None:
            return Renderer(self.template, key_column=self.key_column, max_line_bytes=plan.limits.size)
        ordered = self.sql is None and plan.table is None
        return ReadyMade(
            key_column=self.key_column,
            max_line_bytes=plan.limits.size,
            positions=ordered,
            strict=self.on_lint != "ignore",
        )

    def _in_bigquery(self, plan: Plan, dataset: DatasetName) -> Manifest:
        """Let BigQuery make request tables; only names and counts come here."""
        from airflow_batch_gemini.operators._tables import RequestTables

        with closing(self._warehouse()) as warehouse:
            for place in filter(None, (dataset, plan.predictions)):
                location = check_place(warehouse, place, plan.location)
            plan.keeper.start_over()
            with RequestTables(
                warehouse,
                BatchTables(dataset, plan.identity.batch_id),
                project=plan.project,
                location=location,
                salt=uuid4().hex,
                log=self.log,
                parameters=self.parameters,
            ) as tables:
                sql = str(self.sql) if plan.table is None else f"SELECT * FROM {plan.table.sql}"
                parts = tables.make(
                    sql,
                    template=self.template,
                    key_column=self.key_column,
                    limits=plan.limits,
                    reuse=self._reuse(plan, warehouse),
                )
                return self._keep(plan, parts, copies=tables.copies, answered=tables.answered)

    def _keep(
        self,
        plan: Plan,
        parts: tuple[Part, ...],
        *,
        copies: Aside | None,
        answered: int,
        rejected: Aside | None = None,
    ) -> Manifest:
        if not parts:
            raise AirflowSkipException(
                f"All {answered:,} rows have the answers to the same requests in {plan.results} already. Nothing was "
                "sent."
            )
        manifest = Manifest(
            identity=plan.identity,
            workspace=str(plan.workspace.folder),
            project_id=plan.project,
            location=plan.location,
            model=plan.model,
            requests="gcs" if plan.requests is None else "bigquery",
            predictions="gcs" if plan.predictions is None else "bigquery",
            predictions_dataset=None if plan.predictions is None else str(plan.predictions),
            parts=parts,
            template_fingerprint=self.template.fingerprint if self.template else FINGERPRINT,
            response_schema=self.template.vertex_schema if self.template else None,
            created_at=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
            attempt=plan.attempt,
            fingerprinted=self.dedupe or self.incremental,
            copies=copies,
            rejected=rejected,
            answered=answered,
        )
        plan.keeper.keep(manifest)
        return manifest

    def _sieve(self, plan: Plan) -> Sieve | None:
        if not (self.dedupe or self.incremental):
            return None
        answered = None
        if self.incremental and plan.results is not None:
            with closing(self._warehouse()) as warehouse:
                answered = answered_rows(
                    warehouse, plan.results, plan.identity.batch_id, project=plan.project
                )
        return Sieve(model=plan.model, dedupe=self.dedupe, answered=answered)

    def _reuse(self, plan: Plan, warehouse: WarehouseHook) -> Reuse | None:
        if not (self.dedupe or self.incremental):
            return None
        has_answers = self.incremental and plan.results and holds_fingerprints(warehouse, plan.results)
        return Reuse(
            model=plan.model,
            batch_id=plan.identity.batch_id,
            dedupe=self.dedupe,
            results=plan.results if has_answers else None,
        )

    def _warehouse(self) -> WarehouseHook:
        from airflow_batch_gemini.hooks.warehouse import WarehouseHook

        return WarehouseHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
