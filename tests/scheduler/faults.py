"""The table at the end: fault, runs it befell, duplicates, lost rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from deaths import Order
from story import Run
from tale import ORDERS, OUTAGE_SECONDS, PAUSE_SECONDS, Tale

TABLE = pytest.StashKey[list[str]]()
"""Where the table waits for the end of the tests."""


def fault_table(tale: Tale) -> Iterator[str]:
    """Return it line by line."""
    yield f"{'fault':<74} {'runs':>4} {'duplicates':>10} {'lost rows':>9}"
    whole = (0, 0, 0)
    for fault, runs in _faults(tale):
        counts = (len(runs), sum(map(_duplicates, runs)), sum(map(_lost, runs)))
        whole = (whole[0] + counts[0], whole[1] + counts[1], whole[2] + counts[2])
        yield _line(fault, counts)
    yield _line("in all", whole)
    yield "seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in tale.seconds.items())


def _line(fault: str, counts: tuple[int, int, int]) -> str:
    return f"{fault:<74} {counts[0]:>4} {counts[1]:>10} {counts[2]:>9}"


def _faults(tale: Tale) -> Iterator[tuple[str, Sequence[Run]]]:
    for (run, task), orders in ORDERS.items():
        for order in orders:
            yield f"{task}: {_words(order)}", [tale.runs()[run]]
    waiting = [tale.killed, tale.stopped, tale.acted, tale.left]
    yield "wait cleared", [tale.acted]
    yield "submit cleared while its job runs", [tale.acted]
    yield "wait marked failed, cancel_on_kill=True", [tale.acted]
    yield "wait marked failed", [tale.left]
    yield "wait marked success", [tale.acted]
    yield "dagrun_timeout", [tale.dagrun_timeout]
    yield 'wait overdue, on_timeout="leave"', [tale.overdue_left]
    yield 'wait overdue, on_timeout="cancel"', [tale.overdue_cancelled]
    yield f"triggerer paused {PAUSE_SECONDS} s, its waits taken over by another", waiting
    yield "triggerer SIGKILLed, its waits taken over by another", waiting
    yield f"API server stopped {OUTAGE_SECONDS} s", [*waiting, tale.api_outage]
    yield (
        f"PostgreSQL SIGKILLed and gone {OUTAGE_SECONDS} s",
        [*waiting, tale.api_outage, tale.database_outage],
    )


def _words(order: Order) -> str:
    whom = "worker and task" if order.whole else "task"
    return f"{whom} {order.how} {order.when} {order.step!r}"


def _duplicates(run: Run) -> int:
    """Return the rows that were paid for or landed more than once."""
    landed = [key for key, _ in [*run.results(), *run.errors()]]
    return max(0, run.billed() - run.rows) + len(landed) - len(set(landed))


def _lost(run: Run) -> int:
    """Return the rows that no table has though the run was loaded; else those that no job has answered or cancelled."""
    if run.task("load").get("state") == "success":
        return run.rows - len({key for key, _ in [*run.results(), *run.errors()]})
    jobs = [run.job(part) for part in range(run.parts)]
    return sum(
        int(job["rows"]) - int(job["billed_rows"]) for job in jobs if job["state"] != "JOB_STATE_CANCELLED"
    )
