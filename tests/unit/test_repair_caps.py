"""How much of a repair may be sent, and the lines it is made of."""

from __future__ import annotations

from decimal import Decimal

import pytest

from airflow_batch_gemini.batch.allowance import Allowance, Standing, allowance
from airflow_batch_gemini.batch.mending import Mending
from airflow_batch_gemini.batch.pricing import Price, cost
from airflow_batch_gemini.batch.repair import Action, Treatment
from airflow_batch_gemini.batch.reuse import RowSet, key_number
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import ConfigurationError

PRICE = Price(input=Decimal(2), output=Decimal(20))
SAME = Treatment(action=Action.SAME)
MORE = Treatment(action=Action.MORE_TOKENS, times=4, most_tokens=1000)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (Allowance(), 5),
        (Allowance(max_rows=2), 2),
        (Allowance(max_nano=30, row_costs=(10, 25)), 1),
        (Allowance(max_nano=35, row_costs=(10, 25)), 2),
        (Allowance(max_rows=1, max_nano=35, row_costs=(10, 25)), 1),
        (Allowance(max_nano=9, row_costs=(10, 25)), 0),
    ],
)
def test_rows_are_taken_in_their_order_until_one_does_not_fit(given: Allowance, taken: int) -> None:
    """Not the small ones among them: then the same rows are taken again, by whatever engine."""
    taking = given.taking()
    assert [taking.take(treatment) for treatment in (0, 1, 0, 0, 0)] == [True] * taken + [False] * (5 - taken)
    assert (taking.rows, taking.left) == (taken, 5 - taken)


def test_a_row_is_reckoned_at_what_the_rows_did_cost_and_a_truncated_one_at_more() -> None:
    """Thoughts are among the output; rows that were not billed tell nothing."""
    standings = [
        Standing(outcome="succeeded", rows=10, paid=8, prompt=800, output=400),
        Standing(outcome="truncated", rows=2, paid=2, prompt=200, output=2000),
        Standing(outcome="failed", rows=5),
    ]
    found = allowance(standings, [SAME, MORE], max_rows=None, max_cost_usd=Decimal("0.5"), price=PRICE)
    same, more = cost(PRICE, prompt=100, output=240), cost(PRICE, prompt=100, output=4000)
    assert same is not None
    assert more is not None
    assert found == Allowance(max_nano=500_000_000, row_costs=(int(same * 10**9), int(more * 10**9)))


def test_without_a_truncated_answer_the_others_tell_how_long_one_is() -> None:
    """They may have been cut off without saying their tokens."""
    standings = [Standing(outcome="succeeded", rows=1, paid=1, prompt=100, output=50)]
    found = allowance(standings, [MORE], max_rows=None, max_cost_usd=Decimal(1), price=PRICE)
    more = cost(PRICE, prompt=100, output=200)
    assert more is not None
    assert found.row_costs == (int(more * 10**9),)


@pytest.mark.parametrize(("paid", "price"), [(0, PRICE), (1, None)])
def test_a_limit_that_nobody_can_keep_is_refused(paid: int, price: Price | None) -> None:
    """Without a limit nobody has to know."""
    standings = [Standing(outcome="failed", rows=1, paid=paid, prompt=1, output=1)]
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        allowance(standings, [SAME], max_rows=None, max_cost_usd=Decimal(1), price=price)
    assert allowance(standings, [SAME], max_rows=3, max_cost_usd=None, price=price) == Allowance(max_rows=3)


def test_what_resumed_jobs_run_is_taken_off_first() -> None:
    """All of it, or nothing."""
    both = Allowance(max_rows=5, max_nano=100, row_costs=(10, 30))
    assert both.without(4, 0) == Allowance(max_rows=1, max_nano=60, row_costs=(10, 30))
    assert both.without(5, 0) == Allowance(max_rows=0, max_nano=50, row_costs=(10, 30))
    assert both.without(6, 0) is both.without(4, 1) is None
    assert Allowance().without(10**6, 0) == Allowance()
    assert not Allowance(max_rows=0).taking().take(0)


def test_lines_of_rows_that_were_chosen_pass_each_treated_as_it_was_chosen() -> None:
    """What asks for all there is is given up; the copies of what is sent are counted by its fingerprint."""
    marks = {"a": "00" * 16, "b": "11" * 16, "c": "22" * 16, "d": "33" * 16}
    tokens = {"a": 10, "b": 1000, "c": 10, "d": 10}
    lines = [
        b'{"key":"k_%s","fingerprint":"%s","request":{"contents":[],"generationConfig":{"maxOutputTokens":%d}}}'
        % (key.encode(), mark.encode(), tokens[key])
        for key, mark in marks.items()
    ]
    chosen = {0: RowSet(), 1: RowSet()}
    for key, place in [("a", 0), ("b", 1), ("c", 1)]:
        chosen[place].add(key_number(key))
    mending = Mending([SAME, MORE], chosen, Allowance())
    batch = RowBatch(source="s", unit="line", first=1, rows=[{}] * 4, lines=lines)
    keys, made = mending.make(batch)
    assert keys == ["a", "c"]
    assert list(made) == [
        lines[0] + b"\n",
        lines[2].replace(b'Tokens":10}', b'Tokens":40}') + b"\n",
    ]
    assert (mending.sent, mending.given_up, mending.left) == ({"same": 1, "more_tokens": 1}, 1, 0)
    assert [mending.sends(marks[key]) for key in "abd"] == [True, False, False]
