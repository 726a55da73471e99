"""From a job back to its ledger: by the place of its input, or by what its input table says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.layout import Workspace as Folder
from airflow_batch_gemini.batch.manifest import Identity
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.purchase import input_description, ledger_uri

IDS = st.text(min_size=1, max_size=30)


@given(IDS, IDS, IDS, st.integers(min_value=0, max_value=200_000), st.integers(min_value=1, max_value=9999))
def test_every_input_leads_to_the_ledger_of_its_part(
    dag_id: str, run_id: str, task_id: str, part: int, epoch: int
) -> None:
    """Whatever the ids of the DAG, the run and the task look like."""
    identity = Identity(dag_id=dag_id, run_id=run_id, task_id=task_id)
    folder = Folder(identity.workspace(GcsUri.parse("gs://bucket/input/part-00007/e1-ab.jsonl")))
    copy = folder.job_input(part, epoch, "0123456789abcdef")
    assert ledger_uri(str(copy)) == folder.ledger(part)
    described = input_description(folder.ledger(part))
    assert ledger_uri("bq://p-1.d.t", description=described) == folder.ledger(part)


@pytest.mark.parametrize(
    ("uri", "description"),
    [
        ("gs://bucket/requests.jsonl", ""),
        ("gs://bucket/input/part-00000/e1-ab.json", ""),
        ("gs://bucket/input/part-0/e1-ab.jsonl", ""),
        ("bq://p-1.d.t", ""),
        ("bq://p-1.d.t", "Somebody's table."),
        ("", ""),
    ],
)
def test_a_job_of_somebody_else_leads_nowhere(uri: str, description: str) -> None:
    """So nobody takes it for the package's own."""
    assert ledger_uri(uri, description=description) is None
