"""The ways to wait that are measured, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from waiting.cloud import LOCATION, PROJECT
from waiting.looks import job_id

SHARING, DOOR = "BENCH_SHARING", "BENCH_DOOR"
"""See ``waiting.triggers``, which is imported by the triggerer alone."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked for; *seconds* is how long each kind is measured."""

    jobs: int
    interval: float
    seconds: float
    seed: int
    provider_jobs: int

    def of(self, kind: Kind) -> Plan:
        """Return what is asked of one kind."""
        return replace(self, jobs=min(self.jobs, self.provider_jobs)) if kind.door else self


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to wait."""

    name: str
    classpath: str
    shared: bool = False
    door: bool = False

    def environment(self, *, door: str) -> dict[str, str]:
        """Return what ``waiting.triggers`` is to know."""
        return ({} if self.shared else {SHARING: "off"}) | ({DOOR: door} if self.door else {})

    def arguments(self, job_name: str, created: float, plan: Plan) -> dict[str, Any]:
        """Return the trigger's arguments."""
        if self.door:
            place = {"project_id": PROJECT, "location": LOCATION, "conn_id": "google_cloud_default"}
            return {
                "job_id": str(job_id(job_name)),
                "poll_interval": plan.interval,
                "impersonation_chain": None,
                **place,
            }
        return {
            "job_name": job_name,
            "deadline": created + 86_400,
            "created": created,
            "poll_interval": plan.interval,
            "gcp_conn_id": "google_cloud_default",
            "impersonation_chain": None,
        }


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="shared looks", classpath="waiting.triggers.Ours", shared=True),
        Kind(name="plain gets", classpath="waiting.triggers.Ours"),
        Kind(name="provider", classpath="waiting.triggers.Provider", door=True),
    )
}
