"""What the tests of the repair share: one run of a DAG from rows to results, as many rounds as are told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import job_side

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

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
DEAR = {"thought_rate": 0.2, "cached_rate": 0.3}
"""Tokens of every kind that is paid for."""
KINDS = ("prompt", "cached", "output", "thoughts")
INPUT, OUTPUT = Decimal("1.50"), Decimal("9")
"""USD per million tokens, standard tier. A batch costs half, and what is found in a cache a tenth instead."""


class KilledError(BaseException):
    """The worker dies."""


@dataclass(kw_only=True)
class Ti(job_side.Ti):
    """As much of a task instance as the operators see."""

    task_id: str
    run_id: str
    dag_id: str = "dag"
    map_index: int = -1


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
    run_id: str = "run"
    results_name: str = "results"

    def context(self, task: str) -> Any:
        self.attempts += 1
        return {
            "ti": Ti(number=self.attempts, task_id=task, run_id=f"{self.bucket} {self.run_id}"),
            "ds": "2026-09-01",
            "outlet_events": {},
        }

    @property
    def results(self) -> str:
        return f"{self.dataset}.{self.results_name}"

    def prepare(self, rows: Sequence[tuple[str, str]], template: Template = TEMPLATE, **options: Any) -> None:
        """Lay the rows down and prepare the first round."""
        if self.way == "storage":
            uri = GcsUri.parse(f"gs://{self.bucket}/rows.jsonl")
            lines = [json.dumps({"key": key, "text": text}).encode() + b"\n" for key, text in rows]
            self.storage.write(uri, b"".join(lines))
            options["source_uri"] = str(uri)
        else:
            values = ", ".join(f"STRUCT('{key}' AS key, '{text}' AS text)" for key, text in rows)
            options = {
                "sql": f"SELECT * FROM UNNEST([{values}])",
                "requests_dataset": self.dataset,
                "predictions_dataset": self.dataset,
                **options,
            }
        given: dict[str, Any] = {"model": "gemini-3.5-flash", **options}
        operator = GeminiBatchPrepareOperator(
            task_id="prepare",
            template=template,
            location="us-central1",
            work_uri=f"gs://{self.bucket}/gemini",
            project_id="demo",
            **given,
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

    def buy(self, number: int = 0, **options: Any) -> None:
        """Submit every part of a round and let its jobs end."""
        self.jobs[number] = [
            GeminiBatchSubmitOperator(
                task_id=f"submit_{number}", batch=part, settle_seconds=0, **options
            ).execute(self.context(f"submit_{number}"))
            for part in self.batches[number]
        ]
        self.cloud.settle(300)

    def wait(self, number: int = 0) -> list[dict[str, Any]]:
        """Wait for every job of a round; what the sensors return."""
        return [
            GeminiBatchSensor(task_id=f"wait_{number}", job_name=name).execute(self.context(f"wait_{number}"))
            for name in self.jobs[number]
        ]

    def load(self, number: int = 0, **options: Any) -> dict[str, Any]:
        operator = GeminiBatchLoadOperator(
            task_id=f"load_{number}",
            batch=self.batches[number],
            results_table=self.results,
            poll_interval=0,
            **options,
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

    def tokens(self, number: int) -> dict[str, int]:
        """Tokens that the local cloud billed for a round."""
        jobs = [self.cloud.stats()["jobs"][name] for name in self.jobs[number]]
        return {kind: sum(job[f"{kind}_tokens"] for job in jobs) for kind in KINDS}

    def usd(self, number: int) -> Decimal:
        """What the local cloud's bill for a round comes to, by the price list for gemini-3.5-flash."""
        tokens = self.tokens(number)
        fresh, paid_as_output = tokens["prompt"] - tokens["cached"], tokens["output"] + tokens["thoughts"]
        paid = fresh * INPUT / 2 + tokens["cached"] * INPUT / 10 + paid_as_output * OUTPUT / 2
        return paid / 1_000_000

    def table_usd(self, number: int | None = None) -> Decimal:
        """What the rows in both tables did cost; those of one round, or all."""
        rows = [row for table in self.tables for row in table.values() if number in (None, row["round"])]
        return sum((row["cost_usd"] or Decimal(0) for row in rows), Decimal(0))

    def bill(self) -> int:
        """Rows that the local cloud has billed since it started."""
        return sum(job["billed_rows"] for job in self.cloud.stats()["jobs"].values())

    def table(self, name: str = "") -> dict[str, dict[str, Any]]:
        """By key, every row of a table."""
        sql = f"SELECT * FROM `{self.results}{name}`"
        rows = list(self.warehouse.query_rows(sql, project="demo", location="us-central1"))
        found = {row["key"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    @property
    def errors(self) -> dict[str, dict[str, Any]]:
        return self.table("_errors")

    @property
    def tables(self) -> tuple[Any, Any]:
        return self.table(), self.errors

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


def cancelled_halfway(story: Story, vertex: GeminiBatchHook) -> None:
    """Buy the first round; somebody cancels its job when some rows are done."""
    story.cloud.knobs(pace="looks:5")
    story.buy()
    [name] = story.jobs[0]
    while vertex.get(name).state != "JOB_STATE_RUNNING":
        pass
    vertex.get(name)
    vertex.get(name)
    vertex.cancel(name)
    while not vertex.get(name).ended:
        pass


def rows(count: int) -> list[tuple[str, str]]:
    """So many rows of a source."""
    return [(f"row-{number:05d}", f"thing {number}") for number in range(count)]
