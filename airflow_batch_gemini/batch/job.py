"""The Vertex ``BatchPredictionJob`` as this package sees it, and one table over all of its states.

Source: REST reference ``projects.locations.batchPredictionJobs`` and ``JobState``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class StateRule:
    """What a state means for whoever waits."""

    final: bool
    """No job leaves it."""
    success: bool = False
    has_output: bool = False
    """Answers may lie at the destination; they were paid for."""
    resumable: bool = False
    """It ends a wait, but the job is not over: it may be resumed, or cancelled."""
    cut_short: bool = False
    """The job is over and may have left rows that it did not come to; another one may go on with its output."""


_WAIT = StateRule(final=False)

STATES: Mapping[str, StateRule] = MappingProxyType(
    {
        "JOB_STATE_UNSPECIFIED": _WAIT,
        "JOB_STATE_QUEUED": _WAIT,
        "JOB_STATE_PENDING": _WAIT,
        "JOB_STATE_RUNNING": _WAIT,
        "JOB_STATE_UPDATING": _WAIT,
        "JOB_STATE_CANCELLING": _WAIT,
        "JOB_STATE_PAUSED": StateRule(final=True, has_output=True, resumable=True),
        "JOB_STATE_SUCCEEDED": StateRule(final=True, success=True, has_output=True),
        "JOB_STATE_PARTIALLY_SUCCEEDED": StateRule(final=True, success=True, has_output=True, cut_short=True),
        "JOB_STATE_FAILED": StateRule(final=True, has_output=True, cut_short=True),
        "JOB_STATE_CANCELLED": StateRule(final=True, has_output=True, cut_short=True),
        "JOB_STATE_EXPIRED": StateRule(final=True, has_output=True, cut_short=True),
    }
)
"""Google's twelve states in Google's words. A name not listed is looked at again until the deadline."""


def state_rule(state: str) -> StateRule:
    """Return the rule of *state*; an unknown name waits."""
    return STATES.get(state, _WAIT)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """``completionStats`` of a job. ``None`` while Vertex AI has not said, or when it says -1."""

    succeeded: int | None = None
    failed: int | None = None
    incomplete: int | None = None

    def __str__(self) -> str:
        # Vertex AI leaves zeros out: a job at work has nothing to do only because nobody has counted that yet.
        to_do = self.incomplete or None
        known = [(n, w) for n, w in [(self.succeeded, "done"), (self.failed, "failed"), (to_do, "to do")]]
        return ", ".join(f"{n:,} {w}" for n, w in known if n is not None) or "no counts yet"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One ``BatchPredictionJob``. Times are epoch seconds by Google's clock, ``None`` until known."""

    name: str
    display_name: str = ""
    state: str
    model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    input_uri: str = ""
    """``gs://…`` or ``bq://…``."""
    output_uri: str = ""
    """What the job says it wrote to: a ``gs://`` directory or a ``bq://`` table; empty until known."""
    counts: Counts = Counts()
    error_code: int = 0
    error_message: str = ""
    create_time: float | None = None
    start_time: float | None = None
    end_time: float | None = None
    update_time: float | None = None

    @property
    def rule(self) -> StateRule:
        """What the job's state means."""
        return state_rule(self.state)

    @property
    def ended(self) -> bool:
        """Whether the job is in a final state."""
        return self.rule.final
