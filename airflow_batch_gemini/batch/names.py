"""Names of things on Google Cloud, parsed strictly before any call is made with them.

Every value that reaches a URL or a SQL statement passes through here first; what does not fit its grammar raises
:class:`~airflow_batch_gemini.exceptions.InvalidNameError` and nothing is sent. A value of one of these classes is well
formed however it was made.

The grammars are Google's own (pages "About Cloud Storage buckets", "Object naming", "Create datasets", "Creating and
managing projects"), narrower where a wider one would help nobody: object names here are paths, with no empty, ``.`` or
``..`` segment, and table names are the ASCII ones. BigQuery has others, with letters of any script and spaces; a query
may read them, but they are no place for results.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from airflow_batch_gemini.exceptions import InvalidNameError

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PROJECT = re.compile(rf"(?:(?=[^:]{{1,253}}:){_LABEL}(?:\.{_LABEL})+:)?[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
"""The id, after its domain where the project is a domain's: ``example.com:my-project``."""
_PROJECT_OR_NUMBER = re.compile(rf"(?:{_PROJECT.pattern}|[0-9]{{1,20}})")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_BUCKET = re.compile(
    r"(?=[a-z0-9].{1,220}[a-z0-9]\Z)(?![0-9]+(?:\.[0-9]+){3}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*"
)
"""At most 63 characters, or 222 with dots and at most 63 between them; no IP address."""
_LOCATION = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_MODEL_PATH = re.compile(
    rf"(?:projects/{_PROJECT_OR_NUMBER.pattern}/locations/{_LOCATION.pattern}/)?"
    rf"(?:publishers/[a-z0-9-]{{1,63}}/)?models/{_MODEL.pattern}"
)
_JOB = re.compile(
    rf"projects/(?P<project>{_PROJECT_OR_NUMBER.pattern})/locations/(?P<location>{_LOCATION.pattern})"
    r"/batchPredictionJobs/(?P<id>[0-9]{1,30})"
)
_SEGMENT = re.compile(r"[A-Za-z0-9_.:+=@~-]+")
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}(?:@[A-Za-z0-9][A-Za-z0-9.-]{0,252})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SHOWN = 200
"""Characters of a refused name that a message quotes."""


def _checked(pattern: re.Pattern[str], value: object, what: str, example: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise _refused(value, f"a well-formed {what} (like {example!r})")


def _refused(value: object, what: str) -> InvalidNameError:
    shown = (
        f"{value[:_SHOWN]!r}{'…' if len(value) > _SHOWN else ''}" if isinstance(value, str) else _kind(value)
    )
    return InvalidNameError(f"{shown} is not {what}. Nothing was sent; correct it.")


def _kind(value: object) -> str:
    return "None" if value is None else f"A value of type {type(value).__name__}"


def project_id(value: object) -> str:
    """Return *value* if it is a Google Cloud project id."""
    return _checked(_PROJECT, value, "project id", "my-project")


MULTI_REGIONS = frozenset({"global", "us", "eu"})
"""Locations that are no region. The newest models are served there only; BigQuery tables are not read from there."""


def location(value: object) -> str:
    """Return *value* if it is a location: a region, ``global``, ``us`` or ``eu``."""
    return _checked(_LOCATION, value, "location", "us-central1")


def principal(value: object) -> str:
    """Return *value* if a token can be asked for it: a service account's email address or unique id."""
    example = "name@my-project.iam.gserviceaccount.com"
    return _checked(_PRINCIPAL, value, "service account", example)


@dataclass(frozen=True)
class GcsUri:
    """An object or folder on Cloud Storage: ``gs://bucket/name``. ``name`` has no leading slash."""

    bucket: str
    name: str

    def __post_init__(self) -> None:
        _checked(_BUCKET, self.bucket, "bucket name", "my-bucket")
        if self.name:
            _check_object_name(self.name)

    @classmethod
    def parse(cls, value: object) -> GcsUri:
        """Parse ``gs://bucket[/name]``; a trailing slash is dropped."""
        match = re.fullmatch(r"gs://([^/]+)(?:/(.*))?", value, re.DOTALL) if isinstance(value, str) else None
        if match is None:
            raise _refused(value, "a Cloud Storage URI (like 'gs://bucket/folder')")
        return cls(match[1], (match[2] or "").rstrip("/"))

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}" if self.name else f"gs://{self.bucket}"

    def __truediv__(self, child: str) -> GcsUri:
        """Return the URI of *child* in this folder."""
        return GcsUri(self.bucket, f"{self.name}/{child}" if self.name else child)


def _check_object_name(name: object) -> None:
    text = name if isinstance(name, str) else ""
    segments = text.split("/")
    wrong = _is_control(text) or "" in segments or "." in segments or ".." in segments
    if wrong or len(text.encode(errors="replace")) > 1024 or text.startswith(".well-known/acme-challenge/"):
        raise _refused(
            name,
            "a well-formed object name: at most 1024 bytes, no control characters, no empty, '.' or '..' segments",
        )


def _is_control(text: str) -> bool:
    """Whether *text* has a control character or half a character."""
    return _CONTROL.search(text) is not None


def work_folder(value: object) -> GcsUri:
    """Return *value* as the folder that batches get theirs below.

    Vertex AI and BigQuery read ``*``, ``?`` and brackets in the URIs of their sources as wildcards, and would read the
    files of other folders too.
    """
    folder = GcsUri.parse(value)
    if re.search(r"[*?\[\]]", folder.name):
        raise _refused(value, "a folder to work in: it has a wildcard in it")
    return folder


def source_uri(value: object) -> str:
    """Return *value* if it names files: ``gs://…`` by the rules of :class:`GcsUri`, anything else without surprises."""
    scheme = value.partition(":")[0].lower() if isinstance(value, str) else ""
    if scheme in {"gs", "gcs"}:
        GcsUri.parse(value)
    elif not isinstance(value, str) or not value or _is_control(value):
        raise _refused(value, "the URI of files (like 'gs://bucket/rows/*.jsonl')")
    return str(value)


@dataclass(frozen=True)
class DatasetName:
    """A BigQuery dataset: ``project.dataset``."""

    project: str
    dataset: str

    def __post_init__(self) -> None:
        project_id(self.project)
        _checked(_DATASET, self.dataset, "dataset name", "my_dataset")

    @classmethod
    def parse(cls, value: object, *, default_project: str | None = None) -> DatasetName:
        """Parse ``project.dataset``, or ``dataset`` where a default project is known."""
        parts = value.rsplit(".", 1) if isinstance(value, str) else []
        if len(parts) == 1 and default_project:
            parts = [default_project, *parts]
        if len(parts) != 2:
            raise _refused(value, "a dataset (like 'project.dataset')")
        return cls(*parts)

    def table(self, name: str) -> TableName:
        """Return the table *name* of this dataset."""
        return TableName(self.project, self.dataset, name)

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}"


@dataclass(frozen=True)
class TableName:
    """A BigQuery table: ``project.dataset.table``; partition decorators are refused."""

    project: str
    dataset: str
    table: str

    def __post_init__(self) -> None:
        DatasetName(self.project, self.dataset)
        _checked(_TABLE, self.table, "table name", "my_table")

    @classmethod
    def parse(cls, value: object, *, default_project: str | None = None) -> TableName:
        """Parse ``[bq://]project.dataset.table``, or ``dataset.table`` where a default project is known."""
        text = value.removeprefix("bq://") if isinstance(value, str) else ""
        dataset, dot, table = text.rpartition(".")
        if not dot:
            raise _refused(value, "a table (like 'project.dataset.table')")
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

    def __post_init__(self) -> None:
        _match_job(str(self))

    @classmethod
    def parse(cls, value: object) -> JobName:
        """Parse ``projects/P/locations/L/batchPredictionJobs/N``; P may be the project's number."""
        match = _match_job(value)
        return cls(match["project"], match["location"], match["id"])

    @property
    def parent(self) -> str:
        """The location the job lives in, as a resource name."""
        return f"projects/{self.project}/locations/{self.location}"

    def __str__(self) -> str:
        return f"{self.parent}/batchPredictionJobs/{self.job_id}"


def _match_job(value: object) -> re.Match[str]:
    match = _JOB.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _refused(value, "a job name (like 'projects/p/locations/us-central1/batchPredictionJobs/123')")
    return match


def model_path(value: object) -> str:
    """Return the job's ``model`` field for *value*.

    A bare id such as ``gemini-3.5-flash`` becomes ``publishers/google/models/gemini-3.5-flash``; a path
    (``publishers/…/models/…`` or ``projects/…/models/…``) is taken as it is.
    """
    if isinstance(value, str) and "/" in value:
        return _checked(_MODEL_PATH, value, "model path", "publishers/google/models/gemini-3.5-flash")
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
