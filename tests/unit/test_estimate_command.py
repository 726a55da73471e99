"""`gemini-batch estimate`: what it prints, and how it ends."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_batch_gemini import cli
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.commands import estimate
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

MODEL = ("--model", "gemini-2.5-flash")
ALONE = (*MODEL, "--no-count-tokens")


def line(number: int) -> bytes:
    request = {
        "contents": [{"role": "user", "parts": [{"text": "planted " * 50}]}],
        "generationConfig": {"maxOutputTokens": 100},
    }
    return json.dumps({"key": str(number), "request": request}).encode() + b"\n"


LINES = b"".join(map(line, range(30)))


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Thirty requests of 400 characters, and an empty line at the end."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(LINES + b"\n")
    return str(path)


def test_a_file_is_estimated_without_asking_anybody(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with the price's date, and nothing that a request says."""
    monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", "http://127.0.0.1:9")
    assert cli.main(["estimate", file, *ALONE]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1].split() == ["0", "30", "3,000", "3,000", "0.0006", "0.0042", "0.0045"]
    assert "gemini-2.5-flash as of 2026-11" in told.out
    assert "none counted" in told.out
    assert "planted" not in told.out + told.err
    assert not told.err


def test_the_estimate_is_also_printed_as_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures, for programs."""
    assert cli.main(["estimate", file, *ALONE, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["usd"] == {"low": "0.000645000", "expected": "0.004200000", "high": "0.004470000"}
    assert (found["price_date"], found["sampled"], found["output_from"]) == ("2026-11", 30, "limits")


def test_files_are_one_batch_that_is_cut_into_parts(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As prepare would cut it; a compressed file is opened up, whatever its name."""
    packed = tmp_path / "more.jsonl"
    packed.write_bytes(gzip.compress(LINES))

    def limits(**_: object) -> Limits:
        return Limits(rows=50)

    monkeypatch.setattr(estimate.parts, "Limits", limits)
    assert cli.main(["estimate", file, str(packed), *ALONE]) == 0
    rows = [words.split()[:2] for words in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == [["0", "50"], ["1", "10"], ["all", "60"]]


def test_standard_input_is_a_file_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bare requests are requests."""
    bare = json.dumps(json.loads(line(0))["request"]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bare)))
    assert cli.main(["estimate", "-", *ALONE]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["0", "1", "100"]


def test_tokens_are_counted_where_they_can_be(
    file: str, cloud: LocalCloud, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Cloud Storage, by the connection's project."""
    hook = WorkspaceHook()
    hook.write(GcsUri.parse(f"gs://{bucket}/in.jsonl"), LINES)
    hook.close()
    assert cli.main(["estimate", f"gs://{bucket}/in.jsonl", *MODEL]) == 0
    told = capsys.readouterr()
    assert "30 of 30 requests weighed, countTokens for 20." in told.out
    assert not told.err


@pytest.mark.parametrize(("command", "fate"), [("lint", "checked"), ("estimate", "estimated")])
def test_an_object_that_is_not_there_is_told(
    command: str, fate: str, cloud: LocalCloud, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what came of the work, as for a file."""
    assert cli.main([command, f"gs://{bucket}/gone.jsonl", *MODEL]) == 1
    told = capsys.readouterr().err
    assert told == f"gs://{bucket}/gone.jsonl cannot be read: there is no such object. Nothing was {fate}.\n"


def test_an_estimate_goes_on_without_a_count(
    file: str, cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning, and wider bounds; unless a count was asked for."""
    wrong = ("--model", "gemini-9", "--price", "1", "2")
    assert cli.main(["estimate", file, *wrong]) == 0
    told = capsys.readouterr()
    assert "HTTP 404" in told.err
    assert "The estimate is the wider for it." in told.err
    assert "none counted" in told.out
    assert cli.main(["estimate", file, *wrong, "--count-tokens"]) == 1
    assert "HTTP 404" in capsys.readouterr().err


def test_an_unknown_connection_is_told(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without one tokens cannot be counted, and gs:// cannot be read."""
    nowhere = ("--gcp-conn-id", "nowhere")
    assert cli.main(["estimate", file, *MODEL, *nowhere]) == 0
    told = capsys.readouterr().err
    assert told.startswith(
        "Airflow knows no connection nowhere. The estimate is the wider for it; to use your own"
    )
    assert cli.main(["estimate", file, *MODEL, *nowhere, "--count-tokens"]) == 1
    assert "Nothing was estimated; to use your own credentials set" in capsys.readouterr().err
    assert cli.main(["estimate", "gs://bucket/name", *ALONE, *nowhere]) == 1
    assert "Nothing was estimated; to use your own credentials set" in capsys.readouterr().err


def test_lines_that_are_no_requests_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figure is none of a job that runs."""
    path = tmp_path / "spoiled.jsonl"
    path.write_bytes(LINES + b"no JSON\n" + b'{"key": "x", "request": null}\n')
    assert cli.main(["estimate", str(path), *ALONE]) == 0
    assert "2 of 32 lines that were weighed are no requests" in capsys.readouterr().err


def test_a_budget_that_may_not_hold_ends_with_1(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is printed all the same."""
    assert cli.main(["estimate", file, *ALONE, "--max-cost-usd", "0.00447"]) == 0
    assert cli.main(["estimate", file, *ALONE, "--max-cost-usd", "0.004"]) == 1
    told = capsys.readouterr()
    assert told.out.count("USD low") == 2
    assert "more than max_cost_usd=0.004" in told.err


def test_an_unknown_price_is_unknown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens are told; a budget cannot be kept."""
    unknown = ("--model", "gemini-99", "--no-count-tokens")
    assert cli.main(["estimate", file, *unknown]) == 0
    assert "unknown" in capsys.readouterr().out
    assert cli.main(["estimate", file, *unknown, "--max-cost-usd", "1"]) == 1
    assert cli.main(["estimate", file, *unknown, "--price", "2", "4"]) == 0
    assert "gemini-99 as given, batch rate" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "no model"),
        (*MODEL, "--location", "no place"),
        (*MODEL, "--max-cost-usd", "much"),
        (*MODEL, "--price", "-1", "2"),
        (*MODEL, "--project-id", "NO"),
    ],
)
def test_wrong_arguments_end_with_2(
    file: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is read."""
    assert _status([file, *arguments]) == 2
    assert capsys.readouterr().err


def _status(arguments: list[str]) -> Any:
    try:
        return cli.main(["estimate", *arguments])
    except SystemExit as stopped:
        return stopped.code


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no json\n[1]\n", "no line is a request"),
        (b"", "no line is a request"),
        (gzip.compress(LINES, mtime=0)[:100], "cannot be read as gzip"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_read_ends_with_1(
    tmp_path: Path, data: bytes | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what is wrong."""
    path = tmp_path / "x.jsonl"
    if data is not None:
        path.write_bytes(data)
    assert cli.main(["estimate", str(path), *ALONE]) == 1
    assert says in capsys.readouterr().err


def test_the_readme_shows_the_command_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that the README names exists."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = re.findall(r"^gemini-batch estimate .*$", readme, re.MULTILINE)
    assert shown
    with pytest.raises(SystemExit):
        cli.main(["estimate", "--help"])
    said = capsys.readouterr().out
    for option in re.findall(r"--[a-z-]+", " ".join(shown)):
        assert option in said
