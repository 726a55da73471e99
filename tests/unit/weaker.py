"""The decision with one precaution missing: what is to prove something must find these out."""

from __future__ import annotations

from dataclasses import replace

from airflow_batch_gemini.batch.steps import DeleteInputs, Step
from airflow_batch_gemini.batch.submission import Rules, Sight, next_step


def without_settling(sight: Sight, rules: Rules) -> Step:
    """Take no time for long enough."""
    return next_step(replace(sight, now=sight.written + 1e6), rules)


def without_listing(sight: Sight, rules: Rules) -> Step:
    """Do not look for jobs once the fence stands."""
    fenced = sight.ledger is not None and sight.ledger.state == "FENCED"
    return next_step(replace(sight, jobs=(), now=sight.written + 1e6) if fenced else sight, rules)


def without_fencing(sight: Sight, rules: Rules) -> Step:
    """Say that inputs were deleted, and leave them."""
    step = next_step(sight, rules)
    return DeleteInputs(()) if isinstance(step, DeleteInputs) else step
