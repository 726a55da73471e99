"""The command line."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from airflow_batch_gemini import __version__, cli


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`gemini-batch --version` prints the package's version."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """No command is a usage error that shows what there is."""
    assert cli.main([]) == 2
    assert "local" in capsys.readouterr().out


def test_local_without_its_extra_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names what is missing and the extra that brings it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "duckdb" else find_spec(name)
    )
    assert cli.main(["local", "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert "duckdb" in error
    assert "airflow-batch-gemini[local]" in error


def test_local_has_the_help_of_the_local_cloud(capsys: pytest.CaptureFixture[str]) -> None:
    """`gemini-batch local --help` is the local cloud's own help."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["local", "--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: gemini-batch local ")
    assert "--data-dir" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["estimate", "x.jsonl", "--model", "gemini-3.5-flash", "--price", "1.5", "nine"],
        ["estimate", "x.jsonl", "--model", "gemini-3.5-flash", "--max-cost-usd", ""],
        ["jobs", "list", "--location", "us-central1", "--days", "99999999"],
        ["jobs", "list", "--location", "us-central1", "--days", "-1"],
        ["jobs", "list", "--location", "us-central1", "--days", "0"],
        ["jobs", "sweep", "--location", "us-central1", "--older-than", "nan"],
        ["jobs", "sweep", "--location", "us-central1", "--older-than", "inf"],
        ["jobs", "sweep", "--location", "us-central1", "--older-than", "-5"],
    ],
    ids=" ".join,
)
def test_a_number_that_is_none_is_a_wrong_argument(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep of what is older than no number would find nothing, and look like one that found all well."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert f"{arguments[-1]!r} is no number" in capsys.readouterr().err


class _Stopping(io.RawIOBase):
    """A terminal at which somebody presses Ctrl-C instead of typing."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: object, /) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0


def test_a_command_that_is_stopped_by_hand_says_so_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, and the status that a shell knows of Ctrl-C."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(_Stopping())))
    assert cli.main(["lint", "-"]) == 130
    assert "Stopped." in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 3000])
def test_a_reader_that_has_seen_enough_gets_no_traceback(
    lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it left before all was written, or before the rest was flushed."""
    file = tmp_path / "a.jsonl"
    file.write_text("".join(f'{{"request": {{"{line}": 1}}}}\n' for line in range(lines)))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1024) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["lint", "--format", "json", str(file)]) == 141


@pytest.mark.parametrize(
    ("extra", "why"),
    [({"keyfile_dict": "no JSON"}, "Invalid key JSON"), ({"key_path": "/nowhere/key.json"}, "No such file")],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["lint", "gs://bucket/a.jsonl"],
        ["report", "gs://bucket/a"],
        ["jobs", "list", "--location", "us-central1"],
    ],
    ids=" ".join,
)
def test_credentials_that_cannot_be_read_are_told_in_a_sentence(
    arguments: list[str],
    extra: dict[str, str],
    why: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No traceback, and the status of what could not be asked."""
    connection = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection)
    assert cli.main(arguments) == 1
    told = capsys.readouterr().err
    assert why in told
    assert "Nothing was" in told


README = (Path(__file__).parents[2] / "README.md").read_text()
USES = sorted(set(re.findall(r"^gemini-batch [^#\n]+", README, re.MULTILINE)))
COMMANDS = ["local", "lint", "estimate", "report", "jobs list", "jobs show", "jobs cancel", "jobs sweep"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    """And the help knows it."""
    assert any(use.startswith(f"gemini-batch {command} ") for use in USES)


@pytest.mark.parametrize("use", USES)
def test_every_option_in_the_readme_exists(use: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of the command has it."""
    _, *words = use.split()
    names = words[: 2 if words[0] == "jobs" else 1]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*names, "--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in told] == []
