"""The end of the stack; it comes last, and nothing comes after it."""

from __future__ import annotations

import pytest
from processes import lives
from stack import Stack

pytestmark = pytest.mark.scheduler


def test_what_was_started_is_stopped_with_all_its_children(stack: Stack) -> None:
    """By their own ids: after it nothing of ours is left, and a second stop finds nothing."""
    processes = [process.running for process in stack.processes()]
    family = [one for main in processes if main for one in [main, *main.children(recursive=True)]]
    assert len(family) >= 5
    stack.stop()
    assert [one for one in family if lives(one)] == []
    assert stack.processes() == []
