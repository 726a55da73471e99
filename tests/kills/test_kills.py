"""Processes killed at every step of prepare, submit and load: whatever dies, every row is paid for and landed once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.proof, pytest.mark.xdist_group("kills")]

SCRIPT = Path(__file__).with_name("every_step.py")
KILLS = 200
TIMEOUT_SECONDS = 900


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all stories. They are told by a process of their own: it must not have threads when it forks."""
    target = tmp_path_factory.mktemp("kills") / "told.json"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(target)],
        env={**inherited, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(target.read_text()))


def test_whoever_dies_wherever_no_row_is_paid_for_twice_and_none_is_lost(
    told: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """Attempts killed, stopped for as long as their successors work, told to stop; services that fail beside it."""
    record_property("table", told["table"])
    assert not told["bad"], told["bad"]


def test_somebody_died_at_every_step_in_every_way(told: dict[str, Any]) -> None:
    """The steps are those that a clean run came by, so a new one is among them."""
    assert told["missing"] == []


def test_at_least_two_hundred_processes_were_killed(told: dict[str, Any]) -> None:
    """Counted are those that the kernel says died of SIGKILL."""
    assert told["kills"] >= KILLS


def test_without_the_fence_the_post_of_a_zombie_would_be_paid_for(told: dict[str, Any]) -> None:
    """A judge who finds nothing proves nothing."""
    assert told["unfenced"]["duplicates"] == 2


def test_a_row_published_twice_and_one_not_published_are_noticed(told: dict[str, Any]) -> None:
    """The results are compared with the rows, not with what the report says."""
    assert (told["badly published"]["duplicates"], told["badly published"]["lost"]) == (1, 1)
