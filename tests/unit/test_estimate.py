"""What a batch will cost: to the cent where everything is known, with honest bounds where it is not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest

from airflow_batch_gemini.batch.estimate import BatchEstimate, OutputTokens, Usd, check_budget, money
from airflow_batch_gemini.batch.estimating import estimate
from airflow_batch_gemini.batch.media_tokens import Tokens
from airflow_batch_gemini.batch.pricing import PRICES, Price, budget_of, cost, price_of
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.sampling import PartSize, SampledLine, Sampler
from airflow_batch_gemini.exceptions import ConfigurationError, GateError

MODEL = "publishers/google/models/gemini-2.5-flash"
PRICE = PRICES["gemini-2.5-flash"]
IMAGE = {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/o"}}


def line(text: int, *parts: dict[str, Any], **config: Any) -> bytes:
    request = {
        "contents": [{"role": "user", "parts": [{"text": "x" * text}, *parts]}],
        "generationConfig": config,
    }
    return orjson.dumps({"key": "k_1", "request": request}) + b"\n"


def sampled(*parts: list[bytes], most: int = 1024) -> tuple[tuple[PartSize, ...], tuple[SampledLine, ...]]:
    sampler = Sampler(max_kept=most)
    for part, lines in enumerate(parts):
        sampler.add(part, RequestLines.of(lines))
    return sampler.sizes, sampler.kept


def estimated(*parts: list[bytes], most: int = 1024, **arguments: Any) -> BatchEstimate:
    sizes, lines = sampled(*parts, most=most)
    return estimate(**{"model": MODEL, "price": PRICE, "sizes": sizes, "lines": lines, **arguments})


def test_a_batch_of_which_everything_is_known_is_priced_to_the_cent() -> None:
    """Two parts, every request counted, answers measured: 3.3 million tokens in, 150,000 out."""
    parts = [[line(100)] * 20, [line(100)] * 10]
    counted = dict.fromkeys(range(30), 110_000)
    found = estimated(*parts, counted=counted, output=OutputTokens(4000, 5000, 6000))
    # Half of 0.30 and 2.50 USD per million.
    assert found.usd == Usd(Decimal("0.645"), Decimal("0.6825"), Decimal("0.72"))
    assert found.parts[0].usd == Usd(Decimal("0.43"), Decimal("0.455"), Decimal("0.48"))
    assert (found.total.rows, found.total.input_tokens) == (30, Tokens(3_300_000, 3_300_000, 3_300_000))
    assert (found.output_from, found.counted, found.sampled, found.price_date) == (
        "canary",
        30,
        30,
        PRICE.date,
    )


@pytest.mark.parametrize("prompt", [1, 200_000, 200_001, 900_000])
def test_long_prompts_cost_their_own_price_as_the_report_reckons_it(prompt: int) -> None:
    """One request, known: the estimate is what the result of it will say."""
    pro = PRICES["gemini-2.5-pro"]
    found = estimated(
        [line(5)], model="gemini-2.5-pro", price=pro, counted={0: prompt}, output=OutputTokens(7, 7, 7)
    )
    paid = cost(pro, prompt=prompt, output=7)
    assert found.usd == Usd(paid, paid, paid)


def test_few_long_prompts_among_short_ones_are_priced_apart() -> None:
    """The tier is each request's own."""
    pro = PRICES["gemini-2.5-pro"]
    counted = {0: 300_000, **dict.fromkeys(range(1, 10), 1000)}
    found = estimated(
        [line(5)] * 10, model="gemini-2.5-pro", price=pro, counted=counted, output=OutputTokens(10, 10, 10)
    )
    apart = [cost(pro, prompt=tokens, output=10) for tokens in counted.values()]
    assert found.usd is not None
    assert found.usd.expected == sum(filter(None, apart))


def test_prompts_that_may_be_long_cost_the_price_of_long_ones_at_most() -> None:
    """Taken at four bytes a token they are short; what they may have is what a budget is kept by."""
    pro = PRICES["gemini-2.5-pro"]
    found = estimated(
        [line(4 * 150_000)] * 3, model="gemini-2.5-pro", price=pro, output=OutputTokens(7, 7, 7)
    )
    sums = [cost(pro, prompt=round(150_000 * share), output=7) for share in (0.6, 1.0, 1.6)]
    assert found.usd == Usd(*(3 * one for one in sums if one is not None))
    assert found.usd.high == Decimal("0.900157500")


def test_limits_that_differ_from_row_to_row_widen_what_answers_cost_at_most() -> None:
    """Of a thousand rows sixty-two are looked at; the few that may be long are more than were seen, perhaps."""
    rows = [line(5, maxOutputTokens=60_000 if i % 16 == 0 else 100) for i in range(1000)]
    truth = sum(60_000 if i % 16 == 0 else 100 for i in range(1000))
    seen, whole = estimated(rows, most=100).total.output_tokens, estimated(rows).total.output_tokens
    assert whole == Tokens(10_000, truth, truth)
    assert seen.high > truth > seen.low
    assert seen.high > seen.expected
    alike = [line(5, maxOutputTokens=100)] * 1000
    assert estimated(alike, most=100).total.output_tokens == Tokens(10_000, 100_000, 100_000)


def test_without_a_canary_an_answer_is_as_long_as_its_request_lets_it_be() -> None:
    """Rows that bring their own limit are heard; ten tokens are the least."""
    found = estimated([line(4, maxOutputTokens=100)] * 5 + [line(4, maxOutputTokens=4)] * 5)
    assert found.total.output_tokens == Tokens(70, 520, 520)
    assert found.output_from == "limits"


def test_without_any_limit_the_model_s_own_holds() -> None:
    """And the table says so."""
    found = estimated([line(4)] * 2 + [line(4, maxOutputTokens=100)])
    assert found.total.output_tokens.high == 2 * 65_536 + 100
    assert "at most the model's limit" in found.table()


def test_vectors_cost_no_output() -> None:
    """Whatever a canary said."""
    data = orjson.dumps({"key": "k_1", "request": {"content": {"parts": [{"text": "x" * 400}]}}})
    found = estimated(
        [data] * 10,
        model="publishers/google/models/gemini-embedding-001",
        price=price_of("gemini-embedding-001"),
    )
    assert found.total.output_tokens == Tokens()
    assert found.usd == Usd(*(Decimal(tokens * 120).scaleb(-9) for tokens in (600, 1000, 1600)))
    assert "vectors" in found.table()


def test_uncounted_text_has_wide_bounds_and_counted_text_narrow_ones() -> None:
    """How many bytes a token has depends on the language: what was counted decides."""
    parts = [[line(length) for length in range(100, 1100)]]
    wide = estimated(*parts).total.input_tokens
    _, lines = sampled(*parts)
    counted = {one.row: round(len(one.request["contents"][0]["parts"][0]["text"]) / 3) for one in lines[::50]}
    narrow = estimated(*parts, counted=counted).total.input_tokens
    truth = sum(length / 3 for length in range(100, 1100))
    assert wide.low < truth < wide.high
    assert narrow.low <= truth <= narrow.high
    assert abs(narrow.expected - truth) < 0.005 * truth
    assert narrow.high - narrow.low < 0.05 * truth < wide.high - wide.low


def test_counted_images_tell_what_the_rules_cannot() -> None:
    """Of files behind a URI only countTokens knows the size; then nothing is assumed any more."""
    lines = [line(40), line(40, IMAGE)] * 50
    assumed = estimated(lines)
    told = estimated(lines, counted={0: 10, 1: 10 + 258, 20: 10, 21: 10 + 258})
    assert (assumed.assumed, told.assumed) == (("image",), ())
    assert round(told.total.input_tokens.expected) == 50 * 10 + 50 * 268
    assert assumed.total.input_tokens.low <= 50 * 10 + 50 * 268 <= assumed.total.input_tokens.high
    assert "2 × 2 tiles" in assumed.table()


def test_a_part_is_judged_by_its_own_requests() -> None:
    """A part of long texts costs more than its share of the rows."""
    found = estimated([line(100)] * 1000, [line(1000)] * 1000)
    short, long = (part.input_tokens.expected for part in found.parts)
    assert (short, long) == (25_000, 250_000)


def test_a_sample_gives_the_whole_within_its_bounds() -> None:
    """A thousand of a hundred thousand requests of very different sizes."""
    lengths = [number * number % 997 * 10 for number in range(100_000)]
    found = estimated([line(length) for length in lengths], counted=None).total.input_tokens
    truth = sum(lengths) / 4
    assert abs(found.expected - truth) < 0.02 * truth


def test_an_unknown_price_is_an_unknown_sum() -> None:
    """Never zero; the tokens are told all the same."""
    found = estimated([line(400)], price=None)
    assert (found.usd, found.price_date) == (None, None)
    assert found.total.input_tokens.expected == 100
    assert "unknown" in found.table()
    assert BatchEstimate.from_dict(found.to_dict()) == found


def test_nothing_costs_nothing() -> None:
    """No parts."""
    found = estimate(model=MODEL, price=PRICE, sizes=(), lines=())
    assert found.usd == Usd()


def test_parts_without_any_sample_do_not_break_it() -> None:
    """Nothing is known of their requests."""
    found = estimate(model=MODEL, price=PRICE, sizes=[PartSize(part=0, rows=5, size=50)], lines=())
    assert found.total.rows == 5


def test_an_estimate_survives_json() -> None:
    """It lies in the manifest."""
    found = estimated([line(40, IMAGE)] * 3, [line(40)] * 3, counted={0: 500})
    again = BatchEstimate.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert json.loads(json.dumps(found.to_dict()))["total"]["usd"]["high"] == f"{found.usd.high:f}"  # type: ignore[union-attr]


def test_the_table_is_for_people() -> None:
    """A line a part, one for all, and how it was found."""
    parts = [[line(4000, maxOutputTokens=1000)] * 200, [line(4000, maxOutputTokens=1000)] * 100]
    assert estimated(*parts, counted={0: 1000, 1: 1000}).table() == (
        "part  rows  input tokens  output tokens  USD low  expected    high\n"
        "   0   200       200,000        200,000   0.0322    0.2800  0.2803\n"
        "   1   100       100,000        100,000   0.0161    0.1400  0.1401\n"
        " all   300       300,000        300,000   0.0483    0.4200  0.4204\n"
        "Price: gemini-2.5-flash as of 2026-11, batch rate, nothing from the cache.\n"
        "Input: 300 of 300 requests weighed, countTokens for 2.\n"
        "Output: at most maxOutputTokens, as no canary measured it."
    )


@pytest.mark.parametrize(
    ("usd", "text"), [("0", "0.0000"), ("0.00004", "0.0000"), ("0.9", "0.9000"), ("1234.567", "1,234.57")]
)
def test_sums_are_told_in_cents(usd: str, text: str) -> None:
    """And more exactly below a dollar."""
    assert money(Decimal(usd)) == text


def test_a_budget_is_kept_by_the_high_estimate() -> None:
    """The error names the estimate and what would help."""
    found = estimated([line(400, maxOutputTokens=1000)] * 100)
    assert found.usd is not None
    check_budget(found, None)
    check_budget(found, found.usd.high)
    with pytest.raises(GateError) as refused:
        check_budget(found, found.usd.high - Decimal("0.000000001"))
    told = str(refused.value)
    assert f"may cost {money(found.usd.high)} USD" in told
    assert "100 requests" in told
    assert "Nothing was sent; lower maxOutputTokens, or ask a canary, or let tokens be counted" in told


def test_a_budget_without_a_price_cannot_be_kept() -> None:
    """It says how to give one."""
    with pytest.raises(GateError, match="give price="):
        check_budget(estimated([line(4)], price=None), Decimal(1))


@pytest.mark.parametrize(
    ("value", "usd"), [(None, None), ("", None), (25, Decimal(25)), ("0.5 ", Decimal("0.5")), (0, Decimal(0))]
)
def test_budgets_are_numbers_or_their_text(value: object, usd: Decimal | None) -> None:
    """Templates render to text."""
    assert budget_of(value) == usd


@pytest.mark.parametrize("value", ["much", -1, True, "nan", "1e999999999999999999999", [], float("inf")])
def test_other_budgets_are_refused(value: object) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigurationError, match="max_cost_usd="):
        budget_of(value)


def test_a_price_of_one_s_own_is_used() -> None:
    """With its own date."""
    own = Price(input=Decimal(2), output=Decimal(4), date="2027-01")
    found = estimated(
        [line(4)], price=own, counted={0: 1_000_000}, output=OutputTokens(500_000, 500_000, 500_000)
    )
    assert found.usd == Usd(Decimal(2), Decimal(2), Decimal(2))
    assert "as of 2027-01" in found.table()
