"""What a load tells of itself: the row in the table of batches, the report, and its lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.lineage import Data, Lineage, requests_of
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.report import Report
from airflow_batch_gemini.batch.stages import Stages
from airflow_batch_gemini.batch.tally import Tally
from airflow_batch_gemini.sql import batches
from airflow_batch_gemini.sql.landing import query
from airflow_batch_gemini.sql.plan import Landed, LoadPlan, results_columns
from airflow_batch_gemini.sql.results import ERRORS


def row(
    plan: LoadPlan, counted: Tally, landed: Landed, *, price: Price | None, batch_date: str
) -> dict[str, object]:
    """Return what the table of batches is to say of this round."""
    return batches.values(
        plan.manifest,
        counted,
        stages(plan, landed),
        batch=plan.destination,
        priced=price is not None,
        report_uri=str(Workspace(GcsUri.parse(plan.manifest.workspace)).report),
        batch_date=batch_date,
    )


def stages(plan: LoadPlan, landed: Landed, *, loaded_at: float | None = None) -> Stages:
    """Return when the round came to which stage."""
    return Stages.of(prepared_at=plan.manifest.created_at, jobs=plan.jobs, landed=landed.at, loaded=loaded_at)


def earlier_rounds(plan: LoadPlan) -> dict[str, Any] | None:
    """Return the job that says what earlier rounds came to; ``None`` where none was, or no table tells."""
    if plan.batches is None or not plan.manifest.round:
        return None
    return query(batches.rounds_before(plan.batches, plan.loaded, round=plan.manifest.round))


def report(
    plan: LoadPlan,
    counted: Tally,
    landed: Landed,
    *,
    standing: Mapping[str, int],
    earlier: Sequence[Mapping[str, Any]],
    price: Price | None,
    notes: Sequence[str],
    loaded_at: float,
) -> Report:
    """Put the report together.

    :param standing: how the rows of all rounds stand.
    :param earlier: what the rounds before this one came to.
    :param loaded_at: epoch seconds.
    """
    manifest = plan.manifest
    tables = {"results": str(plan.results), "errors": str(plan.errors)}
    return Report.of(
        counted,
        batch_id=manifest.root_batch_id,
        round=manifest.round,
        standing=standing,
        rounds_before=earlier,
        model=manifest.model,
        price=price,
        jobs=plan.jobs,
        tables=tables | ({"batches": str(plan.batches)} if plan.batches else {}),
        stages=stages(plan, landed, loaded_at=loaded_at),
        corrupt_lines=landed.corrupt,
        notes=notes,
        copies=manifest.copies.rows if manifest.copies else 0,
        answered_before=manifest.answered,
        estimate=manifest.estimate.usd if manifest.estimate else None,
        canary=manifest.canary,
        attempt=plan.attempt,
    )


def lineage(plan: LoadPlan) -> Lineage:
    """Return what the load read, requests and answers, and what it published to, with the columns it fills."""
    answers = dict.fromkeys(Data.at(job.output_uri) for job in plan.jobs if job.output_uri)
    outputs = [
        Data(plan.results, tuple(results_columns(plan.manifest))),
        Data(plan.errors, ERRORS),
        *([Data(plan.batches, batches.BATCHES)] if plan.batches else []),
    ]
    return Lineage(inputs=(*requests_of(plan.manifest), *answers), outputs=tuple(outputs))
