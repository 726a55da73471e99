"""Looks that many waiting share: who joins a round, what it lists, when listing stops to pay.

A listing shows a hundred jobs for the price of one look. So triggers that watch the same place look together: the
first whose turn comes takes along everybody whose turn is near.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_batch_gemini.batch.job_body import BATCH

LISTED_FROM = 4
"""Fewer jobs than this are looked at one by one."""
REFUSED_SECONDS = 600.0
"""How long listing is left alone after Vertex AI refused it."""
FAILED_SECONDS = 60.0
"""And after it failed otherwise."""
MISSES_IN_A_ROW = 5
"""Single looks that fail one after the other before all are spared for a while."""
SPARED_SECONDS = 10.0
_REFUSALS = frozenset({400, 401, 403, 404, 405, 501})
_NEAR = 0.35
"""Two groups that look at the same interval, jitter and all, come to keep step; at one half they would not."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """When somebody who waits for a job wants the next look. Times are seconds of one clock."""

    since: float
    pause: float

    def joins(self, now: float) -> bool:
        """Whether a round held *now* is near enough to this turn to serve it."""
        return now >= self.since + _NEAR * self.pause


def listing_filter(created: Iterable[float]) -> str:
    """Return the filter that lists the jobs of this package from the oldest of those *created* (epoch seconds) on.

    Source: ``projects.locations.batchPredictionJobs.list``, filter fields ``labels.key:*`` and ``createTime``.
    """
    oldest = dt.datetime.fromtimestamp(math.floor(min(created)), dt.UTC)
    return f'labels.{BATCH}:* AND createTime>="{oldest:%Y-%m-%dT%H:%M:%SZ}"'


def listing_pays(*, barren: int, unseen: int) -> bool:
    """Return whether to ask for another page when *unseen* jobs were on none so far, and so many pages showed none.

    Jobs of earlier nights fill pages too: pages in vain never cost more than the single looks they might spare.
    """
    return unseen > barren


def no_listing_seconds(http_status: int | None) -> float:
    """Return how long not to list after a listing failed: longer when Vertex AI will not, however often it is asked."""
    return REFUSED_SECONDS if http_status in _REFUSALS else FAILED_SECONDS
