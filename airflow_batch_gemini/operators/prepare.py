"""Rows into requests: checked, cut into parts, and written down whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.lineage import of_preparation
from airflow_batch_gemini.batch.lint import OnLint
from airflow_batch_gemini.batch.lint_request import lint_request
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import DatasetName
from airflow_batch_gemini.batch.parts import MAX_BYTES
from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.ready import ReadyMade
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.rows import Format
from airflow_batch_gemini.batch.sampling import SAMPLE_ROWS, PartSize
from airflow_batch_gemini.operators._checks import check_arguments
from airflow_batch_gemini.operators._estimate import Sample
from airflow_batch_gemini.operators._keeping import judge, keep
from airflow_batch_gemini.operators._outlook import Outlook, outlook
from airflow_batch_gemini.operators._place import check_place
from airflow_batch_gemini.operators._plan import (
    Plan,
    plan_of,
    renderer_of,
    reuse_of,
    sieve_of,
    source_of,
    warehouse_of,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.hooks.workspace import WorkspaceHook


class GeminiBatchPrepareOperator(BaseOperator):
    """Make one request of every row, check all of them, and write them down for the jobs to come.

    No job is made here, and nothing is paid unless *canary_rows* asks for it. Requests are streamed to the workspace
    with the memory of a few thousand rows, or, with *requests_dataset*, made by BigQuery without their passing the
    worker but for a sample. ``manifest.json`` is written last: whatever ends a preparation early leaves nothing that
    the next task would take for a batch. Run again over the same rows it writes the same bytes.

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
    :param count_tokens_rows: requests whose tokens Vertex AI counts, free of charge, for the estimate; 0: none. Where
        it does not, the estimate takes four bytes of text for a token, has wider bounds, and the log has a warning.
    :param max_cost_usd: fail, and leave no batch, when the batch may cost more: its high estimate decides, since a
        budget is a promise. Without *canary_rows* nobody has measured an answer, so each is taken to be as long as
        ``maxOutputTokens`` lets it be, or the model where that is not set. Needs a model of known price, or *price*.
        What a canary costs itself is not counted. Templated.
    :param price: USD per million tokens at the standard rate, ``{"input": 1.5, "output": 9}``, where the list of this
        package is not right for you; a batch costs half of it, or what ``"batch_share"`` says.
    :param canary_rows: so many of the requests, or all when there are fewer, are answered first by direct calls, at
        the standard price: twice that of the batch, which sends them again. 2 to 1,000; 0, the default: none. What
        they show is told and kept, and their tokens make the estimate. Over all attempts a request is asked once; an
        answer that was lost, which may be paid for, is not asked for again.
    :param max_failure_rate: fail, and leave no batch, when the canary shows that a larger share of rows would not
        succeed, by the rule of the load. It has to show it: the lower bound of the 95 % interval (Wilson's) is
        compared, so that one row with bad luck stops nothing. With 20 rows and 0.05 the third failure does.
    :param project_id: the project of the jobs; by default the connection's. Templated.
    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    template_fields: Sequence[str] = (
        "sql", "parameters", "source_table", "source_uri", "op_args", "op_kwargs",
        "model", "location", "work_uri", "key_column", "requests_dataset", "predictions_dataset", "results_table",
        "max_cost_usd", "project_id", "gcp_conn_id", "impersonation_chain",
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
        count_tokens_rows: int = SAMPLE_ROWS,
        max_cost_usd: float | str | None = None,
        price: Price | Mapping[str, Any] | None = None,
        canary_rows: int = 0,
        max_failure_rate: float | None = None,
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
        self.count_tokens_rows = count_tokens_rows
        self.max_cost_usd = max_cost_usd
        self.price = price
        self.canary_rows = canary_rows
        self.max_failure_rate = max_failure_rate
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._killed = False
        check_arguments(self, rendered=False)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Prepare, and return the batch: one small dict a part."""
        from airflow_batch_gemini.hooks.workspace import WorkspaceHook
        from airflow_batch_gemini.operators._lineage import tell

        hook = WorkspaceHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        with closing(hook):
            plan = plan_of(self, context, hook)
            dataset = plan.requests
            if self.template is not None:
                lint.refuse_template(lint_request(self.template.request, importer=dataset is None))
            if dataset is None:
                manifest = self._on_storage(plan, hook, context)
            else:
                manifest = self._in_bigquery(plan, hook, dataset)
            if isinstance(manifest, AirflowSkipException):
                raise manifest
            tables = plan.read if plan.table is None else [plan.table]
            tell(of_preparation(manifest, tables=tables, source_uri=self.source_uri), hook, self.log)
        self.log.info("Prepared %s: %s requests.", plan.workspace.folder, f"{manifest.rows:,}")
        if manifest.copies or manifest.answered:
            self.log.info(
                "Not sent: %s rows that ask what another one asks, %s that were answered before.",
                f"{manifest.copies.rows if manifest.copies else 0:,}",
                f"{manifest.answered:,}",
            )
        return manifest.to_xcom()

    def on_kill(self) -> None:
        """Ask no more rows of a canary. ``execute`` goes on meanwhile, and may just be writing down an answer."""
        self._killed = True

    def _on_storage(
        self, plan: Plan, hook: WorkspaceHook, context: Context
    ) -> Manifest | AirflowSkipException:
        """Stream rows to request files."""
        from airflow_batch_gemini.operators._files import RequestFiles

        if plan.predictions is not None:
            with closing(warehouse_of(self)) as warehouse:
                check_place(warehouse, plan.predictions, plan.location)
        source = source_of(self, plan, context)
        plan.keeper.start_over()
        renderer = renderer_of(self, plan)
        with RequestFiles(
            hook,
            plan.workspace,
            self.log,
            progress=source.progress,
            sieve=sieve_of(self, plan),
            on_lint=self.on_lint,
        ) as files:
            with closing(source.batches(hook)) as batches:
                parts = files.write(batches, renderer=renderer, limits=plan.limits)
            found = renderer.found if isinstance(renderer, ReadyMade) else Counter[str]()
            judge(parts, files, source=str(source), found=found, log=self.log)
            outlook = self._outlook(plan, Sample(files.sampler.sizes, files.sampler.kept), hook)
            files.verify()
            return keep(self, plan, parts, files, outlook=outlook)

    def _in_bigquery(
        self, plan: Plan, hook: WorkspaceHook, dataset: DatasetName
    ) -> Manifest | AirflowSkipException:
        """Let BigQuery make request tables; only names and counts come here."""
        from airflow_batch_gemini.operators._tables import RequestTables

        with closing(warehouse_of(self)) as warehouse:
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
                on_lint=self.on_lint,
            ) as tables:
                sql = str(self.sql) if plan.table is None else f"SELECT * FROM {plan.table.sql}"
                parts = tables.make(
                    sql,
                    template=self.template,
                    key_column=self.key_column,
                    limits=plan.limits,
                    reuse=reuse_of(self, plan, warehouse),
                )
                plan.read.extend(tables.read)
                judge(parts, tables, source="The query", log=self.log)
                sizes = [PartSize(part=part.index, rows=part.rows, size=part.size) for part in parts]
                outlook = self._outlook(plan, Sample(sizes, tables.sample(parts)), hook)
                return keep(self, plan, parts, tables, outlook=outlook)

    def _outlook(self, plan: Plan, sample: Sample, hook: WorkspaceHook) -> Outlook:
        return outlook(self, plan, sample, hook, killed=lambda: self._killed)
