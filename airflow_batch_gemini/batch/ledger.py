"""The ledger of a part: which job was paid for it, or may have been, and whose turn it is.

It is changed by compare-and-set on the object's generation only, so that every change has exactly one author.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from airflow_batch_gemini.batch.names import JobName
from airflow_batch_gemini.exceptions import OutputError, PaymentUnknownError

FORMAT = 1
"""Version of the ledger; a reader refuses any other."""

LedgerState = Literal[
    "INTENT", "REFUSED", "FENCING", "FENCED", "SUBMITTED", "LOADED", "CANCELLING", "CANCELLED"
]
"""``INTENT``: the owner may be posting. ``REFUSED``: Vertex AI refused that post, nothing was created.
``FENCING``: an epoch was taken over, the inputs of earlier ones are being deleted; ``FENCED``: they are.
``SUBMITTED``: one job is known. ``LOADED``: its answers are in BigQuery. ``CANCELLING``, ``CANCELLED``: given up."""

_WITH_JOB = frozenset({"SUBMITTED", "LOADED", "CANCELLING", "CANCELLED"})


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What has been paid for a part, and who may decide next."""

    state: LedgerState
    epoch: int
    """Grows with every intent to pay; at most one job is ever posted in an epoch."""
    since: int
    """The first epoch of the present purchase: jobs of earlier epochs were given up, cancelled or landed."""
    nonce: str
    """Tells one intent from every other; the job carries it as a label."""
    owner: str
    """Task-instance id (uuid7) of the attempt that wrote this; later attempts compare greater."""
    fingerprint: str
    input_uri: str
    """The copy of the requests that only this epoch's job reads."""
    destination_uri: str
    """``gs://`` prefix or ``bq://`` table this epoch's job was told to write to."""
    job_name: str | None = None
    fences: tuple[str, ...] = ()
    """Inputs of earlier epochs that must be gone before this epoch may post."""
    refusals: int = 0
    """How often in a row Vertex AI refused the owner's post for want of quota."""

    def submitted(self, *, owner: str, job_name: str, destination_uri: str) -> Ledger:
        """One job stands for the part."""
        return replace(
            self,
            state="SUBMITTED",
            owner=owner,
            job_name=job_name,
            destination_uri=destination_uri,
            fences=(),
            refusals=0,
        )

    def refused(self) -> Ledger:
        """Nothing was created in this epoch, definitely, and nothing will be."""
        return replace(self, state="REFUSED", refusals=self.refusals + 1)

    def fencing(self, *, owner: str, nonce: str, fingerprint: str, since: int) -> Ledger:
        """Take over with the next epoch; what this one's job would read must go."""
        return replace(
            self,
            state="FENCING",
            epoch=self.epoch + 1,
            since=since,
            nonce=nonce,
            owner=owner,
            fingerprint=fingerprint,
            input_uri="",
            destination_uri="",
            job_name=None,
            fences=(*self.fences, self.input_uri),
            refusals=0,
        )

    def fenced(self, *, owner: str) -> Ledger:
        """No post of an earlier epoch can be paid any more."""
        return replace(self, state="FENCED", owner=owner, fences=())

    def loaded(self) -> Ledger:
        """The job's answers are in BigQuery."""
        return replace(self._with_job("loaded"), state="LOADED")

    def cancelling(self) -> Ledger:
        """The job is about to be cancelled."""
        return replace(self._with_job("cancelled"), state="CANCELLING")

    def cancelled(self) -> Ledger:
        """Vertex AI was told to cancel the job, and agreed."""
        return replace(self._with_job("cancelled"), state="CANCELLED")

    def _with_job(self, verb: str) -> Ledger:
        if self.job_name is None:
            raise OutputError(
                f"The ledger is {self.state} and names no job, so nothing can be {verb}; run submit first."
            )
        return self

    def to_json(self) -> bytes:
        """Render the object: equal ledgers are equal bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Ledger:
        """Read the object. What cannot be read raises: it is never taken for "nothing was paid"."""
        try:
            document = json.loads(data)
            if document.pop("format") != FORMAT:
                raise ValueError("unknown format")
            document["fences"] = tuple(document["fences"])
            ledger = cls(**document)
            ledger._check(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PaymentUnknownError(
                f"The ledger cannot be read ({error}), so a paid job may exist. Nothing was sent; look for the job "
                "in the console and repair or delete the ledger object."
            ) from error
        return ledger

    def _check(self, document: dict[str, Any]) -> None:
        texts = ["state", "nonce", "owner", "fingerprint", "input_uri", "destination_uri"]
        if any(not isinstance(document[key], str) for key in texts) or self.state not in get_args(
            LedgerState
        ):
            raise ValueError("a field has a value that no version wrote")
        if any(type(number) is not int for number in (self.epoch, self.since, self.refusals)):
            raise ValueError("a number is no number")
        if not 1 <= self.since <= self.epoch or not self.owner or not self.nonce:
            raise ValueError("an epoch, owner or nonce is missing")
        if (self.state in _WITH_JOB) != (self.job_name is not None):
            raise ValueError(f"{self.state} and job_name contradict each other")
        if self.job_name is not None:
            JobName.parse(self.job_name)
