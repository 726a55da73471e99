"""Which load jobs bring the parts of a batch into BigQuery, and where they are read afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_batch_gemini.batch.landing import Column, TableInfo
from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.loading import PartJob, check_shards, prediction_files
from airflow_batch_gemini.batch.manifest import Aside, Manifest, Part
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.resuming import Stored
from airflow_batch_gemini.exceptions import OutputError
from airflow_batch_gemini.sql.landing import (
    COPIES_SCHEMA,
    REJECTED_SCHEMA,
    load_beside,
    load_predictions,
    load_requests,
)
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
    resumed_file: StoredFile | None = None,
    files: Iterable[StoredFile] = (),
    predictions: TableInfo | None = None,
    max_corrupt_lines: int = 0,
    fingerprinted: bool = False,
) -> PartPlan:
    """Plan one part.

    A landing table is named after the part, the epoch and the very files in it: nobody who knows other files, or an
    older state of them, writes into a table that somebody else reads.

    :param requests_file: the request file, for requests on Cloud Storage; ``None`` when there is none.
    :param resumed_file: the same of the job that the part's job went on with, where it did.
    :param files: what lies below the job's output folder, for a job that wrote to Cloud Storage.
    :param predictions: the job's output table, for one that wrote to BigQuery; ``None`` when there is none.
    :param max_corrupt_lines: lines of the output that may be left out because they are not JSON.
    :param fingerprinted: whether the requests carry fingerprints.
    :raises OutputError: a job that says it succeeded left nothing, not all of its shards, or a table without the
        columns of answers; or the request file is not the one that was sent.
    """
    part, job = part_job.part, part_job.job
    loads: list[LandingJob] = []

    def asked(given: Part | Stored, stored: StoredFile | None) -> TableName:
        if given.uri.startswith("bq://"):
            return TableName.parse(given.uri)
        loads.append(_requests(given, stored, tables.requests(part.index)))
        return loads[-1].table

    resumes = part.resumes
    sources = PartTables(
        part=part.index,
        epoch=part_job.epoch,
        job_name=job.name,
        requests=asked(part, requests_file),
        predictions=None,
        fingerprinted=fingerprinted,
        resumed=asked(resumes.requests, resumed_file) if resumes else None,
        resumed_until=resumes.ended if resumes else None,
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


def _requests(given: Part | Stored, stored: StoredFile | None, plain: TableName) -> LandingJob:
    found = _prepared(given.uri, given.checksum, stored)
    table = _named_after(plain, [found])
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
