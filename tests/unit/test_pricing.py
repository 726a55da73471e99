"""Money: exact, dated, and never invented."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.pricing import DATE, LONG_CONTEXT, PRICES, Price, cost, price_of
from airflow_batch_gemini.exceptions import ConfigurationError

FLASH = Price(input=Decimal("1.50"), output=Decimal(9))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gemini-3.5-flash", "gemini-3.5-flash"),
        ("publishers/google/models/gemini-3.5-flash", "gemini-3.5-flash"),
        ("projects/p/locations/us/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("gemini-2.5-flash@default", "gemini-2.5-flash"),
        ("gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
    ],
)
def test_a_known_model_has_a_dated_price(model: str, name: str) -> None:
    """By id, path or version."""
    assert price_of(model) is PRICES[name]
    assert PRICES[name].date == DATE


@pytest.mark.parametrize(
    "model",
    [
        "gemini-9-ultra",
        "gemini-3.5-flash-exp",
        "projects/p/locations/l/models/123",
        "publishers/anthropic/models/gemini-3.5-flash",
        "",
    ],
)
def test_an_unknown_model_costs_an_unknown_sum_never_zero(model: str) -> None:
    """Tuned and partner models are not guessed from a name."""
    assert price_of(model) is None
    assert cost(price_of(model), prompt=1000, output=1000) is None


def test_batch_is_half_and_thoughts_are_output() -> None:
    """A million of each."""
    assert cost(FLASH, prompt=1_000_000) == Decimal("0.75")
    assert cost(FLASH, prompt=0, output=1_000_000) == Decimal("4.5")
    assert cost(FLASH, prompt=0, output=400_000, thoughts=600_000) == Decimal("4.5")


def test_a_direct_call_costs_twice_what_it_does_in_a_batch() -> None:
    """The standard price: 1.50 and 9 USD a million. What comes from the cache costs the same in both."""
    price = PRICES["gemini-3.5-flash"]
    assert cost(price, prompt=1_000_000, output=1_000_000, thoughts=1_000_000, batch=False) == Decimal("19.5")
    assert cost(price, prompt=100_000, cached=100_000, batch=False) == cost(
        price, prompt=100_000, cached=100_000
    )


def test_the_cache_discount_stands_instead_of_the_batch_discount() -> None:
    """A tenth of the standard price, not of the batch price."""
    assert cost(FLASH, prompt=100_000, cached=100_000) == Decimal("0.015")
    assert cost(FLASH, prompt=100_000, cached=40_000) == Decimal("0.045") + Decimal("0.006")


def test_a_prompt_over_the_limit_costs_the_long_context_price() -> None:
    """For input and output alike; a model without a second tier costs the same."""
    pro = PRICES["gemini-2.5-pro"]
    assert cost(pro, prompt=LONG_CONTEXT, output=100) == Decimal("0.1255")
    assert cost(pro, prompt=LONG_CONTEXT + 1, output=100) == Decimal("0.25075125")
    assert pro.has_long_tier
    assert not FLASH.has_long_tier


def test_without_prompt_tokens_the_cost_is_unknown() -> None:
    """A failed row carries none and is not billed."""
    assert cost(FLASH, prompt=None, output=5) is None


@given(
    prompt=st.integers(0, 2_000_000),
    cached=st.integers(0, 2_000_000),
    output=st.integers(0, 100_000),
    thoughts=st.integers(0, 100_000),
)
def test_the_cost_is_exact_to_the_billionth(prompt: int, cached: int, output: int, thoughts: int) -> None:
    """Whole numbers give what decimal arithmetic gives."""
    paid = cost(FLASH, prompt=prompt, cached=cached, output=output, thoughts=thoughts)
    exact = (
        max(prompt - cached, 0) * Decimal("0.75")
        + cached * Decimal("0.15")
        + (output + thoughts) * Decimal("4.5")
    ) / 1_000_000
    assert paid is not None
    assert abs(paid - exact) <= Decimal("5e-10")


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ({"input": 1.5, "output": "9"}, Price(input=Decimal("1.5"), output=Decimal(9), date="given")),
        (
            {"input": 1, "output": 2, "long_input": 3, "long_output": None, "date": "2027-01"},
            Price(input=Decimal(1), output=Decimal(2), long_input=Decimal(3), date="2027-01"),
        ),
        ({"input": 1, "output": 2, "date": None}, Price(input=Decimal(1), output=Decimal(2), date="given")),
        (
            {"input": 1, "output": 0, "batch_share": 0.8},
            Price(input=Decimal(1), output=Decimal(0), batch_share=Decimal("0.8"), date="given"),
        ),
        (FLASH, FLASH),
    ],
)
def test_a_user_may_know_better(given: Any, price: Price) -> None:
    """The override wins over the table, for any model."""
    assert price_of("gemini-3.5-flash", given) == price_of("unheard-of", given) == price


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"input": 1},
        {"input": None, "output": 1},
        {"input": 1, "output": None},
        {"input": "cheap", "output": 1},
        {"input": -1, "output": 1},
        {"input": "NaN", "output": 1},
        {"input": "Infinity", "output": 1},
        {"input": 1, "output": 1, "thoughts": 1},
        {"input": 1, "output": 1, "batch_share": 1.5},
        "1.5",
    ],
)
def test_a_price_that_is_none_is_refused_before_anything_is_sent(given: Any) -> None:
    """The message says what a price looks like."""
    with pytest.raises(ConfigurationError, match="USD per million tokens"):
        price_of("gemini-3.5-flash", given)


def test_a_batch_of_vectors_costs_four_fifths() -> None:
    """0.12 USD a million tokens, where every other batch costs half."""
    assert cost(price_of("gemini-embedding-001"), prompt=1_000_000) == Decimal("0.12")
    assert {name for name, one in PRICES.items() if one.batch_share != Decimal("0.5")} == {
        "gemini-embedding-001"
    }
