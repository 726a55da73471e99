"""Kills, hands on tasks, pauses and outages under a real scheduler and triggerer, on PostgreSQL.

Whatever happens: what was billed are the rows of the input, once; what was landed is what the oracle says; and nothing
is cancelled that nobody cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deaths import deaths, journal, open_orders
from stack import Stack
from story import Run, Watch, input_rows
from tale import Tale

pytestmark = pytest.mark.scheduler


@pytest.fixture(scope="module")
def tale(stack: Stack, orders: Path) -> Iterator[Tale]:
    """Everything, told once."""
    with Watch(stack).open() as watch:
        tale = Tale(stack=stack, watch=watch, orders=orders)
        tale.tell()
        print(tale.seconds, tale.trouble)
        yield tale


def test_all(tale: Tale) -> None:
    for name, run in vars(tale).items():
        if isinstance(run, Run):
            print("==", name, run.state, run.states())
            for job, record in run.jobs.items():
                print("   ", job[-8:], record["display_name"], record["state"], record["billed_rows"])
            try: print("   spare", run.spare_jobs().keys())
            except Exception as e: print(e)
            print("   results", len(run.results()), run.results() == sorted(input_rows(run.parts).items()))
    for d in deaths(tale.orders): print(d)
    print(open_orders(tale.orders))
    print(tale.seen)
    assert not tale.trouble
