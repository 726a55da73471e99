"""The command line."""

from __future__ import annotations

import importlib.util
import re
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
    assert "--data-dir" in capsys.readouterr().out


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
