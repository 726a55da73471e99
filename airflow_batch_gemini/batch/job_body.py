"""The body of ``batchPredictionJobs.create`` and the labels by which a job is found again.

Source: REST reference ``projects.locations.batchPredictionJobs``; label grammar: "Labels overview".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.names import GcsUri, TableName, model_path
from airflow_batch_gemini.exceptions import ConfigurationError

BATCH, PART, EPOCH, NONCE, FINGERPRINT = (
    f"gemini_{word}" for word in ("batch", "part", "epoch", "nonce", "fingerprint")
)
_OURS = frozenset({BATCH, PART, EPOCH, NONCE, FINGERPRINT})
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MAX_LABELS = 64
_MAX_DISPLAY_NAME = 128


def check_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the user's *labels* if Vertex AI takes them and they leave ours alone."""
    checked = dict(labels or {})
    for key, value in checked.items():
        if not (isinstance(key, str) and _KEY.fullmatch(key)):
            raise ConfigurationError(
                f"Label key {str(key)[:100]!r}: a letter and up to 62 lowercase letters, digits, '_' or '-'. "
                "Nothing was sent; correct it."
            )
        if not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise ConfigurationError(
                f"Label {key}={str(value)[:100]!r}: a value is at most 63 lowercase letters, digits, '_' or '-'. "
                "Nothing was sent; correct it."
            )
    if taken := sorted(_OURS & checked.keys()):
        raise ConfigurationError(f"Labels {taken} carry the job's identity; choose others. Nothing was sent.")
    if len(checked) + len(_OURS) > _MAX_LABELS:
        raise ConfigurationError(
            f"A job has at most {_MAX_LABELS} labels, {len(_OURS)} of them ours. Nothing was sent."
        )
    return checked


def job_labels(
    *,
    batch_id: str,
    part: int,
    epoch: int,
    nonce: str,
    fingerprint: str,
    user: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return all labels of one job."""
    ours = {
        BATCH: _batch_value(batch_id),
        PART: _part_value(part),
        EPOCH: str(epoch),
        NONCE: nonce,
        FINGERPRINT: fingerprint,
    }
    return check_labels(user) | ours


ANY_BATCH = f"labels.{BATCH}:*"
"""The list filter that finds every job that this package has made."""


def batch_filter(batch_id: str) -> str:
    """Return the list filter that finds every job of a batch."""
    return f"labels.{BATCH}={_batch_value(batch_id)}"


def part_filter(batch_id: str, part: int) -> str:
    """Return the list filter that finds every job of a part, of whatever epoch and fingerprint."""
    return f"{batch_filter(batch_id)} AND labels.{PART}={_part_value(part)}"


def belongs(job: Job, *, batch_id: str, part: int | None) -> bool:
    """Whether *job* is a job of that part, by its own labels and not by the filter that found it.

    :param part: ``None``: of any part.
    """
    of_part = part is None or job.labels.get(PART) == _part_value(part)
    return of_part and job.labels.get(BATCH) == _batch_value(batch_id)


# Values that a filter names begin with a letter: nothing can take 12e4… for a number there.
def _batch_value(batch_id: str) -> str:
    return f"b{batch_id}"


def _part_value(part: int) -> str:
    return f"p{part}"


def epoch_of(job: Job) -> int:
    """Return the epoch *job* was posted in; 0 when its labels do not say."""
    text = job.labels.get(EPOCH, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def job_body(
    *,
    display_name: str,
    model: str,
    source_uri: str,
    destination_uri: str,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Return the REST body of a job. Source and destination are ``gs://`` or ``bq://``; the kinds may be mixed."""
    if not display_name.strip() or any("\ud800" <= char <= "\udfff" for char in display_name):
        raise ConfigurationError("A job needs a display name, in whole characters. Nothing was sent.")
    return {
        "displayName": display_name[:_MAX_DISPLAY_NAME],
        "model": model_path(model),
        "inputConfig": _input(source_uri),
        "outputConfig": _output(destination_uri),
        "labels": dict(labels),
    }


def _input(uri: str) -> dict[str, Any]:
    if uri.startswith("bq://"):
        return {
            "instancesFormat": "bigquery",
            "bigquerySource": {"inputUri": TableName.parse(uri).uri},
        }
    return {"instancesFormat": "jsonl", "gcsSource": {"uris": [str(GcsUri.parse(uri))]}}


def _output(uri: str) -> dict[str, Any]:
    if uri.startswith("bq://"):
        return {
            "predictionsFormat": "bigquery",
            "bigqueryDestination": {"outputUri": TableName.parse(uri).uri},
        }
    return {
        "predictionsFormat": "jsonl",
        "gcsDestination": {"outputUriPrefix": str(GcsUri.parse(uri))},
    }
