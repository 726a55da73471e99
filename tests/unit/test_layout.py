"""Everything of a batch lies in one folder and in tables that are called by its id."""

from __future__ import annotations

from airflow_batch_gemini.batch.layout import BatchTables, Workspace
from airflow_batch_gemini.batch.names import DatasetName, GcsUri


def test_a_person_finds_everything_of_a_batch_by_its_name() -> None:
    """On Cloud Storage and in BigQuery."""
    folder = Workspace(GcsUri.parse("gs://team/w"))
    assert [str(uri).removeprefix("gs://team/w/") for uri in (
        folder.manifest, folder.report, folder.requests(0), folder.ledger(1),
        folder.job_input(0, 2, "abc"), folder.predictions(0), folder.canary("f" * 32),
    )] == [
        "manifest.json", "report.json", "requests/part-00000.jsonl", "ledger/part-00001.json",
        "input/part-00000/e2-abc.jsonl", "predictions/part-00000", f"canary/{'f' * 32}.json",
    ]  # fmt: skip
    tables = BatchTables(DatasetName("p", "d"), "id")
    assert [table.table for table in (
        tables.requests(0), tables.job_input(0, 1), tables.predictions(0, 1), tables.landing(0, 1)
    )] == [
        "gemini_requests_id_00000", "gemini_input_id_00000_e1",
        "gemini_predictions_id_00000_e1", "gemini_landing_id_00000_e1",
    ]  # fmt: skip
