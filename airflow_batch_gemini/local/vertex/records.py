"""One batch prediction job as this stand-in keeps it, and as its REST resource."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

PENDING = "JOB_STATE_PENDING"
RUNNING = "JOB_STATE_RUNNING"
CANCELLING = "JOB_STATE_CANCELLING"
SUCCEEDED = "JOB_STATE_SUCCEEDED"
PARTIALLY_SUCCEEDED = "JOB_STATE_PARTIALLY_SUCCEEDED"
FAILED = "JOB_STATE_FAILED"
CANCELLED = "JOB_STATE_CANCELLED"
EXPIRED = "JOB_STATE_EXPIRED"
FINAL = frozenset({SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED, CANCELLED, EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where rows are read or written: Cloud Storage URIs, or one BigQuery table."""

    kind: Literal["gcs", "bigquery"]
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Counted tokens; thoughts are part of what is paid as output."""

    prompt: int = 0
    cached: int = 0
    output: int = 0
    thoughts: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            output=self.output + other.output,
            thoughts=self.thoughts + other.thoughts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the work of a job is: enough to go on after a kill, and to bill each row once."""

    total: int | None = None
    done: int = 0
    succeeded: int = 0
    failed: int = 0
    billed: int = 0
    spooled: int = 0
    exported: int = 0
    exports: int = 0
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job; times are seconds since the epoch."""

    id: str
    sequence: int
    project: str
    location: str
    display_name: str
    model: str
    model_id: str
    labels: dict[str, str]
    source: Place
    destination: Place
    created: float
    updated: float
    state: str = PENDING
    stage_since: float = 0.0
    started: float | None = None
    ended: float | None = None
    error_code: int = 0
    error_message: str = ""
    output: str | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def name(self) -> str:
        """Return the full resource name."""
        return f"projects/{self.project}/locations/{self.location}/batchPredictionJobs/{self.id}"

    @property
    def ended_for_good(self) -> bool:
        """Say whether the state is one that no job leaves."""
        return self.state in FINAL

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Job:
        """Rebuild a job from what ``dataclasses.asdict`` made of it."""
        known = {item.name for item in fields(Job)}
        progress = dict(data["progress"])
        progress["tokens"] = Tokens(**progress["tokens"])
        places = {
            side: Place(kind=data[side]["kind"], uris=tuple(data[side]["uris"]))
            for side in ("source", "destination")
        }
        return Job(
            **{k: v for k, v in data.items() if k in known} | {"progress": Progress(**progress)} | places
        )


@lru_cache(1 << 10)
def project_number(project: str) -> str:
    """Return the number of a project: the id itself when it is one."""
    if project.isdigit():
        return project
    return str(10**11 + int.from_bytes(blake2b(project.encode(), digest_size=8).digest(), "big") % 10**11)


# Listings write the same times again and again.
@lru_cache(1 << 16)
def timestamp(moment: float) -> str:
    """Write a time as Google does: RFC 3339, microseconds, Z."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def filterable(job: Job) -> dict[str, Any]:
    """Return as much of the resource as a list filter may ask for: a listing tests far more jobs than it shows."""
    return {
        "displayName": job.display_name,
        "state": job.state,
        "createTime": timestamp(job.created),
        "labels": job.labels,
    }


def resource(job: Job) -> dict[str, Any]:
    """Return the job as REST answers it: camelCase, counts as strings, what is not there yet left out."""
    body: dict[str, Any] = {
        "name": job.name,
        "displayName": job.display_name,
        "model": job.model,
        "modelVersionId": "1",
        "inputConfig": _input(job.source),
        "outputConfig": _output(job.destination),
        "state": job.state,
        "createTime": timestamp(job.created),
        "updateTime": timestamp(job.updated),
    }
    if job.started is not None:
        body["startTime"] = timestamp(job.started)
    if job.ended is not None:
        body["endTime"] = timestamp(job.ended)
    if job.labels:
        body["labels"] = dict(job.labels)
    if job.error_code:
        body["error"] = {"code": job.error_code, "message": job.error_message}
    if job.output is not None:
        place = "gcsOutputDirectory" if job.destination.kind == "gcs" else "bigqueryOutputTable"
        body["outputInfo"] = {place: job.output}
    stats = _stats(job)
    if stats:
        body["completionStats"] = stats
    return body


def _input(place: Place) -> dict[str, Any]:
    if place.kind == "bigquery":
        return {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": place.uris[0]}}
    return {"instancesFormat": "jsonl", "gcsSource": {"uris": list(place.uris)}}


def _output(place: Place) -> dict[str, Any]:
    if place.kind == "bigquery":
        return {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": place.uris[0]}}
    return {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": place.uris[0]}}


def _stats(job: Job) -> dict[str, str]:
    """Return the counts as int64 strings, zeros left out; nothing while the job is queued."""
    done = job.progress
    left = (done.total or 0) - done.succeeded - done.failed if job.ended_for_good else 0
    counts = {"successfulCount": done.succeeded, "failedCount": done.failed, "incompleteCount": left}
    return {name: str(count) for name, count in counts.items() if count}
