"""What belongs to one purchase of a part: its ledger, its labels, where its answers go."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_batch_gemini.batch.job_body import NONCE, epoch_of, job_labels
from airflow_batch_gemini.batch.layout import BatchTables, Workspace
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import DatasetName, GcsUri
from airflow_batch_gemini.batch.steps import Adopt

_COPY = re.compile(r"(?P<folder>gs://.+)/input/part-(?P<part>[0-9]{5,})/e[0-9]+-[0-9a-f]+\.jsonl", re.DOTALL)
_DESCRIBED = re.compile(r"The requests of one job\. Its ledger is (?P<ledger>gs://.+)", re.DOTALL)


def input_description(ledger: GcsUri) -> str:
    """Return what the table that one job reads says of itself: whoever sees the job finds its ledger."""
    return f"The requests of one job. Its ledger is {ledger}"


def ledger_uri(input_uri: str, *, description: str = "") -> GcsUri | None:
    """Return where the ledger of the job lies that reads *input_uri*; ``None`` for a job of somebody else.

    :param description: of the table, where the job reads one.
    """
    if described := _DESCRIBED.fullmatch(description):
        return GcsUri.parse(described["ledger"])
    if copy := _COPY.fullmatch(input_uri):
        return Workspace(GcsUri.parse(copy["folder"])).ledger(int(copy["part"]))
    return None


def destination_uri(manifest: Manifest, part: int, epoch: int) -> str:
    """Return where the job of *epoch* is told to write: a prefix, or a table that no other job writes to."""
    if manifest.predictions == "gcs":
        return str(Workspace(GcsUri.parse(manifest.workspace)).predictions(part))
    dataset = DatasetName.parse(manifest.predictions_dataset)
    return BatchTables(dataset, manifest.batch_id).predictions(part, epoch).uri


def intent(
    manifest: Manifest,
    part: int,
    *,
    epoch: int,
    since: int,
    nonce: str,
    owner: str,
    input_uri: str,
    before: Ledger | None,
) -> Ledger:
    """Return the ledger whose writer may post once. An attempt's own refusals so far are kept in mind."""
    return Ledger(
        state="INTENT",
        epoch=epoch,
        since=since,
        nonce=nonce,
        owner=owner,
        fingerprint=manifest.fingerprint(part),
        input_uri=input_uri,
        destination_uri=destination_uri(manifest, part, epoch),
        refusals=before.refusals if before and before.owner == owner else 0,
    )


def adopted(
    manifest: Manifest, part: int, step: Adopt, *, owner: str, nonce: str, before: Ledger | None
) -> Ledger:
    """Return the ledger that takes the found job for the part's job.

    :param nonce: used when the job's labels carry none.
    """
    epoch = step.epoch or (before.epoch if before else 1)
    return Ledger(
        state="SUBMITTED",
        epoch=epoch,
        since=min(before.since if before else epoch, epoch),
        nonce=step.job.labels.get(NONCE) or nonce,
        owner=owner,
        fingerprint=manifest.fingerprint(part),
        input_uri=step.job.input_uri,
        destination_uri=destination_uri(manifest, part, epoch_of(step.job)),
        job_name=step.job.name,
    )


def labels_of(manifest: Manifest, part: int, ledger: Ledger, user: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of the job that *ledger* intends."""
    return job_labels(
        batch_id=manifest.batch_id,
        part=part,
        epoch=ledger.epoch,
        nonce=ledger.nonce,
        fingerprint=ledger.fingerprint,
        user=user,
    )
