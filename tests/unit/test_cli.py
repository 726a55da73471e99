"""The command line."""

from __future__ import annotations

import importlib.util

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
