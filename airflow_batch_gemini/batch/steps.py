"""The steps an attempt to submit a part can take; ``submission.next_step`` decides which is next."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_batch_gemini.batch.job import Job


@dataclass(frozen=True)
class ListJobs:
    """List the part's jobs by label, and get the ledger's own."""


@dataclass(frozen=True)
class LookAt:
    """Get one job."""

    job_name: str


@dataclass(frozen=True)
class LookForAnswers:
    """Look whether a dead job that tells no counts has written answers."""

    job: Job


@dataclass(frozen=True)
class WriteIntent:
    """Copy the input, then write INTENT; whoever succeeds cancels the *stale* jobs and may post once."""

    epoch: int
    since: int
    stale: tuple[Job, ...] = ()


@dataclass(frozen=True)
class Post:
    """Send the one create request of this intent."""


@dataclass(frozen=True)
class Adopt:
    """Delete the inputs in *fences*, write down *job* as the part's job, then cancel the *spare* ones."""

    job: Job
    spare: tuple[Job, ...] = ()
    fences: tuple[str, ...] = ()
    epoch: int = 0
    """The ledger's epoch from now on; 0 keeps it."""


@dataclass(frozen=True)
class Cancel:
    """Ask Vertex AI to cancel *job* because of *why*."""

    job: Job
    why: str


@dataclass(frozen=True)
class Fence:
    """Take over: write FENCING with the next epoch."""

    since: int


@dataclass(frozen=True)
class DeleteInputs:
    """Delete these inputs, then write FENCED."""

    fences: tuple[str, ...]


@dataclass(frozen=True)
class WaitFor:
    """Come back after so many seconds."""

    seconds: float
    why: str


@dataclass(frozen=True)
class AskHuman:
    """Stop: a job may have been paid and the user wants to look."""


@dataclass(frozen=True)
class GiveWay:
    """Stop: a newer attempt owns the ledger."""

    owner: str


Step = (
    ListJobs
    | LookAt
    | LookForAnswers
    | WriteIntent
    | Post
    | Adopt
    | Cancel
    | Fence
    | DeleteInputs
    | WaitFor
    | AskHuman
    | GiveWay
)
