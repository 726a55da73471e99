"""Nothing that is given to the linter, the readers and the renderers makes them fail, or differ, in any other way."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hunt import by_seeds
from hunts import HUNTS

pytestmark = pytest.mark.proof

SECONDS = 4


@pytest.mark.parametrize("name", HUNTS)
def test_nothing_that_can_be_drawn_breaks_a_promise(name: str) -> None:
    """The same inputs in every run; ``make torture`` goes on from there."""
    assert by_seeds(name, seconds=SECONDS) >= 100


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris runs on Linux only")
@pytest.mark.parametrize("name", ["linter", "ready"])
def test_nothing_that_coverage_leads_to_breaks_a_promise(name: str) -> None:
    """Bytes of request files, changed so that they reach what others did not."""
    hunt = [sys.executable, str(Path(__file__).with_name("hunt.py")), name, "--coverage", "--minutes"]
    ended = subprocess.run([*hunt, str(SECONDS / 60)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_broken_promise_is_found_and_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would know that the hunt looks at all."""

    def is_short(lines: list[bytes]) -> None:
        assert len(lines) < 4

    monkeypatch.setitem(HUNTS, "linter", type(HUNTS["linter"])(inputs=HUNTS["linter"].inputs, check=is_short))
    with pytest.raises(AssertionError) as found:
        by_seeds("linter", seconds=60)
    assert any("hunt.py linter --seed 1" in note for note in found.value.__notes__)
