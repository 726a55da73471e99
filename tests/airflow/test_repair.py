"""Rows that did not succeed, asked again through the real operators: what was billed, and how the tables end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.manifest import BatchRef, Manifest, Workspace
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.treatment import CORRECTION
from airflow_batch_gemini.exceptions import AccountingError, ConfigurationError, SourceError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._manifest import ManifestKeeper
from airflow_batch_gemini.operators._tables import RequestTables
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

SCHEMA = {"type": "OBJECT", "properties": {"topic": {"type": "STRING"}}, "required": ["topic"]}
TEMPLATE = GeminiTemplate(
    prompt="What is {text}?", response_schema=SCHEMA, generation_config={"maxOutputTokens": 4096}
)
WAYS = ["storage", "bigquery"]
TROUBLES = {
    "row_error_rate": 0.05,
    "truncate_rate": 0.02,
    "invalid_json_rate": 0.01,
    "blocked_rate": 0.01,
    "missing_rate": 0.005,
    "swap_echo_rate": 0.002,
}
CALM = dict.fromkeys(TROUBLES, 0.0)


class KilledError(BaseException):
    """The worker dies."""


@dataclass
class Ti:
    """As much of a task instance as the operators see."""

    task_id: str
    number: int
    run_id: str = "run"
    dag_id: str = "dag"
    map_index: int = -1
    pushed: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        """Later numbers are later attempts."""
        return UUID(int=(self.number << 80) | (7 << 76) | (2 << 62))

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@dataclass
class Story:
    """One run of a DAG: prepare, submit, load, and as many rounds of repair as are told."""

    cloud: LocalCloud
    bucket: str
    dataset: str
    way: str
    storage: WorkspaceHook
    warehouse: WarehouseHook
    batches: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    jobs: dict[int, list[str]] = field(default_factory=dict)
    attempts: int = 0

    def context(self, task: str) -> Any:
        self.attempts += 1
        return {"ti": Ti(task, self.attempts), "ds": "2026-09-01", "outlet_events": {}}

    @property
    def results(self) -> str:
        return f"{self.dataset}.results"

    def prepare(
        self, rows: Sequence[tuple[str, str]], template: GeminiTemplate = TEMPLATE, **options: Any
    ) -> None:
        """Lay the rows down and prepare the first round."""
        if self.way == "storage":
            uri = GcsUri.parse(f"gs://{self.bucket}/rows.jsonl")
            lines = [json.dumps({"key": key, "text": text}).encode() + b"\n" for key, text in rows]
            self.storage.write(uri, b"".join(lines))
            options["source_uri"] = str(uri)
        else:
            values = ", ".join(f"STRUCT('{key}' AS key, '{text}' AS text)" for key, text in rows)
            options |= {
                "sql": f"SELECT * FROM UNNEST([{values}])",
                "requests_dataset": self.dataset,
                "predictions_dataset": self.dataset,
            }
        operator = GeminiBatchPrepareOperator(
            task_id="prepare",
            template=template,
            model="gemini-3.5-flash",
            location="us-central1",
            work_uri=f"gs://{self.bucket}/gemini",
            project_id="demo",
            **options,
        )
        self.batches[0] = operator.execute(self.context("prepare"))

    def operator(self, number: int = 1, **options: Any) -> GeminiBatchRepairOperator:
        return GeminiBatchRepairOperator(
            task_id=f"repair_{number}",
            batch=self.batches[0],
            results_table=self.results,
            round=number,
            **options,
        )

    def repair(self, number: int = 1, **options: Any) -> Manifest:
        """Prepare a round."""
        operator = self.operator(number, **options)
        self.batches[number] = operator.execute(self.context(f"repair_{number}"))
        return self.manifest(number)

    def buy(self, number: int = 0) -> None:
        """Submit every part of a round and let its jobs end."""
        self.jobs[number] = [
            GeminiBatchSubmitOperator(task_id=f"submit_{number}", batch=part, settle_seconds=0).execute(
                self.context(f"submit_{number}")
            )
            for part in self.batches[number]
        ]
        self.cloud.settle(300)

    def load(self, number: int = 0) -> dict[str, Any]:
        operator = GeminiBatchLoadOperator(
            task_id=f"load_{number}",
            batch=self.batches[number],
            results_table=self.results,
            poll_interval=0,
        )
        return operator.execute(self.context(f"load_{number}"))

    def go(self, number: int = 0) -> dict[str, Any]:
        """Buy and load a round that is prepared; return the report."""
        self.buy(number)
        return self.load(number)

    def manifest(self, number: int = 0) -> Manifest:
        stored = self.storage.read(Workspace(BatchRef.from_xcom(self.batches[number]).folder).manifest)
        assert stored is not None
        return Manifest.from_json(stored.data)

    def billed(self, number: int) -> int:
        stats = self.cloud.stats()["jobs"]
        return sum(stats[name]["billed_rows"] for name in self.jobs[number])

    def all_jobs(self) -> int:
        return len(self.cloud.stats()["jobs"])

    def table(self, name: str = "results") -> dict[str, dict[str, Any]]:
        sql = f"SELECT * FROM `{self.dataset}.{name}`"
        rows = list(self.warehouse.query_rows(sql, project="demo", location="us-central1"))
        found = {row["key"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    @property
    def errors(self) -> dict[str, dict[str, Any]]:
        return self.table("results_errors")

    def outcomes(self) -> dict[str, str]:
        errors = {key: row["outcome"] for key, row in self.errors.items()}
        results = dict.fromkeys(self.table(), "succeeded")
        assert not errors.keys() & results.keys()
        return results | errors

    def requests(self, number: int) -> dict[str, Any]:
        """By key, what a round asks."""
        found = {}
        for part in self.manifest(number).parts:
            if part.uri.startswith("gs://"):
                stored = self.storage.read(GcsUri.parse(part.uri))
                assert stored is not None
                lines = map(json.loads, stored.data.splitlines())
            else:
                sql = f"SELECT key, request FROM `{part.uri.removeprefix('bq://')}`"
                lines = self.warehouse.query_rows(sql, project="demo", location="us-central1")
            found |= {line["key"].removeprefix("k_"): line["request"] for line in lines}
        return found


@pytest.fixture(params=WAYS)
def story(request: pytest.FixtureRequest, cloud: LocalCloud, bucket: str, dataset: str) -> Iterator[Story]:
    storage, warehouse = WorkspaceHook(), WarehouseHook()
    yield Story(cloud, bucket, dataset, request.param, storage, warehouse)
    storage.close()
    warehouse.close()


@pytest.fixture
def in_files(cloud: LocalCloud, bucket: str, dataset: str) -> Iterator[Story]:
    storage, warehouse = WorkspaceHook(), WarehouseHook()
    yield Story(cloud, bucket, dataset, "storage", storage, warehouse)
    storage.close()
    warehouse.close()


def rows(count: int) -> list[tuple[str, str]]:
    return [(f"row-{number:05d}", f"thing {number}") for number in range(count)]


# ------------------------------------------------------------------------------------------------------ the whole way


def test_after_the_repair_only_what_cannot_be_mended_is_left_and_nothing_was_bought_twice(
    story: Story,
) -> None:
    """Two thousand rows, every trouble there is, two rounds: rows in are rows out, and the bill is that of the rows."""
    count = 2000
    story.cloud.knobs(**TROUBLES)
    story.prepare(rows(count))
    report = story.go()
    first = story.outcomes()
    assert {"succeeded", "failed", "truncated", "invalid", "blocked", "missing"} <= set(first.values())
    assert (len(first), sum(report["outcomes"].values())) == (count, count)
    billed = story.billed(0)

    deserving = {key for key, outcome in first.items() if outcome not in ("succeeded", "blocked")}
    manifest = story.repair()
    assert (manifest.round, manifest.root_batch_id, manifest.rows) == (
        1,
        story.manifest().batch_id,
        len(deserving),
    )
    assert set(story.requests(1)) == deserving
    second = story.go(1)
    assert sum(second["outcomes"].values()) == len(deserving)
    assert sum(second["standing"].values()) == count

    left = {key for key, outcome in story.outcomes().items() if outcome not in ("succeeded", "blocked")}
    story.cloud.knobs(**{**CALM, "blocked_rate": TROUBLES["blocked_rate"]})
    story.repair(2)
    assert set(story.requests(2)) == left
    third = story.go(2)

    ended = story.outcomes()
    assert len(ended) == count
    assert set(ended.values()) == {"succeeded", "blocked"}
    # A request that is changed may be blocked where its first form was not, and nothing else may come of it.
    assert {key for key, outcome in first.items() if outcome == "blocked"} <= {
        key for key, outcome in ended.items() if outcome == "blocked"
    }
    assert third["standing"] == {**dict.fromkeys(third["standing"], 0), **Counter(ended.values())}
    assert {row["batch_id"] for row in (story.table() | story.errors).values()} == {manifest.root_batch_id}
    # Billed is what the model answered: every row once in the first pass, every repaired row once in its round.
    answered = [report, second, third]
    unpaid = ("failed", "missing", "rejected")
    for number, one in enumerate(answered):
        paid = sum(rows for outcome, rows in one["outcomes"].items() if outcome not in unpaid)
        assert story.billed(number) == paid + (story.billed(number) - paid)
    assert billed == story.billed(0)
    with pytest.raises(AirflowSkipException, match="No row deserves round 3"):
        story.repair(3)
