"""Who joins a round of looks, what it lists, and when listing stops to pay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.looking import Turn, listing_filter, listing_pays

SECONDS = st.floats(min_value=0, max_value=1e6)


@given(since=SECONDS, pause=SECONDS, now=SECONDS)
def test_whoever_is_due_joins_and_nobody_joins_before_a_third_of_its_pause(
    since: float, pause: float, now: float
) -> None:
    """So nobody is looked at more than three times as often as asked."""
    turn = Turn(since=since, pause=pause)
    if now >= since + pause:
        assert turn.joins(now)
    if turn.joins(now):
        assert now - since >= pause / 3 - 1e-6


def test_a_listing_reaches_back_to_the_oldest_job_and_shows_ours_only() -> None:
    """Whole seconds, rounded down: a job created within the second is on it."""
    assert (
        listing_filter([1_700_000_000.9, 1_700_000_600.0])
        == 'labels.gemini_batch:* AND createTime>="2023-11-14T22:13:20Z"'
    )


@pytest.mark.parametrize(
    ("barren", "unseen", "pays"),
    [(0, 1, True), (1, 900, True), (10, 10, False), (9, 0, False), (0, 0, False)],
)
def test_listing_goes_on_while_it_may_spare_more_looks_than_it_wastes(
    barren: int, unseen: int, pays: bool
) -> None:
    """Jobs of earlier nights fill pages too."""
    assert listing_pays(barren=barren, unseen=unseen) is pays
