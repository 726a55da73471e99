"""What ``make demo`` starts and stops, without Airflow."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import Process, free_port, lives, load, save, stop, wait_for
from stack import read_env

FAMILY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
STUBBORN = (
    "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def started(code: str, folder: Path) -> Process:
    """Start Python code as the demo starts its components."""
    return Process.start("code", [sys.executable, "-c", code], env=os.environ, log=folder / "code.log")


def test_a_stopped_process_takes_its_children_along(tmp_path: Path) -> None:
    """Also those that do not listen to a polite word."""
    process = started(FAMILY, tmp_path)
    main = process.running
    assert main is not None
    wait_for(lambda: bool(main.children()), timeout=30, alive=[process])
    children = main.children(recursive=True)
    stop([process])
    assert process.running is None
    assert [child for child in children if lives(child)] == []


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace period."""
    monkeypatch.setattr("processes.GRACE_SECONDS", 0.5)
    process = started(STUBBORN, tmp_path)
    wait_for(lambda: "up" in process.last_words(), timeout=30, alive=[process])
    stop([process])
    assert process.running is None


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    """After a restart of the machine the saved number may be anybody's."""
    process = started(FAMILY, tmp_path)
    stranger = dataclasses.replace(process, created=process.created - 3600)
    save([stranger], tmp_path / "processes.json")
    (known,) = load(tmp_path / "processes.json")
    assert known.running is None
    stop([known])
    assert process.running is not None
    stop([process])


def test_waiting_ends_with_the_last_words_of_whoever_died(tmp_path: Path) -> None:
    """Instead of waiting for the whole timeout."""
    process = started("raise SystemExit('no such option')", tmp_path)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="no such option"):
        wait_for(lambda: False, timeout=60, alive=[process])
    assert time.monotonic() - began < 30


def test_a_taken_port_gives_the_next_one() -> None:
    """The UI wishes for 8080."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(wish=port) > port


def test_the_environment_file_is_read_as_a_shell_reads_it(tmp_path: Path) -> None:
    """Quotes, comments and JSON."""
    path = tmp_path / "cloud.env"
    path.write_text('# where\nHOST=http://127.0.0.1:1\nCONN=\'{"a": "b c"}\'\n')
    assert read_env(path) == {"HOST": "http://127.0.0.1:1", "CONN": '{"a": "b c"}'}
    shell = subprocess.run(
        ["/bin/sh", "-c", f'. "{path}"; printf %s "$CONN"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == '{"a": "b c"}'


def test_nobody_is_left_behind() -> None:
    """What the tests above started is gone."""
    mine = psutil.Process().children(recursive=True)
    assert [child for child in mine if lives(child) and "time.sleep(600)" in " ".join(child.cmdline())] == []
