"""Where everything of a batch lies: the files of its folder, and its tables in BigQuery."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName


@dataclass(frozen=True)
class Workspace:
    """Where things lie in the folder of one batch."""

    folder: GcsUri

    @property
    def manifest(self) -> GcsUri:
        """Written last by prepare; its absence means there is no batch."""
        return self.folder / "manifest.json"

    @property
    def claim(self) -> GcsUri:
        """Names the newest attempt to prepare, from its beginning on."""
        return self.folder / "preparing.json"

    @property
    def report(self) -> GcsUri:
        """Written by load."""
        return self.folder / "report.json"

    def requests(self, part: int) -> GcsUri:
        """The checked request file of a part."""
        return self.folder / f"requests/part-{part:05d}.jsonl"

    @property
    def copies(self) -> GcsUri:
        """Rows that get another row's answer."""
        return self.folder / "requests/copies.jsonl"

    @property
    def rejected(self) -> GcsUri:
        """Rows that a rule kept from being sent."""
        return self.folder / "requests/rejected.jsonl"

    def canary(self, request_id: str) -> GcsUri:
        """What a request of the canary was answered, or that it was asked."""
        return self.folder / f"canary/{request_id}.json"

    def ledger(self, part: int) -> GcsUri:
        """What has been paid for; changed by compare-and-set only."""
        return self.folder / f"ledger/part-{part:05d}.json"

    def job_input(self, part: int, epoch: int, nonce: str) -> GcsUri:
        """The copy of the request file that one job reads; deleting it fences that job off."""
        return self.folder / f"input/part-{part:05d}/e{epoch}-{nonce}.jsonl"

    def predictions(self, part: int) -> GcsUri:
        """The prefix Vertex AI writes below."""
        return self.folder / f"predictions/part-{part:05d}"


@dataclass(frozen=True)
class BatchTables:
    """How the BigQuery tables of one batch are called; all lie in one dataset."""

    dataset: DatasetName
    batch_id: str

    def requests(self, part: int, attempt: str = "") -> TableName:
        """Requests of a part: ``key STRING, request JSON``.

        :param attempt: tells apart what several attempts of one preparation make.
        """
        return self.dataset.table(
            "_".join(filter(None, [f"gemini_requests_{self.batch_id}_{part:05d}", attempt]))
        )

    def copies(self, attempt: str = "") -> TableName:
        """Rows that get another row's answer."""
        return self.dataset.table("_".join(filter(None, [f"gemini_copies_{self.batch_id}", attempt])))

    def rejected(self, attempt: str = "") -> TableName:
        """Rows that a rule kept from being sent."""
        return self.dataset.table("_".join(filter(None, [f"gemini_rejected_{self.batch_id}", attempt])))

    def job_input(self, part: int, epoch: int) -> TableName:
        """The clone of the requests that one job reads."""
        return self.dataset.table(f"gemini_input_{self.batch_id}_{part:05d}_e{epoch}")

    def predictions(self, part: int, epoch: int) -> TableName:
        """Where Vertex AI writes the answers of one job."""
        return self.dataset.table(f"gemini_predictions_{self.batch_id}_{part:05d}_e{epoch}")

    def landing(self, part: int, epoch: int) -> TableName:
        """Raw predictions of one job, loaded from Cloud Storage."""
        return self.dataset.table(f"gemini_landing_{self.batch_id}_{part:05d}_e{epoch}")
