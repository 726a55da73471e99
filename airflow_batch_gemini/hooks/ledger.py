"""The ledger object of one part, read and changed by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.names import GcsUri

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook


@dataclass(kw_only=True)
class LedgerStore:
    """What was last read of the ledger, and the generation a change must find."""

    workspace: WorkspaceHook
    uri: GcsUri
    """Where the ledger lies."""
    ledger: Ledger | None = field(default=None, init=False)
    written: float = field(default=0.0, init=False)
    """When the object last changed, by the storage's clock."""
    _generation: int = field(default=0, init=False)

    def read(self) -> Ledger | None:
        """Return the ledger; ``None`` only when Cloud Storage says that there is none."""
        stored = self.workspace.read(self.uri)
        self.ledger = Ledger.from_json(stored.data) if stored else None
        self.written = stored.info.updated if stored else 0.0
        self._generation = stored.info.generation if stored else 0
        return self.ledger

    def write(self, ledger: Ledger) -> bool:
        """Change the ledger if nobody else has; else read what is there now.

        The storage client repeats conditional writes, so "precondition lost" may be told of one's own success.
        """
        from airflow_batch_gemini.hooks.workspace import PreconditionLost

        try:
            info = self.workspace.write(self.uri, ledger.to_json(), if_generation=self._generation)
        except PreconditionLost:
            return self.read() == ledger
        self.ledger, self.written, self._generation = ledger, info.updated, info.generation
        return True

    def now(self) -> float:
        """Return the time by the storage's clock, the one that :attr:`written` is told by."""
        clock = GcsUri(self.uri.bucket, f"{self.uri.name.removesuffix('.json')}.clock")
        return self.workspace.write(clock, b"the time of this object's last change is the time").updated
