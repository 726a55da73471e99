"""A task group of one call under a real scheduler and triggerer: asked, mapped over parts, torn down."""

from __future__ import annotations

import pytest
from airflow_api import call
from stack import Stack
from test_examples import Watched, count

pytestmark = pytest.mark.scheduler


@pytest.mark.parametrize("answer", ["Reject", "Approve"])
def test_a_person_decides_whether_a_group_is_paid_for(stack: Stack, answer: str) -> None:
    """They see how much it is; what is rejected is skipped, and its teardown has nothing to cancel."""
    before = call("GET", f"{stack.cloud_url}/admin/stats")["jobs"]
    run = Watched(stack, "approved_group")
    approval = run.until_somebody_is_asked("all.approve")
    assert approval["subject"] == "Send this batch to Gemini?"
    assert "**5** requests in 2 job(s)" in approval["body"]
    assert "all.prepare/requests/" in approval["body"]
    assert call("GET", f"{stack.cloud_url}/admin/stats")["jobs"] == before
    run.until_it_is_decided("all.approve", answer)
    assert run.until_it_ends() == "success", run.states()
    state, jobs = ("success", 2) if answer == "Approve" else ("skipped", 0)
    states = run.states()
    assert {name: states[f"all.{name}"] for name in ("submit", "wait", "load")} == dict.fromkeys(
        ("submit", "wait", "load"), state
    )
    assert states["all.cancel"] == state
    assert len(call("GET", f"{stack.cloud_url}/admin/stats")["jobs"]) - len(before) == jobs
    if jobs:
        assert len([task for task in run.tasks() if task["task_id"] == "all.wait"]) == 2
        assert count(stack, "approved_results") == 5
