"""BigQuery jobs as values: their deterministic names, what became of them, and whether two are the same job.

A job id is unique for ever in its project, so a name made from the job's own configuration makes ``jobs.insert``
idempotent: whoever asks for the same work again is told 409 and attaches to the job that exists.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_batch_gemini.batch.names import TableName, project_id
from airflow_batch_gemini.exceptions import InvalidNameError

MAX_ATTEMPTS = 100
"""Names tried for one configuration; more failures than this are not bad luck."""

_ANY_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_JOB_ID = re.compile(r"gemini_[a-z_]+_[0-9a-f]{32}_(?P<attempt>[0-9]+)")
_QUOTED = re.compile(r"""(?:"|(?<!\w)')(?:.*["']|.*)""")
"""From the first quotation mark to the last, or to the end where BigQuery cut it off; the one in "couldn't" is none."""
_VALUE = re.compile(r"(\bvalue: ).*", re.IGNORECASE)
_RATE_REASONS = frozenset({"rateLimitExceeded", "jobRateLimitExceeded"})
_TRANSIENT_REASONS = _RATE_REASONS | frozenset(
    {"backendError", "internalError", "jobBackendError", "jobInternalError"}
    | {"stopped", "timeout", "resourcesExceeded"}
)
_CONCURRENT = re.compile(r"concurrent update|could not serialize", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class WarehouseJob:
    """Where a BigQuery job is to be found. Names only: it may travel through trigger arguments and events."""

    project: str
    location: str
    job_id: str

    def __post_init__(self) -> None:
        project_id(self.project)
        if not _ANY_JOB_ID.fullmatch(self.job_id):
            raise InvalidNameError(
                f"{self.job_id[:200]!r} is not the id of a BigQuery job. Nothing was sent; correct it."
            )

    @property
    def attempt(self) -> int:
        """How many jobs of the same configuration failed before this one."""
        match = _JOB_ID.fullmatch(self.job_id)
        return int(match["attempt"]) if match else 0

    def to_list(self) -> list[str]:
        """Return the plain list that a trigger keeps."""
        return [self.project, self.location, self.job_id]

    @classmethod
    def from_list(cls, value: Sequence[str]) -> WarehouseJob:
        """Read what :meth:`to_list` returned."""
        project, location, job_id = value
        return cls(project=project, location=location, job_id=job_id)

    def __str__(self) -> str:
        return f"{self.project}:{self.location}.{self.job_id}"


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """What one look at a BigQuery job saw."""

    done: bool
    reason: str | None = None
    """BigQuery's word for a failure: ``invalidQuery``, ``notFound``, …; ``None`` while all is well."""
    error: str | None = None
    """Its message without anything quoted: a literal or a value may be a prompt or an answer."""
    transient: bool = False
    """Whether the same job may well succeed when it is simply run again."""
    contended: bool = False
    """Whether it only gave way to another one that changed the same table at that moment."""
    rows: int | None = None
    """Rows loaded or changed, where BigQuery says."""
    bad_lines: int = 0
    """Lines that a load job left out because it could not read them."""
    ended: float | None = None
    """Epoch seconds by BigQuery's clock, once it is done."""
    read: tuple[TableName, ...] = ()
    """Tables that a finished query read, as far as BigQuery says: of more than fifty not all, of a cached one none."""

    @property
    def failed(self) -> bool:
        """Whether the job ended without success."""
        return self.reason is not None

    @property
    def limited(self) -> bool:
        """Whether it only came too soon after others: seconds later it may well succeed."""
        return self.reason in _RATE_REASONS

    def sentence(self, job: WarehouseJob) -> str:
        """Say how *job* failed."""
        return f"BigQuery job {job} failed: {self.reason}: {self.error}"


@dataclass(frozen=True)
class Column:
    """One column of a table, in BigQuery's words."""

    name: str
    type: Literal["STRING", "JSON", "INT64", "FLOAT64", "NUMERIC", "BOOL", "DATE", "TIMESTAMP"] | str
    mode: str = "NULLABLE"
    fields: tuple[Column, ...] = ()
    """Of a STRUCT."""
    description: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class TableInfo:
    """What BigQuery says of a table."""

    table: TableName
    location: str
    rows: int
    size: int
    columns: tuple[Column, ...]
    description: str = ""

    def column(self, name: str) -> Column | None:
        """Return the column *name*, whatever its case, or ``None``."""
        return next((c for c in self.columns if c.name.casefold() == name.casefold()), None)


def job_id(configuration: Mapping[str, Any], *, purpose: str, salt: str = "", attempt: int = 0) -> str:
    """Return the name of the *attempt*-th job that runs *configuration* (the REST dict, final and complete).

    :param salt: a different salt makes a different job of the same configuration.
    """
    text = json.dumps([configuration, salt], sort_keys=True, ensure_ascii=True)
    return f"gemini_{purpose}_{hashlib.sha256(text.encode()).hexdigest()[:32]}_{attempt}"


def same_configuration(ours: object, theirs: object) -> bool:
    """Return whether the job that exists does what was asked.

    BigQuery fills in defaults and writes numbers as strings, so everything we said must be there as we said it,
    and what we did not say may be anything. What we said and is the default anyway, or nothing, it may
    leave out.
    """
    if isinstance(ours, Mapping):
        return isinstance(theirs, Mapping) and all(
            same_configuration(value, theirs[key]) if key in theirs else _says_nothing(key, value)
            for key, value in ours.items()
        )
    if isinstance(ours, (list, tuple)):
        if not isinstance(theirs, (list, tuple)) or len(ours) != len(theirs):
            return False
        return all(same_configuration(mine, other) for mine, other in zip(ours, theirs, strict=True))
    return _scalar(ours) == _scalar(theirs)


_DEFAULTS: Mapping[str, str] = {"maxBadRecords": "0", "mode": "NULLABLE"}
"""Source: REST reference, ``JobConfigurationLoad`` and ``TableFieldSchema``. Nobody promises that they are repeated."""


def _says_nothing(key: str, value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_says_nothing(inner, one) for inner, one in value.items())
    return value is None or value == [] or _DEFAULTS.get(key) == _scalar(value)


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def redacted(message: str) -> str:
    """Return BigQuery's *message* without what it quotes.

    It quotes literals of the statement and values of the rows; either may be a prompt or an answer.
    """
    line = message.strip().partition("\n")[0]
    return _VALUE.sub(r"\1…", _QUOTED.sub("'…'", line))[:300]


def outcome_of_error(reason: str | None, message: str) -> JobOutcome:
    """Return the outcome of a job that ended with BigQuery's error *reason* and *message*."""
    reason = reason or "unknown"
    contended = bool(_CONCURRENT.search(message))
    transient = contended or reason in _TRANSIENT_REASONS
    return JobOutcome(
        done=True, reason=reason, error=redacted(message), transient=transient, contended=contended
    )
