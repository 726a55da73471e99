"""`gemini-batch report` over files: what it prints, and how it ends."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_gemini import cli
from airflow_batch_gemini.batch.report import Report
from airflow_batch_gemini.batch.stages import Stages
from airflow_batch_gemini.batch.tally import Tally

REPORT: dict[str, Any] = {
    "attempt": "a1",
    "batch_id": "b" * 32,
    "copies": 0,
    "cost_usd": None,
    "jobs": [{"name": "projects/p/1", "output": "gs://b/o", "state": "JOB_STATE_SUCCEEDED"}],
    "model": "publishers/google/models/gemini-3.5-flash",
    "notes": ["Look at part 1."],
    "outcomes": {"succeeded": 12_345, "failed": 1, "missing": 0},
    "rows": 12_346,
    "tables": {"results": "p.d.t"},
    "times": {"loaded": "2026-11-29T00:00:00+00:00", "last_job_ended": None},
    "tokens": {"prompt": 10, "cached": 0},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A workspace that somebody has copied here."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(REPORT, sort_keys=True))
    return path


def test_a_person_reads_it_in_order(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows, outcomes and cost first; what there is none of is left out, a cost that nobody knows is not."""
    assert cli.main(["report", str(file.parent)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "batch          " + "b" * 32,
        "model          publishers/google/models/gemini-3.5-flash",
        "rows           12,346",
        "  succeeded    12,345",
        "  failed       1",
        "prompt tokens  10",
        "cached tokens  0",
        "cost           unknown",
        "results        p.d.t",
        "job            projects/p/1 JOB_STATE_SUCCEEDED",
        "note           Look at part 1.",
    ]


def test_it_is_the_table_that_the_log_of_the_load_ends_with(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line by line; what a later version says beyond it is in the JSON."""
    counted = Tally(
        outcomes={"succeeded": 3, "truncated": 1, "blocked": 2},
        tokens={"prompt": 4, "cached": 1},
        cost_usd=Decimal("0.5"),
        without_tokens=0,
        lines=3,
        unknown=0,
    )
    found = Report.of(
        counted,
        batch_id="b",
        model="m",
        price=None,
        jobs=[],
        tables={"results": "p.d.t", "errors": "p.d.e"},
        stages=Stages(),
    )
    file.write_bytes(found.to_json())
    assert cli.main(["report", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == found.lines()
    file.write_text(json.dumps(found.to_dict() | {"share": 0.25}))
    assert cli.main(["report", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == found.lines()


def test_json_is_the_file_itself(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    assert cli.main(["report", str(file), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == REPORT


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"rows": 1}', b"\xff"])
def test_what_is_no_report_ends_with_1(
    content: bytes, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed that looks like one."""
    file.write_bytes(content)
    assert cli.main(["report", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no report" in printed.err


@pytest.mark.parametrize(
    "changed",
    [{"rows": None}, {"rows": "many"}, {"tokens": []}, {"tables": 3}, {"outcomes": {"failed": "x"}}],
)
def test_a_report_that_somebody_has_written_into_ends_with_1(
    changed: dict[str, Any], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, without a traceback."""
    file.write_text(json.dumps(REPORT | changed))
    assert cli.main(["report", str(file)]) == 1
    printed = capsys.readouterr()
    assert (printed.out, "is no report of a batch" in printed.err) == ("", True)


def test_a_folder_without_one_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is missing."""
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no report" in capsys.readouterr().err


def test_a_name_that_is_none_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is sent."""
    assert cli.main(["report", "gs://B/x"]) == 2
    assert "Nothing was sent" in capsys.readouterr().err
