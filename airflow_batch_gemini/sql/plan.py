"""The whole load as a plan: which jobs bring the batch into BigQuery, and what is then asked of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_batch_gemini.batch.columns import Typed, column, typed
from airflow_batch_gemini.batch.embedding import is_embedding_model
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.landing import Column, JobOutcome
from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import TableName, model_id
from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.schema import Shape, shape_of
from airflow_batch_gemini.sql import latest
from airflow_batch_gemini.sql.audit import audit, standings_after
from airflow_batch_gemini.sql.batches import BatchRow
from airflow_batch_gemini.sql.growing import growing
from airflow_batch_gemini.sql.landing import query, query_into
from airflow_batch_gemini.sql.outcomes import Provenance, classify
from airflow_batch_gemini.sql.parts import NOTHING_ASIDE, AsidePlan, LandingJob, PartPlan
from airflow_batch_gemini.sql.publishing import Publication, publish, published_table
from airflow_batch_gemini.sql.releasing import outcomes
from airflow_batch_gemini.sql.repair import standings
from airflow_batch_gemini.sql.results import RESULTS, TAKEN, LoadedBatch, extend
from airflow_batch_gemini.sql.sources import PartTables


def columns_of(manifest: Manifest) -> Typed:
    """Return the typed columns of the answers of a batch."""
    schema = None if is_embedding_model(manifest.model) else manifest.response_schema
    return typed(schema, taken=TAKEN)


def results_columns(manifest: Manifest) -> list[Column]:
    """Return every column that a batch fills in its results table."""
    return [*RESULTS, *map(column, columns_of(manifest).fields)]


@dataclass(frozen=True, kw_only=True)
class Landed:
    """What the load jobs say they did with the output lines."""

    lines: int | None
    """Lines landed; ``None`` when no load job can say, since some answers lie in tables that others made."""
    corrupt: int
    """Lines left out because they are not JSON."""
    at: float | None = None
    """When the last load job ended, in epoch seconds; ``None``: there was none."""


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """Everything a load does, decided before its first job."""

    manifest: Manifest
    project: str
    """Runs the BigQuery jobs."""
    location: str
    parts: tuple[PartPlan, ...]
    asides: AsidePlan = NOTHING_ASIDE
    lacking: tuple[tuple[TableName, tuple[Column, ...]], ...] = ()
    """What the tables that are there do not have yet."""
    found: tuple[Column, ...] = ()
    """What the results table has already."""
    made: bool = False
    """Whether results and errors tables are there."""
    meant: tuple[TableName, TableName] | None = None
    """The tables that the rows are published to in the end, where these only hold them back."""
    whole: bool = False
    """Whether it publishes what all rounds of the batch came to, and nothing is loaded any more."""
    view: TableName | None = None
    """The view of the newest answers, when it has to be made."""
    jobs: tuple[Job, ...]
    landing: BatchTables
    results: TableName
    errors: TableName
    batches: TableName | None = None
    """One row for each round of each batch; ``None``: nobody wants it."""
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
        return published_table(self.results, self.errors, self.manifest.root_batch_id)

    @property
    def answers(self) -> list[str]:
        """Tables with the raw answers."""
        return [str(source.predictions) for source in self.sources if source.predictions is not None]

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
            at=max((outcome.ended for outcome in outcomes if outcome.ended is not None), default=None),
        )

    @property
    def kept(self) -> tuple[TableName, ...]:
        """Tables that the load makes on its way and that stay for a while."""
        return (*(load.table for load in self.loads), self.outcomes)

    @property
    def holds(self) -> bool:
        """Whether results and errors tables only hold the rows back."""
        return self.meant is not None

    @property
    def passing(self) -> tuple[TableName, ...]:
        """Tables that a publish makes beside those that stay: who published last, and what it only holds."""
        return (self.published, *((self.results, self.errors) if self.holds else ()))

    def classify(self, *, batch_date: str, price: Price | None) -> dict[str, Any]:
        """Return the job that gives every row its outcome."""
        provenance = Provenance(
            batch_id=self.manifest.root_batch_id,
            model=model_id(self.manifest.model),
            dag_id=self.manifest.identity.dag_id,
            run_id=self.manifest.identity.run_id,
            batch_date=batch_date,
            template_fingerprint=self.manifest.template_fingerprint,
            template_version=self.manifest.template_version,
            round=self.manifest.round,
            batch_fingerprint=self.manifest.batch_fingerprint,
        )
        manifest = self.manifest
        shape = Shape.VECTOR if is_embedding_model(manifest.model) else shape_of(manifest.response_schema)
        sql = classify(
            self.sources,
            provenance,
            shape=shape,
            price=price,
            beside=self.asides.tables,
            columns=columns_of(manifest),
        )
        return query_into(sql, self.outcomes)

    def audit(self) -> dict[str, Any]:
        """Return the job that counts the outcomes."""
        return query(audit(self.sources, self.outcomes))

    def standing_after(self) -> dict[str, Any] | None:
        """Return the job that says how all rows will stand once this round is published.

        ``None`` for the first round, whose own rows are all there are, and where there is nothing that a later one
        could add to: its publish says so.
        """
        if not self.manifest.round or not self.made:
            return None
        return query(standings_after(self.loaded, self.outcomes))

    def extend(self) -> dict[str, Any] | None:
        """Return the job that gives the tables the columns they lack; ``None`` when they lack none."""
        statements = [extend(table, columns) for table, columns in self.lacking if columns]
        return query("\n".join(statements)) if statements else None

    @property
    def growing(self) -> tuple[Column, ...]:
        """Return the columns of the results table that have to get fields, as they have to become."""
        return growing(results_columns(self.manifest), self.found)

    @property
    def loaded(self) -> LoadedBatch:
        """Where the rows of all rounds stand."""
        return LoadedBatch(
            batch_id=self.manifest.root_batch_id,
            fingerprint=self.manifest.batch_fingerprint,
            results=self.results,
            errors=self.errors,
        )

    @property
    def destination(self) -> LoadedBatch:
        """Where these rows stand in the end."""
        results, errors = self.meant or (self.results, self.errors)
        return replace(self.loaded, results=results, errors=errors)

    def publish(self, row: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the job that makes the tables say what the outcomes say.

        :param row: what the table of batches is to say of the round.
        """
        return query(
            publish(
                Publication(
                    batch=self.loaded,
                    rows=self.manifest.whole_rows,
                    round=self.manifest.round,
                    whole=self.whole,
                ),
                attempt=self.attempt,
                outcomes=self.outcomes,
                published=self.published,
                columns=results_columns(self.manifest)[len(RESULTS) :],
                found=self.found,
                row=BatchRow(table=self.batches, values=row) if self.batches and row else None,
            )
        )

    def standing(self) -> dict[str, Any]:
        """Return the job that says how the rows of all rounds stand."""
        return query(standings(self.loaded))

    def release(self, held: LoadedBatch) -> dict[str, Any]:
        """Return the job that puts together what is held back of all rounds."""
        return query_into(outcomes(held, results_columns(self.manifest)[len(RESULTS) :]), self.outcomes)

    def show_latest(self, view: TableName) -> dict[str, Any]:
        """Return the job that makes the view of the newest answers."""
        return query(latest.create_view(view, self.results))
