"""Names of things on Google Cloud, parsed strictly before any call is made with them.

Every value that reaches a URL or a SQL statement passes through here first; what does not fit its grammar raises
:class:`~airflow_batch_gemini.exceptions.InvalidNameError` and nothing is sent.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from airflow_batch_gemini.exceptions import InvalidNameError

_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,100}:)?[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PROJECT_OR_NUMBER = re.compile(rf"(?:{_PROJECT.pattern}|[0-9]{{1,20}})")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_LOCATION = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_JOB = re.compile(
    rf"projects/(?P<project>{_PROJECT_OR_NUMBER.pattern})/locations/(?P<location>{_LOCATION.pattern})"
    r"/batchPredictionJobs/(?P<id>[0-9]{1,30})"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SEGMENT = re.compile(r"[A-Za-z0-9_.:+=@~-]+")


def _checked(pattern: re.Pattern[str], value: object, what: str, example: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise InvalidNameError(
        f"{value!r} is not a well-formed {what} (like {example!r}). Nothing was sent; correct it."
    )


def project_id(value: object) -> str:
    """Return *value* if it is a Google Cloud project id."""
    return _checked(_PROJECT, value, "project id", "my-project")


def location(value: object) -> str:
    """Return *value* if it is a location: a region, ``global``, ``us`` or ``eu``."""
    return _checked(_LOCATION, value, "location", "us-central1")


@dataclass(frozen=True)
class GcsUri:
    """An object or folder on Cloud Storage: ``gs://bucket/name``. ``name`` has no leading slash."""

    bucket: str
    name: str

    @classmethod
    def parse(cls, value: object) -> GcsUri:
        """Parse ``gs://bucket[/name]``; a trailing slash is dropped."""
        match = re.fullmatch(r"gs://([^/]+)(?:/(.*))?", value, re.DOTALL) if isinstance(value, str) else None
        if match is None:
            raise InvalidNameError(
                f"{value!r} is not a Cloud Storage URI (like 'gs://bucket/folder'). Nothing was sent."
            )
        bucket = _checked(_BUCKET, match[1], "bucket name", "my-bucket")
        name = (match[2] or "").rstrip("/")
        if name:
            _check_object_name(name)
        return cls(bucket, name)

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}" if self.name else f"gs://{self.bucket}"

    def __truediv__(self, child: str) -> GcsUri:
        """Return the URI of *child* in this folder."""
        name = f"{self.name}/{child}" if self.name else child
        _check_object_name(name)
        return GcsUri(self.bucket, name)


def _check_object_name(name: str) -> None:
    segments = name.split("/")
    control = _CONTROL.search(name) is not None
    try:
        too_long = len(name.encode()) > 1024
    except UnicodeEncodeError:
        control = too_long = True
    if control or too_long or "" in segments or "." in segments or ".." in segments:
        raise InvalidNameError(
            f"{name[:200]!r} is not a well-formed object name: at most 1024 bytes, no control characters, "
            "no empty, '.' or '..' segments. Nothing was sent; correct it."
        )


@dataclass(frozen=True)
class DatasetName:
    """A BigQuery dataset: ``project.dataset``."""

    project: str
    dataset: str

    @classmethod
    def parse(cls, value: object, *, default_project: str | None = None) -> DatasetName:
        """Parse ``project.dataset``, or ``dataset`` where a default project is known."""
        parts = value.rsplit(".", 1) if isinstance(value, str) else []
        if len(parts) == 1 and default_project:
            parts = [default_project, *parts]
        if len(parts) != 2:
            raise InvalidNameError(
                f"{value!r} is not a dataset (like 'project.dataset'). Nothing was sent; correct it."
            )
        return cls(project_id(parts[0]), _checked(_DATASET, parts[1], "dataset name", "my_dataset"))

    def table(self, name: str) -> TableName:
        """Return the table *name* of this dataset."""
        return TableName(self.project, self.dataset, _checked(_TABLE, name, "table name", "my_table"))

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}"


@dataclass(frozen=True)
class TableName:
    """A BigQuery table: ``project.dataset.table``; partition decorators are refused."""

    project: str
    dataset: str
    table: str

    @classmethod
    def parse(cls, value: object, *, default_project: str | None = None) -> TableName:
        """Parse ``[bq://]project.dataset.table``, or ``dataset.table`` where a default project is known."""
        text = value.removeprefix("bq://") if isinstance(value, str) else ""
        dataset, dot, table = text.rpartition(".")
        if not dot:
            raise InvalidNameError(
                f"{value!r} is not a table (like 'project.dataset.table'). Nothing was sent; correct it."
            )
        return DatasetName.parse(dataset, default_project=default_project).table(table)

    @property
    def dataset_name(self) -> DatasetName:
        """The dataset this table lies in."""
        return DatasetName(self.project, self.dataset)

    @property
    def sql(self) -> str:
        """The name as GoogleSQL spells it: one back-quoted path. The grammar admits no back-quote."""
        return f"`{self.project}.{self.dataset}.{self.table}`"

    @property
    def uri(self) -> str:
        """The name as Vertex AI spells it: ``bq://project.dataset.table``."""
        return f"bq://{self}"

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}"


@dataclass(frozen=True)
class JobName:
    """The full resource name of a Vertex ``BatchPredictionJob``."""

    project: str
    location: str
    job_id: str

    @classmethod
    def parse(cls, value: object) -> JobName:
        """Parse ``projects/P/locations/L/batchPredictionJobs/N``; P may be the project's number."""
        match = _JOB.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise InvalidNameError(
                f"{value!r} is not a job name (like 'projects/p/locations/us-central1/batchPredictionJobs/123'). "
                "Nothing was sent; correct it."
            )
        return cls(match["project"], match["location"], match["id"])

    @property
    def parent(self) -> str:
        """The location the job lives in, as a resource name."""
        return f"projects/{self.project}/locations/{self.location}"

    def __str__(self) -> str:
        return f"{self.parent}/batchPredictionJobs/{self.job_id}"


def model_path(value: object) -> str:
    """Return the job's ``model`` field for *value*.

    A bare id such as ``gemini-3.5-flash`` becomes ``publishers/google/models/gemini-3.5-flash``; a path
    (``publishers/…/models/…`` or ``projects/…/models/…``) is taken as it is.
    """
    if isinstance(value, str) and "/" in value:
        pattern = (
            rf"(?:projects/{_PROJECT_OR_NUMBER.pattern}/locations/{_LOCATION.pattern}/)?"
            rf"(?:publishers/[a-z0-9-]+/)?models/{_MODEL.pattern}"
        )
        return _checked(re.compile(pattern), value, "model path", "publishers/google/models/gemini-3.5-flash")
    return f"publishers/google/models/{_checked(_MODEL, value, 'model id', 'gemini-3.5-flash')}"


def model_id(value: str) -> str:
    """Return the last segment of a model path: the name its price is listed under."""
    return value.rsplit("/", 1)[-1]


def folder_segment(value: str) -> str:
    """Return *value* as one segment of an object name.

    Ordinary ids stay as they are. Anything else keeps its legal characters and gains a short hash, so that two
    different ids never share a folder.
    """
    if _SEGMENT.fullmatch(value) and value not in {".", ".."} and len(value) <= 200:
        return value
    legal = re.sub(r"[^A-Za-z0-9_.:+=@~-]", "_", value)[:150]
    return f"{legal}-{hashlib.sha256(value.encode()).hexdigest()[:12]}"
