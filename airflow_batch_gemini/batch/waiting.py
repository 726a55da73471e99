"""When a wait for a job ends, how it ended, and how long to the next look. Time and chance are arguments.

The trigger, the deferring sensor and the poking sensor all ask :func:`end_of_wait`
and go by its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.batch.landing import redacted
from airflow_batch_gemini.exceptions import ServiceError

Status = Literal["success", "failed", "lost", "timeout"]
"""How a wait ends: the job succeeded, ended otherwise, cannot be looked at any more, or the deadline passed."""

SETTLING_SECONDS = 5.0
"""No look of a trigger comes earlier: Airflow may still be writing down that the task is deferred."""
FIRST_LOOK_SECONDS = 30.0
SLOWEST_SECONDS = 600.0
"""The longest pause that misses lead to, unless the poll interval is longer anyway."""
_JITTER = 0.1
_REPEAT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class WaitEnd:
    """The end of a wait: names, counts and a message, nothing of what was asked or answered."""

    status: Status
    job_name: str
    state: str
    """Google's name of the last state seen; empty when the job was never seen."""
    counts: Counts
    output_uri: str
    message: str

    def to_event(self) -> dict[str, Any]:
        """Return the payload of the trigger's event."""
        return asdict(self)

    @classmethod
    def from_event(cls, event: Mapping[str, Any] | None) -> WaitEnd:
        """Read the payload of the trigger's event; :class:`ServiceError` for anything else."""
        try:
            values = dict(event or {})
            counts = Counts(**values.pop("counts"))
            end = cls(**values, counts=counts)
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceError(
                f"The trigger did not tell how the wait ended ({error}). The job runs on; a retry looks again."
            ) from error
        if end.status not in get_args(Status):
            raise ServiceError(
                f"The trigger came back with status {end.status!r}. The job runs on; a retry looks."
            )
        return end

    @property
    def result(self) -> dict[str, Any]:
        """What the sensor returns."""
        return {
            "job_name": self.job_name,
            "state": self.state,
            **asdict(self.counts),
            "output_uri": self.output_uri,
        }


def end_of_wait(
    job: Job | None,
    *,
    job_name: str,
    now: float,
    deadline: float,
    misses: int = 0,
    lost: str | None = None,
) -> WaitEnd | None:
    """Return how the wait ended, or ``None`` when it goes on.

    :param job: what the last successful look saw; ``None`` before the first one.
    :param now: epoch seconds.
    :param deadline: epoch seconds; an end that was seen counts even when it was seen late.
    :param misses: looks that failed in a row; they never end a wait.
    :param lost: why the job cannot be looked at any more (403, 404).
    """
    state = job.state if job else ""
    if lost is not None:
        status: Status = "lost"
        message = lost
    elif job and job.ended:
        status = "success" if job.rule.success else "failed"
        message = f"{state}: {job_name} {_FATES[state](job)}"
    elif now >= deadline:
        status = "timeout"
        message = _overdue(job_name, state, misses)
    else:
        return None
    return WaitEnd(
        status=status,
        job_name=job_name,
        state=state,
        counts=job.counts if job else Counts(),
        output_uri=job.output_uri if job else "",
        message=message,
    )


def first_look(*, poll_interval: float, jitter: float) -> float:
    """Return the seconds before a trigger's first look.

    :param jitter: 0 ≤ jitter < 1, by chance: triggers that start together do not look together.
    """
    return max(SETTLING_SECONDS, min(poll_interval, FIRST_LOOK_SECONDS)) + jitter * poll_interval / 2


def next_look(*, poll_interval: float, misses: int, jitter: float, left: float) -> float:
    """Return the seconds to the next look: the poll interval, doubled by each miss in a row up to a cap.

    :param jitter: 0 ≤ jitter < 1, by chance; on average it changes nothing.
    :param left: seconds to the deadline; the last look is not later than that.
    """
    pause = poll_interval * 2.0 ** min(misses, 16)
    pause = min(pause, max(poll_interval, SLOWEST_SECONDS))
    return min(pause * (1 - _JITTER + 2 * _JITTER * jitter), max(left, 1.0))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a log last said of a job."""

    state: str
    counts: Counts
    at: float

    def line(self, job: Job) -> str:
        """Return the log line: state, counts, and the time since the job was created."""
        since = f" after {_span(self.at - job.create_time)}" if job.create_time else ""
        return f"{self.state}: {job.name}: {self.counts}{since}"


def progress(job: Job, *, now: float, said: Progress | None) -> Progress | None:
    """Return what to say of *job* now, or ``None``: a new state at once, new counts once a minute at most."""
    if said and said.state == job.state and (said.counts == job.counts or now < said.at + _REPEAT_SECONDS):
        return None
    return Progress(state=job.state, counts=job.counts, at=now)


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


_RUNS_ON = (
    "The job runs on and is paid for: clear the wait with a longer timeout to go on, or cancel the job."
)


def overdue_with_fate(end: WaitEnd, fate: str) -> str:
    """Return the message of a wait that timed out when something was done about the job: *fate*."""
    return end.message.removesuffix(_RUNS_ON) + fate


def _overdue(job_name: str, state: str, misses: int) -> str:
    seen = f"was {state} when last seen" if state else "was never seen"
    missed = f", and the last {misses} looks failed" if misses else ""
    return f"{job_name} did not end before the deadline; it {seen}{missed}. {_RUNS_ON}"


def _error(job: Job) -> str:
    """What Vertex AI says of a file that it cannot import is BigQuery's, and may quote a row."""
    return f" (code {job.error_code}: {redacted(job.error_message)})" if job.error_code else ""


def _answers(job: Job) -> str:
    answered = job.counts.succeeded or 0
    if answered:
        where = f" at {job.output_uri}" if job.output_uri else ""
        return (
            f"{answered:,} rows were answered, are paid for and kept{where}: the load task lands them. "
            'Submitting with on_finished="rerun" buys a new job.'
        )
    if job.output_uri:
        return (
            f"No row is counted as answered; whatever was exported is kept at {job.output_uri}. "
            "Clear the submit task: it looks into that, and buys a new job only when nothing was answered."
        )
    return "No row is counted as answered. Clear the submit task to buy a new job."


_FATES: Mapping[str, Callable[[Job], str]] = {
    "JOB_STATE_SUCCEEDED": lambda job: f"ended: {job.counts}.",
    "JOB_STATE_PARTIALLY_SUCCEEDED": lambda job: (
        f"ended with some results missing: {job.counts}. What was answered is kept; load accounts for every row."
    ),
    "JOB_STATE_FAILED": lambda job: f"failed{_error(job)}. {_answers(job)}",
    "JOB_STATE_CANCELLED": lambda job: f"was cancelled{_error(job)}. {_answers(job)}",
    "JOB_STATE_EXPIRED": lambda job: (
        f"expired, in the queue or at work, when its time was over{_error(job)}. {_answers(job)}"
    ),
    "JOB_STATE_PAUSED": lambda job: (
        f"is paused: {job.counts}. It has not ended and may be resumed: resume it in the console and clear the wait, "
        "or cancel it and clear the submit task."
    ),
}
