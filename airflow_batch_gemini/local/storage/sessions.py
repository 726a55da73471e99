"""Resumable uploads: bytes that arrive over several requests, and over a restart of the server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

from .errors import Cancelled, NotFound, StorageError
from .model import Conditions, Draft, StoredObject
from .sink import Sink
from .store import Storage

_KEEP_SECONDS = 7 * 24 * 3600  # as long as Google keeps a session
_REMEMBERED = 1000  # sessions held in memory; the others are read from the disk again


class Session:
    """One upload: what it shall become, the bytes so far, and how it ended.

    `turn` lets one request at a time work on it. After the end every request gets the same answer again, so that
    a client that lost ours can ask.
    """

    def __init__(self, identity: str, draft: Draft, sink: Sink) -> None:
        self.identity = identity
        self.draft = draft
        self.sink = sink
        self.turn = asyncio.Lock()
        self.outcome: StoredObject | StorageError | None = None

    @property
    def ended(self) -> StoredObject | None:
        """The object this upload has become, None while it goes on; raises the error it died of."""
        if isinstance(self.outcome, StorageError):
            raise self.outcome
        return self.outcome


class Sessions:
    """All resumable uploads of a store. Its files: `<id>` with the bytes, `<id>.json` with the draft."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._folder = storage.uploads_folder
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        for file in self._folder.iterdir():
            if file.stat().st_mtime < time.time() - _KEEP_SECONDS:
                file.unlink()

    def start(self, draft: Draft) -> Session:
        """Open a session. The draft's conditions are judged now, to spare the client the bytes, and at the end."""
        current = self._storage.find(draft.bucket, draft.name)
        draft.conditions.require(current)
        identity = uuid.uuid4().hex
        session = Session(identity, draft, Sink(self._folder / identity))
        session.sink.write(b"")
        session.sink.pause()
        self._note(identity).write_text(json.dumps(asdict(draft)))
        with self._lock:
            return self._remember(session)

    def get(self, identity: str) -> Session:
        """Return a session; one of an earlier process is taken up from the disk."""
        with self._lock:
            return self._known.get(identity) or self._remember(self._load(identity))

    def _load(self, identity: str) -> Session:
        note = self._note(identity)
        if not identity.isalnum() or not note.is_file():
            raise NotFound(f"No such upload: {identity}")
        values = json.loads(note.read_text())
        draft = Draft(**{**values, "conditions": Conditions(**values["conditions"])})
        data = self._folder / identity
        if data.exists():
            return Session(identity, draft, Sink.resume(data))
        # The commit renames the bytes away: an upload without them had become the object before the restart.
        session = Session(identity, draft, Sink(data))
        session.outcome = self._storage.stat(draft.bucket, draft.name)
        return session

    def finish(self, session: Session, promised: Draft) -> StoredObject:
        """Commit the session's bytes; whatever comes of it is the session's answer from now on."""
        try:
            session.outcome = self._storage.commit(session.sink.finish(), promised)
        except StorageError as error:
            self._end(session, error)
            raise
        return session.outcome

    def cancel(self, session: Session) -> None:
        """Forget the bytes; whoever asks again hears that the upload was cancelled."""
        self._end(session, Cancelled("The upload was cancelled."))

    def append(self, session: Session, chunks: list[bytes]) -> None:
        """Add bytes."""
        session.sink.write_all(chunks)

    def _end(self, session: Session, error: StorageError) -> None:
        session.outcome = error
        session.sink.discard()
        self._note(session.identity).unlink(missing_ok=True)

    def _note(self, identity: str) -> Path:
        return self._folder / f"{identity}.json"

    def _remember(self, session: Session) -> Session:
        self._known[session.identity] = session
        while len(self._known) > _REMEMBERED:
            _, oldest = self._known.popitem(last=False)
            oldest.sink.pause()
        return session
