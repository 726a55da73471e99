"""`gemini-batch lint`: what it prints, and how it ends."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from airflow_batch_gemini import cli
from airflow_batch_gemini.commands import _reading, lint

GOOD = b'{"key":"a","request":{"contents":[{"role":"user","parts":[{"text":"secret"}]}]}}\n'
BAD = b'{"key":"b","request":{"contents":[{"role":"system","parts":[{"text":"secret"}]}],"x":{}}}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A request file with two errors and a warning."""
    path = tmp_path / "a,b.jsonl"
    path.write_bytes(GOOD + BAD + GOOD.replace(b'"a"', b'"7"'))
    return path


def test_a_good_file_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so."""
    path = tmp_path / "good.jsonl"
    path.write_bytes(GOOD)
    assert cli.main(["lint", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 1 request, {len(GOOD)} B. Nothing found.\n"


def test_warnings_alone_end_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard input is a file too; a retired model is warned of."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD)))
    assert cli.main(["lint", "-", "--model", "gemini-2.5-pro", "--location", "us-central1"]) == 0
    assert "GB141 warning, 1×: the model is retired" in capsys.readouterr().out


def test_errors_end_with_1_and_are_told_by_rule(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors first; where, what and what to do, and nothing that a request says."""
    assert cli.main(["lint", str(file)]) == 1
    told = capsys.readouterr().out
    assert told.index("GB102 error, 1×: an object is empty; leave it out") < told.index("GB107 error")
    assert told.index("GB107 error") < told.index("GB136 warning, 1×")
    assert "  line 2, key 'b', request.x\n" in told
    assert told.endswith("2 errors, 1 warning.\n")
    assert "secret" not in told


def test_only_the_first_findings_of_a_rule_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are counted."""
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(BAD.replace(b'"b"', b'"k%d"' % n) for n in range(1000)))
    assert cli.main(["lint", str(path)]) == 1
    told = capsys.readouterr().out
    assert told.count("request.x") == lint.SHOWN
    assert "GB102 error, 1,000×" in told
    assert "… and 995 more" in told


def test_json_is_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, as a document."""
    assert cli.main(["lint", str(file), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["requests"], told["errors"], told["warnings"]) == (3, 2, 1)
    assert [(rule["id"], rule["severity"], rule["count"]) for rule in told["rules"]] == [
        ("GB102", "error", 1), ("GB107", "error", 1), ("GB136", "warning", 1),
    ]  # fmt: skip
    assert told["rules"][0]["first"] == [{"row": "line 2", "key": "b", "path": "request.x", "detail": ""}]


def test_github_shows_it_beside_the_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commas and colons of a path are escaped."""
    assert cli.main(["lint", str(file), "--format", "github"]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    name = str(file).replace(",", "%2C")
    assert first.startswith(f"::error file={name},line=2,title=GB102::GB102 line 2, key 'b', request.x: ")
    assert last == f"{file}: 2 errors, 1 warning."


def test_a_compressed_file_is_told_for_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A character of bytes that nobody wrote would help nobody."""
    path = tmp_path / "requests.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n"))
    assert cli.main(["lint", str(path)]) == 1
    assert "line 1 (it looks compressed; unpack the file)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["gone.jsonl"], ["gs://no-such-bucket-here"]])
def test_what_cannot_be_read_ends_with_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed that looks like a verdict."""
    assert cli.main(["lint", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err


@pytest.mark.parametrize("arguments", [["f", "--model", "a b"], ["f", "--location", "../x"]])
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is read."""
    assert cli.main(["lint", *arguments]) == 2
    assert "Nothing was sent" in capsys.readouterr().err


def test_a_terminal_shows_how_far_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the bar is gone at the end; a pipe shows nothing."""
    cli.main(["lint", str(file)])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(_reading, "_TELL_SECONDS", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    cli.main(["lint", str(file)])
    shown = capsys.readouterr().err
    assert "3 requests" in shown
    assert shown.endswith("\r\x1b[K")
