"""What becomes of the requests that were made: told, refused, or kept as a batch."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini.batch.lint import RULES
from airflow_batch_gemini.batch.manifest import Manifest, Part
from airflow_batch_gemini.batch.ready import FINGERPRINT
from airflow_batch_gemini.exceptions import SourceError

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_batch_gemini.operators._files import RequestFiles
    from airflow_batch_gemini.operators._outlook import Outlook
    from airflow_batch_gemini.operators._plan import Plan
    from airflow_batch_gemini.operators._tables import RequestTables
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

_NOTHING: Mapping[str, int] = MappingProxyType({})


def judge(
    parts: tuple[Part, ...],
    made: RequestFiles | RequestTables,
    *,
    source: str,
    log: Logger,
    found: Mapping[str, int] = _NOTHING,
) -> None:
    """Tell which rules rows break; refuse a source that leaves no row.

    :param source: what a person calls it.
    :param found: what rows break and are sent all the same.
    """
    for rule, count in sorted((made.broken + Counter(found)).items()):
        log.warning("%s, %s rows: %s; %s.", rule, f"{count:,}", RULES[rule].says, RULES[rule].fix)
    if not parts and not made.answered:
        why = "no row that breaks no rule" if made.rejected else "no rows"
        raise SourceError(f"{source} has {why}. Nothing was sent.")


def keep(
    operator: GeminiBatchPrepareOperator,
    plan: Plan,
    parts: tuple[Part, ...],
    made: RequestFiles | RequestTables,
    *,
    outlook: Outlook,
) -> Manifest | AirflowSkipException:
    """Write the manifest, or return why there is nothing to send; then only rejected rows stay, for a look."""
    if not parts:
        but = made.rejected and f", but for {made.rejected.rows:,} that break a rule ({made.rejected.uri})"
        why = (
            f"All {made.answered:,} rows have the answers to the same requests in {plan.results} already"
            f"{but or ''}. Nothing was sent."
        )
        operator.log.info(why)  # Airflow folds the reason of a skip away
        return AirflowSkipException(why)
    template = operator.template
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
        template_fingerprint=template.fingerprint if template else FINGERPRINT,
        template_version=template.version if template else None,
        response_schema=template.vertex_schema if template else None,
        created_at=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        attempt=plan.attempt,
        fingerprinted=operator.dedupe or operator.incremental,
        copies=made.copies,
        rejected=made.rejected,
        answered=made.answered,
        estimate=outlook.estimate,
        canary=outlook.canary,
    )
    plan.keeper.keep(manifest)
    return manifest
