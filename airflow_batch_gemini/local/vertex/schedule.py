"""Who is stepped when: a queue of job ids by due time, each with at most one thread."""

from __future__ import annotations

import heapq
import math
import threading
import time

_BUSY_AGAIN = 0.005


class Schedule:
    """All methods take the lock themselves; ``lock`` is there for whoever changes jobs along with it."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()
        self.stopping = False

    def add(self, job_id: str, *, wait: float = 0.0) -> None:
        """Have a job stepped after so many seconds, or earlier when it is queued for earlier already."""
        due = time.time() + wait
        with self.lock:
            if due < self._due.get(job_id, math.inf):
                self._due[job_id] = due
                heapq.heappush(self._heap, (due, job_id))
                self.lock.notify_all()

    def next(self) -> str | None:
        """Wait for a job that is due and that no other thread has; None once everything stops."""
        with self.lock:
            while not self.stopping:
                job_id = self._ready(time.time())
                if job_id is not None:
                    return job_id
                self.lock.wait(max(0.0, self._heap[0][0] - time.time()) if self._heap else None)
            return None

    def _ready(self, now: float) -> str | None:
        while self._heap and self._heap[0][0] <= now:
            due, job_id = heapq.heappop(self._heap)
            if self._due.get(job_id) != due:
                continue  # it was queued again, for an earlier time
            del self._due[job_id]
            if job_id not in self._busy:
                self._busy.add(job_id)
                return job_id
            # Its thread will be done soon; the wish must not get lost meanwhile.
            self.add(job_id, wait=_BUSY_AGAIN)
        return None

    def done(self, job_id: str) -> None:
        """Give a job back."""
        with self.lock:
            self._busy.discard(job_id)
            self.lock.notify_all()

    def stop(self) -> None:
        """Let every thread that asks for a job go."""
        with self.lock:
            self.stopping = True
            self.lock.notify_all()

    def wait_for(self, job_ids: list[str], timeout: float) -> None:
        """Wait until none of the jobs is being stepped or due."""
        with self.lock:
            self.lock.wait_for(lambda: not any(map(self._at_work, job_ids)), timeout)

    def wait_for_all(self, timeout: float) -> bool:
        """Wait until nothing is queued; say whether that came about in time."""
        with self.lock:
            return self.lock.wait_for(lambda: not self._busy and not self._due, timeout)

    def _at_work(self, job_id: str) -> bool:
        return job_id in self._busy or self._due.get(job_id, math.inf) <= time.time()
