"""The whole load as a plan: which jobs bring the parts into BigQuery, and what is then asked of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_batch_gemini.batch.embedding import is_embedding_model
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.landing import Column, JobOutcome, TableInfo
from airflow_batch_gemini.batch.loading import PartJob, check_shards, prediction_files
from airflow_batch_gemini.batch.manifest import Aside, BatchTables, Manifest, Part
from airflow_batch_gemini.batch.names import GcsUri, TableName, model_id
from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.schema import Shape, shape_of
from airflow_batch_gemini.exceptions import OutputError
from airflow_batch_gemini.sql.audit import audit
from airflow_batch_gemini.sql.landing import (
    COPIES_SCHEMA,
    REJECTED_SCHEMA,
    load_beside,
    load_predictions,
    load_requests,
    query,
    query_into,
)
from airflow_batch_gemini.sql.outcomes import Provenance, classify
from airflow_batch_gemini.sql.results import publish, published_table
from airflow_batch_gemini.sql.sources import NOTHING_BESIDE, Beside, PartTables


@dataclass(frozen=True, kw_only=True)
class LandingJob:
    """One load job to ask for."""

    purpose: str
    table: TableName
    configuration: Mapping[str, Any]
    salt: str
    """The files' generations: what is written anew is loaded anew."""


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """What to load for a part, and where to read it afterwards."""

    tables: PartTables
    loads: tuple[LandingJob, ...]


@dataclass(frozen=True)
class StoredFile:
    """One object on Cloud Storage; its generation changes whenever it is written."""

    uri: GcsUri
    generation: int
    checksum: str


def plan_part(
    part_job: PartJob,
    tables: BatchTables,
    *,
    requests_file: StoredFile | None = None,
    files: Iterable[StoredFile] = (),
    predictions: TableInfo | None = None,
    max_corrupt_lines: int = 0,
    fingerprinted: bool = False,
) -> PartPlan:
    """Plan one part.

    A landing table is named after the part, the epoch and the very files in it: nobody who knows other files, or an
    older state of them, writes into a table that somebody else reads.

    :param requests_file: the request file, for requests on Cloud Storage; ``None`` when there is none.
    :param files: what lies below the job's output folder, for a job that wrote to Cloud Storage.
    :param predictions: the job's output table, for one that wrote to BigQuery; ``None`` when there is none.
    :param max_corrupt_lines: lines of the output that may be left out because they are not JSON.
    :param fingerprinted: whether the requests carry fingerprints.
    :raises OutputError: a job that says it succeeded left nothing, not all of its shards, or a table without the
        columns of answers; or the request file is not the one that was sent.
    """
    part, job = part_job.part, part_job.job
    loads: list[LandingJob] = []
    if part.uri.startswith("gs://"):
        landing = _requests(part, requests_file, tables)
        requests = landing.table
        loads.append(landing)
    else:
        requests = TableName.parse(part.uri)
    sources = PartTables(
        part=part.index,
        epoch=part_job.epoch,
        job_name=job.name,
        requests=requests,
        predictions=None,
        fingerprinted=fingerprinted,
    )
    if part_job.output_uri is None:
        return PartPlan(tables=sources, loads=tuple(loads))
    if part_job.output_uri.startswith("bq://"):
        return PartPlan(tables=_of_table(part_job, predictions, sources), loads=tuple(loads))
    if answers := _predictions(part_job, files, tables, max_corrupt_lines):
        loads.append(answers)
        sources = replace(sources, predictions=answers.table)
    return PartPlan(tables=sources, loads=tuple(loads))


@dataclass(frozen=True, kw_only=True)
class AsidePlan:
    """What to load of the rows for which nothing was sent, and where to read it afterwards."""

    tables: Beside = NOTHING_BESIDE
    loads: tuple[LandingJob, ...] = ()


NOTHING_ASIDE = AsidePlan()


def plan_asides(manifest: Manifest, tables: BatchTables, *, files: Mapping[str, StoredFile]) -> AsidePlan:
    """Plan what was put aside.

    :param files: by URI, those of Cloud Storage.
    :raises OutputError: one is not the file that was prepared.
    """
    loads: list[LandingJob] = []

    def table_of(
        aside: Aside | None, plain: TableName, schema: Sequence[tuple[str, str]]
    ) -> TableName | None:
        if aside is None:
            return None
        if aside.uri.startswith("bq://"):
            return TableName.parse(aside.uri)
        found = _prepared(aside.uri, aside.checksum, files.get(aside.uri))
        table = _named_after(plain, [found])
        configuration = load_beside(found.uri, table, schema=schema)
        loads.append(
            LandingJob(purpose="asides", table=table, configuration=configuration, salt=str(found.generation))
        )
        return table

    beside = Beside(
        copies=table_of(manifest.copies, tables.copies(), COPIES_SCHEMA),
        rejected=table_of(manifest.rejected, tables.rejected(), REJECTED_SCHEMA),
    )
    return AsidePlan(tables=beside, loads=tuple(loads))


def _prepared(uri: str, checksum: str, found: StoredFile | None) -> StoredFile:
    """Return the file if it is the one that was prepared."""
    if found is None or found.checksum != checksum:
        raise OutputError(
            f"{uri} is {'gone' if found is None else 'another file than was prepared'}, so nobody can say whose "
            "answers these are. Nothing was published; put the file back, or clear prepare and submit."
        )
    return found


def _requests(part: Part, stored: StoredFile | None, tables: BatchTables) -> LandingJob:
    found = _prepared(part.uri, part.checksum, stored)
    table = _named_after(tables.requests(part.index), [found])
    return LandingJob(
        purpose="requests",
        table=table,
        configuration=load_requests(found.uri, table),
        salt=str(found.generation),
    )


def _named_after(table: TableName, files: Iterable[StoredFile], *more: object) -> TableName:
    contents = [f"{file.uri}#{file.generation}" for file in files]
    digest = hashlib.sha256("\n".join([*contents, *map(str, more)]).encode()).hexdigest()
    return replace(table, table=f"{table.table}_{digest[:12]}")


def _predictions(
    part_job: PartJob, files: Iterable[StoredFile], tables: BatchTables, max_corrupt_lines: int
) -> LandingJob | None:
    """Return the load of the predictions; ``None`` when a job that died left none."""
    by_name = {str(file.uri): file for file in files}
    found = [by_name[name] for name in prediction_files(by_name)]
    check_shards(part_job, by_name)
    if not found:
        if part_job.job.rule.success:
            raise OutputError(
                f"{part_job.job.name} is {part_job.job.state}, but there is no predictions.jsonl below "
                f"{part_job.output_uri}. Nothing was published; whoever moved it must put it back."
            )
        return None
    table = _named_after(
        tables.landing(part_job.part.index, part_job.epoch), found, part_job.job.name, max_corrupt_lines
    )
    uris = [file.uri for file in found]
    return LandingJob(
        purpose="predictions",
        table=table,
        configuration=load_predictions(uris, table, max_corrupt_lines=max_corrupt_lines),
        salt=" ".join(str(file.generation) for file in found),
    )


def _of_table(part_job: PartJob, found: TableInfo | None, sources: PartTables) -> PartTables:
    if found is None:
        if part_job.job.rule.success:
            raise OutputError(
                f"{part_job.job.name} is {part_job.job.state}, but its output table {part_job.output_uri} does not "
                "exist. Nothing was published."
            )
        return sources
    lacking = [name for name in ("key", "status", "response") if found.column(name) is None]
    if lacking:
        raise OutputError(
            f"{part_job.output_uri} has no column {', '.join(lacking)}: it is not the output of a batch of this "
            "package. Nothing was published."
        )
    time, echo = found.column("processed_time"), found.column("request")
    return replace(
        sources,
        predictions=found.table,
        response_type=_json_type(found.column("response")),
        echo_type=None if echo is None else _json_type(echo),
        time_type=None if time is None else "TIMESTAMP" if time.type == "TIMESTAMP" else "STRING",
    )


def _json_type(column: Column | None) -> Literal["JSON", "STRING"]:
    return "STRING" if column is not None and column.type == "STRING" else "JSON"


@dataclass(frozen=True, kw_only=True)
class Landed:
    """What the load jobs say they did with the output lines."""

    lines: int | None
    """Lines landed; ``None`` when no load job can say, since some answers lie in tables that others made."""
    corrupt: int
    """Lines left out because they are not JSON."""


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """Everything a load does, decided before its first job."""

    manifest: Manifest
    project: str
    """Runs the BigQuery jobs."""
    location: str
    parts: tuple[PartPlan, ...]
    asides: AsidePlan = NOTHING_ASIDE
    jobs: tuple[Job, ...]
    landing: BatchTables
    results: TableName
    errors: TableName
    attempt: str
    """Id of the task instance that loads; later attempts compare greater."""

    @property
    def loads(self) -> tuple[LandingJob, ...]:
        """All load jobs; they may run side by side."""
        return (*(load for part in self.parts for load in part.loads), *self.asides.loads)

    @property
    def sources(self) -> tuple[PartTables, ...]:
        """Where all parts are read from."""
        return tuple(part.tables for part in self.parts)

    @property
    def outcomes(self) -> TableName:
        """One row for every request, before it is published. Every attempt makes its own, for each thing it reads."""
        read = (self.attempt, self.sources, self.asides.tables)
        digest = hashlib.sha256(repr(read).encode()).hexdigest()
        return self.landing.dataset.table(f"gemini_outcomes_{self.manifest.batch_id}_{digest[:12]}")

    @property
    def published(self) -> TableName:
        """Says which attempt published last."""
        return published_table(self.results, self.errors, self.manifest.batch_id)

    @property
    def jobs_by_part(self) -> dict[int, Job]:
        """The job that answered each part."""
        return {source.part: job for source, job in zip(self.sources, self.jobs, strict=True)}

    def landed(self, outcomes: Sequence[JobOutcome]) -> Landed:
        """Return what came of :attr:`loads`, one outcome each."""
        answers = [
            outcome
            for load, outcome in zip(self.loads, outcomes, strict=True)
            if load.purpose == "predictions"
        ]
        read = [source for source in self.sources if source.predictions is not None]
        counts = [outcome.rows for outcome in answers if outcome.rows is not None]
        return Landed(
            lines=sum(counts) if len(counts) == len(read) else None,
            corrupt=sum(outcome.bad_lines for outcome in answers),
        )

    @property
    def kept(self) -> tuple[TableName, ...]:
        """Tables that the load makes on its way and that stay for a while."""
        return (*(load.table for load in self.loads), self.outcomes)

    def classify(self, *, batch_date: str, price: Price | None) -> dict[str, Any]:
        """Return the job that gives every row its outcome."""
        provenance = Provenance(
            batch_id=self.manifest.batch_id,
            model=model_id(self.manifest.model),
            dag_id=self.manifest.identity.dag_id,
            run_id=self.manifest.identity.run_id,
            batch_date=batch_date,
        )
        manifest = self.manifest
        shape = Shape.VECTOR if is_embedding_model(manifest.model) else shape_of(manifest.response_schema)
        sql = classify(self.sources, provenance, shape=shape, price=price, beside=self.asides.tables)
        return query_into(sql, self.outcomes)

    def audit(self) -> dict[str, Any]:
        """Return the job that counts the outcomes."""
        return query(audit(self.sources, self.outcomes))

    def publish(self) -> dict[str, Any]:
        """Return the job that makes both tables say what the outcomes say."""
        return query(
            publish(
                batch_id=self.manifest.batch_id,
                attempt=self.attempt,
                outcomes=self.outcomes,
                results=self.results,
                errors=self.errors,
                published=self.published,
            )
        )
