"""Requests that are not sent: prepared, bought and loaded through the real operators, with what was billed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from job_side import context
from prepare_side import KilledError, Place, Ti

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.exceptions import ConfigurationError, RowError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._manifest import ManifestKeeper
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

TEMPLATE = GeminiTemplate(prompt="What is {text}?")
Rows = Sequence[tuple[str, str]]
WAYS = ["worker", "bigquery"]


@dataclass
class Batches:
    """Runs of one DAG over rows that are laid down as a file and as a table."""

    place: Place
    cloud: LocalCloud
    way: str
    jobs: set[str] = field(default_factory=set)

    def prepare(self, rows: Rows, run: str, **options: Any) -> Manifest:
        """Prepare *rows* in *run*."""
        data = b"".join(json.dumps({"key": key, "text": text}).encode() + b"\n" for key, text in rows)
        values = ", ".join(f"STRUCT('{key}' AS key, '{text}' AS text)" for key, text in rows)
        source: dict[str, Any] = (
            {"source_uri": self.place.put(f"rows/{run}.jsonl", data)}
            if self.way == "worker"
            else {"sql": f"SELECT * FROM UNNEST([{values}])", "requests_dataset": self.place.dataset}
        )
        operator = self.place.operator(template=TEMPLATE, **source, **options)
        ref = BatchRef.from_xcom(operator.execute({"ti": Ti(run_id=run)}))
        stored = self.place.storage.read(Workspace(ref.folder).manifest)
        assert stored is not None
        return Manifest.from_json(stored.data)

    def run(self, rows: Rows, run: str, **options: Any) -> dict[str, Any]:
        """Prepare, buy and load; return the report."""
        manifest = self.prepare(rows, run, **options)
        for part in manifest.parts:
            submit = GeminiBatchSubmitOperator(
                task_id="submit", batch=manifest.ref.to_dict(), part=part.index, settle_seconds=0
            )
            self.jobs.add(submit.execute(context()))
        self.cloud.settle()
        load = GeminiBatchLoadOperator(
            task_id="load", batch=manifest.ref.to_dict(), results_table=self.results, poll_interval=0
        )
        report: dict[str, Any] = load.execute(
            {"ti": context()["ti"], "ds": "2026-09-01", "outlet_events": {}}  # type: ignore[arg-type]
        )
        return report

    @property
    def results(self) -> str:
        return f"{self.place.dataset}.results"

    def landed(self) -> dict[str, list[str]]:
        """Key → the prompts that were answered for it, one a batch."""
        found: dict[str, list[str]] = {}
        sql = f"SELECT key, text FROM `{self.results}` ORDER BY key, batch_id"
        for row in self.place.warehouse.query_rows(sql, project="demo", location="us-central1"):
            found.setdefault(row["key"], []).append(row["text"])
        return found

    def billed(self) -> int:
        """Rows that the local cloud billed for the jobs of all runs."""
        stats = self.cloud.stats()["jobs"]
        return sum(stats[name]["billed_rows"] for name in self.jobs)


@pytest.fixture(params=WAYS)
def batches(
    cloud: LocalCloud, bucket: str, dataset: str, request: pytest.FixtureRequest
) -> Iterator[Batches]:
    """Both ways to prepare: through the worker, and in BigQuery."""
    place = Place(bucket, dataset, WorkspaceHook(), WarehouseHook())
    yield Batches(place, cloud, request.param)
    place.storage.close()
    place.warehouse.close()


def test_a_batch_whose_canary_sang_is_bought_and_loaded_like_any_other(batches: Batches) -> None:
    """The job asks the same rows again; what the canary cost is told beside the cost of the batch."""
    report = batches.run([("a", "x"), ("b", "y"), ("c", "z")], "with-canary", canary_rows=2)
    assert (report["rows"], report["outcomes"]["succeeded"]) == (3, 3)
    assert report["canary"]["rows"] == 2
    assert float(report["canary"]["cost_usd"]) > 0
    assert report["cost_usd"] > 0


ROWS = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "z")]


def test_equal_requests_are_paid_for_once_and_answer_every_row(batches: Batches) -> None:
    """Five rows, three requests."""
    report = batches.run(ROWS, "one", dedupe=True)
    assert {key: len(found) for key, found in batches.landed().items()} == dict.fromkeys("abcde", 1)
    assert all(f"What is {text}?" in batches.landed()[key][0] for key, text in ROWS)
    assert (report["rows"], report["copies"], report["outcomes"]["succeeded"]) == (5, 2, 5)
    assert batches.billed() == 3


def test_equal_requests_in_several_parts_are_paid_for_once_too(batches: Batches) -> None:
    """A copy may lie in another part than the row that is sent."""
    report = batches.run(ROWS, "one", dedupe=True, max_rows_per_part=1)
    assert (report["rows"], report["copies"], len(report["jobs"])) == (5, 2, 3)
    assert sorted(batches.landed()) == list("abcde")
    assert batches.billed() == 3


def test_the_next_batch_asks_only_what_is_new_or_has_changed(batches: Batches) -> None:
    """The same key with another text is asked again; what is answered is neither sent nor loaded again."""
    options = {"incremental": True, "results_table": batches.results}
    batches.run(ROWS, "one", **options)
    assert batches.billed() == 5
    report = batches.run([*ROWS[:3], ("d", "changed"), ("f", "x")], "two", **options)
    assert (report["rows"], report["answered_before"]) == (2, 3)
    assert batches.billed() == 7
    assert {key: len(found) for key, found in batches.landed().items()} == {
        **dict.fromkeys("abcef", 1), "d": 2,
    }  # fmt: skip


def test_a_batch_with_nothing_new_is_skipped_and_leaves_nothing_behind(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    """So are the tasks that follow it; the log says why."""
    options = {"incremental": True, "dedupe": True, "results_table": batches.results}
    batches.run(ROWS, "one", **options)
    tables = batches.place.tables()
    with pytest.raises(AirflowSkipException, match="All 5 rows have the answers"):
        batches.run(ROWS, "two", **options)
    assert "All 5 rows have the answers" in capsys.readouterr().out
    assert batches.billed() == 3
    left = batches.place.storage.list(GcsUri.parse(f"gs://{batches.place.bucket}/gemini/dag/two"))
    assert [info.uri.rpartition("/")[2] for info in left] == ["preparing.json"]
    assert batches.place.tables() == tables


def test_rows_that_break_a_rule_are_written_down_though_nothing_new_is_left_to_send(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    """The batch is skipped, and the log says where they are."""
    options = {"incremental": True, "results_table": batches.results, "on_lint": "drop"}
    batches.run(ROWS, "one", **options)
    capsys.readouterr()
    with pytest.raises(AirflowSkipException, match=r"All 5 rows .* but for 1 that break a rule"):
        batches.run([*ROWS, ("k" * 2000, "x")], "two", **options)
    [uri] = re.findall(r"break a rule \((\S+)\)\. Nothing was sent", capsys.readouterr().out)
    if uri.startswith("gs://"):
        stored = batches.place.storage.read(GcsUri.parse(uri))
        rows = stored and [json.loads(line) for line in stored.data.splitlines()]
    else:
        table = uri.removeprefix("bq://")
        rows = list(
            batches.place.warehouse.query_rows(
                f"SELECT * FROM `{table}`", project="demo", location="us-central1"
            )
        )
    assert rows is not None
    assert [row["rule"] for row in rows] == ["GB123"]


def test_a_batch_that_is_prepared_anew_does_not_take_its_own_answers_for_earlier_ones(
    batches: Batches,
) -> None:
    """A load replaces a batch's rows by those it finds: left out, they would be lost."""
    options = {"incremental": True, "dedupe": True, "results_table": batches.results}
    first = batches.prepare(ROWS, "one", **options)
    batches.run(ROWS, "one", **options)
    again = batches.prepare(ROWS, "one", **options)
    assert (again.rows, again.answered) == (3, 0)
    assert [again.fingerprint(part.index) for part in again.parts] == [
        first.fingerprint(part.index) for part in first.parts
    ]
    report = batches.run(ROWS, "one", **options)
    assert (report["rows"], batches.billed(), len(batches.landed())) == (5, 3, 5)


def test_a_key_that_is_used_twice_is_refused_though_one_of_its_rows_is_not_sent(batches: Batches) -> None:
    """A copy, or a row that was answered before, has its key for itself like any other."""
    options = {"incremental": True, "dedupe": True, "results_table": batches.results}
    with pytest.raises(RowError, match="GB122"):
        batches.prepare([("a", "x"), ("b", "y"), ("a", "x")], "one", **options)
    batches.run(ROWS[:2], "two", **options)
    with pytest.raises(RowError, match="GB122"):
        batches.prepare([("a", "x"), ("c", "y"), ("a", "new")], "three", **options)


def test_the_place_of_a_key_that_is_used_twice_is_told(cloud: LocalCloud, bucket: str, dataset: str) -> None:
    """Rows that are not sent count."""
    place = Place(bucket, dataset, WorkspaceHook(), WarehouseHook())
    batches = Batches(place, cloud, "worker")
    with pytest.raises(RowError, match=r"line 4.*first by .* line 2"):
        batches.prepare([("a", "x"), ("b", "x"), ("c", "x"), ("b", "y")], "one", dedupe=True)
    assert place.files() == []


def test_a_preparation_killed_before_its_manifest_leaves_copies_that_the_next_one_replaces(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and copies are the same bytes again."""
    first = batches.prepare(ROWS, "one", dedupe=True)

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(ManifestKeeper, "keep", killed)
        patch.setattr(RequestFiles, "_take_away", lambda _self: None)
        with pytest.raises(KilledError):
            batches.prepare(ROWS, "one", dedupe=True)
    again = batches.prepare(ROWS, "one", dedupe=True)
    assert [part.checksum for part in again.parts] == [part.checksum for part in first.parts]
    assert again.copies is not None
    assert first.copies is not None
    assert (again.copies.rows, again.copies.checksum) == (2, first.copies.checksum)


def test_a_results_table_that_is_none_is_refused(batches: Batches) -> None:
    """Before anything is written."""
    sql = f"CREATE TABLE `{batches.results}` AS SELECT 1 AS other"
    list(batches.place.warehouse.query_rows(sql, project="demo", location="us-central1"))
    with pytest.raises(ConfigurationError, match="no columns batch_id and fingerprint"):
        batches.prepare(ROWS, "one", incremental=True, results_table=batches.results)


@pytest.mark.parametrize("options", [{"incremental": True}, {"results_table": "d.t"}])
def test_incremental_and_the_results_table_go_together(options: dict[str, Any]) -> None:
    """One without the other says nothing."""
    with pytest.raises(ConfigurationError, match="go together"):
        Place("b", "d", None, None).operator(sql="SELECT 1", **options)  # type: ignore[arg-type]
