"""The parts a batch had before it was prepared anew with fewer: nobody submits, waits for or loads them any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from airflow_batch_gemini.batch.job_body import batch_filter, belongs
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.hooks.cancelling import SAID, give_up
from airflow_batch_gemini.hooks.ledger import LedgerStore

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._inputs import JobInputs

_OVER = frozenset({"REFUSED", "FENCED", "CANCELLED"})
"""States in which nothing runs and nothing is outstanding."""
_LEDGER = re.compile(r"part-(?P<part>[0-9]{5,})\.json")


@dataclass(frozen=True, kw_only=True)
class VanishedParts:
    """What an attempt to submit the batch's first part puts an end to before it pays for anything."""

    manifest: Manifest
    owner: str
    """That attempt; what a newer one has written is left alone."""
    workspace: WorkspaceHook
    vertex: GeminiBatchHook
    inputs: JobInputs
    log: Logger

    def give_up(self) -> None:
        """Cancel the jobs that still run for them, and let no attempt of theirs buy another."""
        stopped = {part for part, store in self._ledgers() if self._stop(part, store)}
        if not stopped:
            return
        found = self.vertex.list(
            project_id=self.manifest.project_id,
            location=self.manifest.location,
            filter=batch_filter(self.manifest.batch_id),
        )
        for job in found:
            ours = any(belongs(job, batch_id=self.manifest.batch_id, part=part) for part in stopped)
            if ours and not job.ended and job.state != "JOB_STATE_CANCELLING":
                self.log.warning("%s: %s.", job.name, SAID[self.vertex.cancel(job.name)])

    def _ledgers(self) -> Iterator[tuple[int, LedgerStore]]:
        folder = Workspace(GcsUri.parse(self.manifest.workspace)).folder / "ledger"
        for found in self.workspace.list(folder):
            uri = GcsUri.parse(found.uri)
            name = _LEDGER.fullmatch(uri.name.rpartition("/")[2])
            if name and int(name["part"]) >= len(self.manifest.parts):
                yield int(name["part"]), LedgerStore(workspace=self.workspace, uri=uri)

    def _stop(self, part: int, store: LedgerStore) -> bool:
        """Take the ledger over, so that an older attempt gives way, and end what it stands for."""
        ledger = store.read()
        if ledger is None or ledger.owner > self.owner or ledger.state == "LOADED":
            return False
        if ledger.state in _OVER:
            store.write(replace(ledger, owner=self.owner))
            return False
        self.log.warning("The batch has no part %s any more: giving up what was bought for it.", part)
        if ledger.state == "INTENT":
            ledger = ledger.fencing(
                owner=self.owner, nonce=uuid4().hex, fingerprint=ledger.fingerprint, since=ledger.since
            )
        if not store.write(replace(ledger, owner=self.owner)):
            return False
        for uri in ledger.fences:
            self.inputs.delete(uri)
        if ledger.state == "FENCING":
            store.write(ledger.fenced(owner=self.owner))
        if ledger.job_name:
            answer = give_up(self.vertex, store, ledger.job_name, owner=self.owner)
            self.log.warning("%s: %s.", ledger.job_name, SAID[answer])
        return True
