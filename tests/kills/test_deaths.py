"""The means of killing, and what is counted afterwards."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import deaths
import pytest
from counting import balance, orphans
from deaths import Moment, Order, give, journal, open_orders, pass_by

from airflow_batch_gemini.batch.landing import WarehouseJob
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.hooks.workspace import PreconditionLost, WorkspaceHook

LAST_WORDS = (
    "import os; from deaths import pass_by; os.write(1, b'a'); pass_by('POST', 'before'); os.write(1, b'b')"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where orders lie; what was passed before is forgotten."""
    monkeypatch.setenv(deaths.VARIABLE, str(tmp_path))
    monkeypatch.setattr(deaths, "_passed", Counter())
    return tmp_path


@pytest.fixture
def told(folder: Path) -> Iterator[list[int]]:
    """The signals that this process was sent: it listens to SIGTERM, as a task does."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


def test_an_order_is_for_the_moment_it_names_and_is_obeyed_once(folder: Path, told: list[int]) -> None:
    """Its name, before or after, the how-manieth time."""
    give(folder, Order(step="write ledger *", when="after", nth=2, how="SIGTERM"))
    pass_by("write ledger INTENT", "after")
    pass_by("write ledger INTENT", "before")
    assert not told
    pass_by("write ledger INTENT", "after")
    pass_by("write ledger INTENT", "after")
    assert told == [signal.SIGTERM]
    assert [moment.did for moment in journal(folder)] == [None, None, "SIGTERM", None]
    assert open_orders(folder) == []


def test_an_order_may_count_all_moments(folder: Path, told: list[int]) -> None:
    """Whatever they are called."""
    give(folder, Order(nth=0, count=3, how="SIGTERM"))
    for step in "abcd":
        pass_by(step, "before")
    assert [(moment.step, moment.did) for moment in journal(folder)] == [
        ("a", None), ("b", None), ("c", "SIGTERM"), ("d", None),
    ]  # fmt: skip


def test_an_order_for_somebody_else_is_left_to_them(folder: Path, told: list[int]) -> None:
    """Another task, run or attempt."""
    for other in ({"task": "load"}, {"run": "another"}, {"attempt": 2}):
        give(folder, Order(step="POST", when="before", how="SIGTERM", **other))
    pass_by("POST", "before")
    assert not told
    assert len(open_orders(folder)) == 3


def test_a_killed_process_died_of_sigkill_where_it_was_to(folder: Path) -> None:
    """The journal is written before it dies, and nothing after it."""
    give(folder, Order(step="POST", when="before"))
    read, write = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", LAST_WORDS],
        {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )
    _, status = os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert said.read() == b"a"
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    [moment] = journal(folder)
    assert (moment.name, moment.did, moment.pid) == ("before POST", "SIGKILL", pid)


class Hook:
    """Two methods, one of which takes the other."""

    def write(self, uri: GcsUri, data: bytes) -> None:
        self.stat(uri)
        raise PreconditionLost("moved on")

    def stat(self, uri: GcsUri) -> None:
        pass


def test_a_call_is_one_step_with_its_end_and_error(folder: Path) -> None:
    """What it calls itself is not told, and what it raises is."""
    names = deaths.hooks()[WorkspaceHook]
    for method in ("write", "stat"):
        deaths._wrap(Hook, method, names[method])
    uri = GcsUri.parse("gs://bucket/input/ledger/part-00000.json")
    with pytest.raises(PreconditionLost):
        Hook().write(uri, b'{"state": "INTENT"}')
    Hook().stat(uri)
    assert [(moment.name, moment.error) for moment in journal(folder)] == [
        ("before write ledger INTENT", None),
        ("after write ledger INTENT", "PreconditionLost"),
        ("before look at ledger", None),
        ("after look at ledger", None),
    ]


def test_without_orders_nothing_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that nobody wants to kill runs the package as it is."""
    monkeypatch.delenv(deaths.VARIABLE, raising=False)
    before = WorkspaceHook.write
    assert deaths.install() is False
    assert WorkspaceHook.write is before


@pytest.mark.parametrize(
    ("job_id", "name"),
    [(f"gemini_publish_{'0' * 32}_0", "start job publish"), ("bquxjob_1", "start job query")],
)
def test_a_bigquery_job_is_called_by_its_purpose(job_id: str, name: str) -> None:
    """Which is in its id."""
    job = WarehouseJob(project="p", location="us", job_id=job_id)
    assert deaths._purpose("start")({"job": job}) == name


EXPECTED = {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("results", "billed", "harm"),
    [
        ([("a", "1"), ("b", "2")], 2, (0, 0)),
        ([("a", "1"), ("b", "2")], 4, (2, 0)),
        ([("a", "1"), ("b", "2"), ("b", "2")], 2, (1, 0)),
        ([("a", "1")], 2, (0, 1)),
        ([("a", "1"), ("b", "1")], 2, (0, 1)),
        ([("a", "1"), ("b", "2")], 1, (0, 1)),
        ([], 0, (0, 2)),
    ],
)
def test_rows_are_doubled_or_lost_by_bill_and_by_result(
    results: list[tuple[str, str]], billed: int, harm: tuple[int, int]
) -> None:
    """A wrong answer is a lost row."""
    rows = [{"key": key, "text": text} for key, text in results]
    assert balance(EXPECTED, rows, billed=billed) == harm


def moments(*steps: str, attempt: int = 1) -> list[Moment]:
    """Steps that an attempt took; an exclamation mark ends one that lost its precondition."""
    return [
        Moment(
            step=step.rstrip("!"), when="after", nth=1, count=1, task="submit", run="r", attempt=attempt,
            pid=1, parent=1, time=0.0, error="PreconditionLost" if step.endswith("!") else None,
        )
        for step in steps
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        (["copy input", "write ledger INTENT", "POST"], 0),
        (["copy input"], 1),
        (["start job clone"], 1),
        (["copy input", "write ledger INTENT"], 0),
        (["copy input", "write ledger INTENT!"], 1),
        (["copy input", "write ledger INTENT!", "delete input"], 0),
        (["copy input", "write ledger INTENT", "POST", "write ledger REFUSED"], 1),
    ],
)
def test_a_copy_that_nobody_was_told_of_is_harmless(steps: list[str], left: int) -> None:
    """One with an intent is not: its post may come late, so the fence must take it."""
    assert orphans(moments(*steps)) == left
    assert orphans([*moments(*steps), *moments(*steps, attempt=2)]) == 2 * left
