"""What a preparation leaves behind: the batch and its parts.

``manifest.json`` in the workspace is the single truth about a batch; it is written last, so a workspace without one
holds no batch. XCom carries only the :class:`BatchRef`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airflow_batch_gemini.batch.canary import CanaryFigures
from airflow_batch_gemini.batch.estimate import BatchEstimate
from airflow_batch_gemini.batch.names import GcsUri, folder_segment
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.resuming import Resumed
from airflow_batch_gemini.exceptions import SourceError

FORMAT = 1
"""Version of ``manifest.json``; a reader refuses any other. A field that may be absent does not raise it."""

Medium = Literal["gcs", "bigquery"]
"""Where requests come from or predictions go to: JSONL on Cloud Storage, or a BigQuery table."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The task instance that prepared the batch. Stable over retries, clears and resumes: no try number."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def batch_id(self) -> str:
        """32 hex digits; the same for every attempt of the same task instance, and a legal label value."""
        identity = "\x00".join([self.dag_id, self.run_id, self.task_id, str(self.map_index)])
        return hashlib.sha256(identity.encode()).hexdigest()[:32]

    def workspace(self, work_uri: GcsUri) -> GcsUri:
        """The folder of this batch: ``<work_uri>/<dag_id>/<run_id>/<task_id>[/<map_index>]``."""
        folder = (
            work_uri
            / folder_segment(self.dag_id)
            / folder_segment(self.run_id)
            / folder_segment(self.task_id)
        )
        return folder / str(self.map_index) if self.map_index >= 0 else folder


@dataclass(frozen=True, kw_only=True)
class Part:
    """A slice of the batch that fits one job."""

    index: int
    uri: str
    """``gs://…/requests/part-00000.jsonl`` or ``bq://project.dataset.table``."""
    rows: int
    size: int
    """Bytes of the request file; for a table, its logical bytes."""
    checksum: str
    """crc32c of the file as Cloud Storage reports it (base64); for a table, a checksum over its rows."""
    resumes: Resumed | None = None
    """The job whose output the part's job reads instead of these requests, which say for whom it does so."""

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Part:
        """Read what ``dataclasses.asdict`` made of it."""
        resumes = document.get("resumes")
        return cls(**{**document, "resumes": resumes and Resumed.from_dict(resumes)})


@dataclass(frozen=True)
class Aside:
    """Rows of the batch for which nothing is sent: written down beside the requests, so that they are accounted for."""

    uri: str
    """``gs://….jsonl`` or ``bq://project.dataset.table``."""
    rows: int
    checksum: str = ""
    """crc32c of the file as Cloud Storage reports it (base64); for a table, a checksum over its rows."""


@dataclass(frozen=True, kw_only=True)
class FirstBatch:
    """What a repair knows of the batch that it repairs, the one of the first round: all rounds share its rows."""

    batch_id: str
    workspace: str
    fingerprint: str
    """Its :attr:`Manifest.batch_fingerprint`."""
    rows: int
    """Rows that have an outcome, whatever the round."""
    basis: str
    """Digest of what the choice of rows was made upon: while it is the same, so are the rows that were chosen."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything known of a batch after preparation."""

    identity: Identity
    workspace: str
    project_id: str
    location: str
    model: str
    """The job's ``model`` field: ``publishers/google/models/…``."""
    requests: Medium
    predictions: Medium
    predictions_dataset: str | None
    """``project.dataset`` for predictions on BigQuery, else ``None``."""
    parts: tuple[Part, ...]
    template_fingerprint: str
    response_schema: Mapping[str, Any] | None
    created_at: str
    """RFC 3339 UTC, from the logical start of preparation; informative only, not part of the fingerprint."""
    attempt: str = ""
    """Task-instance id (uuid7) of the attempt that prepared it; later attempts compare greater."""
    fingerprinted: bool = False
    """Whether each request carries its fingerprint, by which copies and later batches find its answer."""
    copies: Aside | None = None
    """Rows that get the answer of the row that sends the same request: ``key``, ``fingerprint``."""
    rejected: Aside | None = None
    """Rows that a rule kept from being sent: ``key``, ``rule``, ``message``."""
    template_version: str | None = None
    """What people call this state of the template."""
    round: int = 0
    """Which repair pass this is; 0 is the first."""
    first: FirstBatch | None = None
    """The batch that this one repairs; ``None`` for one of the first round."""
    answered: int = 0
    """Rows left out because an earlier batch has their answer; they are no rows of this batch."""
    estimate: BatchEstimate | None = None
    """What the batch will cost, as it was estimated; informative only, not part of the fingerprint."""
    canary: CanaryFigures | None = None
    """What a few real answers showed; informative only, too. The answers themselves lie in ``canary/``."""

    @property
    def batch_id(self) -> str:
        """See :attr:`Identity.batch_id`."""
        return self.identity.batch_id

    @property
    def rows(self) -> int:
        """Requests in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def accounted_rows(self) -> int:
        """Rows that get an outcome: the requests, and what was put aside."""
        return self.rows + sum(aside.rows for aside in (self.copies, self.rejected) if aside)

    @property
    def work_uri(self) -> GcsUri:
        """The folder that the workspace was made in, and that those of later rounds are made in."""
        levels = 3 + (self.identity.map_index >= 0)
        return GcsUri.parse(self.workspace.rsplit("/", levels)[0])

    @property
    def root_batch_id(self) -> str:
        """The batch whose rows these are: what the tables call all rounds."""
        return self.batch_id if self.first is None else self.first.batch_id

    @property
    def batch_fingerprint(self) -> str:
        """32 hex digits over what the first round asked: rows that carry the same one answer the same requests."""
        if self.first is not None:
            return self.first.fingerprint
        asked: list[object] = [self.fingerprint(part.index) for part in self.parts]
        asked += [(aside.rows, aside.checksum) if aside else None for aside in (self.copies, self.rejected)]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]

    @property
    def whole_rows(self) -> int:
        """Rows of all rounds that have an outcome."""
        return self.accounted_rows if self.first is None else self.first.rows

    @property
    def size(self) -> int:
        """Bytes in all parts."""
        return sum(part.size for part in self.parts)

    def fingerprint(self, part: int) -> str:
        """32 hex digits over what decides a part's answers: model, place, template, requests, destination.

        Equal fingerprints mean the paid job of one can stand for the other.
        """
        p = self.parts[part]
        decisive = [self.model, self.project_id, self.location, self.template_fingerprint]
        # Not where the requests lie: each attempt to prepare makes tables of its own, of the same rows.
        decisive += [self.requests, p.checksum, str(p.rows), self.predictions, self.predictions_dataset or ""]
        decisive += p.resumes.decisive if p.resumes else []
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32]

    @property
    def ref(self) -> BatchRef:
        """The batch as a whole, as it travels through XCom."""
        usd = None if self.estimate is None else self.estimate.usd
        return BatchRef(
            batch_id=self.batch_id,
            workspace=self.workspace,
            rows=self.rows,
            size=self.size,
            parts=len(self.parts),
            usd_low=None if usd is None else float(usd.low),
            usd_expected=None if usd is None else float(usd.expected),
            usd_high=None if usd is None else float(usd.high),
            canary_rows=0 if self.canary is None else self.canary.judged,
            canary_failures=0 if self.canary is None else self.canary.failures,
        )

    def to_xcom(self) -> list[dict[str, Any]]:
        """Return what prepare returns: one dict a part, since Airflow maps tasks over lists only."""
        return [{**self.ref.to_dict(), "part": part.index} for part in self.parts]

    def to_json(self) -> bytes:
        """Render ``manifest.json``: sorted keys, so that equal manifests are equal bytes."""
        document = {"format": FORMAT, **asdict(self), "batch_id": self.batch_id, "rows": self.rows}
        document["estimate"] = None if self.estimate is None else self.estimate.to_dict()
        document["canary"] = None if self.canary is None else self.canary.to_dict()
        return json.dumps(document, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read ``manifest.json``; anything but a manifest of this format raises :class:`SourceError`."""
        try:
            document = json.loads(data)
            if document.pop("format") != FORMAT:
                raise ValueError("unknown format")
            batch_id, rows = document.pop("batch_id"), document.pop("rows")
            document["identity"] = Identity(**document["identity"])
            document["parts"] = tuple(Part.from_dict(part) for part in document["parts"])
            for name in ("copies", "rejected"):
                if document.get(name) is not None:
                    document[name] = Aside(**document[name])
            if document.get("first") is not None:
                document["first"] = FirstBatch(**document["first"])
            if document.get("estimate") is not None:
                document["estimate"] = BatchEstimate.from_dict(document["estimate"])
            if document.get("canary") is not None:
                document["canary"] = CanaryFigures.from_dict(document["canary"])
            manifest = cls(**document)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise SourceError(
                f"manifest.json cannot be read ({error}). Nothing was sent; clear the prepare task to write it anew."
            ) from error
        if (batch_id, rows) != (manifest.batch_id, manifest.rows):
            raise SourceError(
                "manifest.json contradicts itself. Nothing was sent; clear the prepare task to write it anew."
            )
        return manifest
