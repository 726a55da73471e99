"""What a few answers say about a batch, and what is remembered of each."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest

from airflow_batch_gemini.batch import canary
from airflow_batch_gemini.batch.canary import CanaryFigures, Judged
from airflow_batch_gemini.batch.canary_answer import CanaryAnswer, Fate, key_in, request_id
from airflow_batch_gemini.batch.columns import typed
from airflow_batch_gemini.batch.outcome import Line, Outcome, classify
from airflow_batch_gemini.batch.pricing import price_of
from airflow_batch_gemini.batch.sampling import SampledLine
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.exceptions import GateError, ServiceError

NOTE = CanaryAnswer(request_id="r" * 32, key="k_1", nonce="n")
USAGE = {"promptTokenCount": 100, "candidatesTokenCount": 10, "thoughtsTokenCount": 5}
MARK = "planted-4711"
MANY = 10**6
COLUMNS = typed(
    {
        "type": "OBJECT",
        "properties": {"topic": {"type": "STRING", "enum": ["price", "taste"]}},
        "required": ["topic"],
    },
    taken=(),
)


def response(text: str = "{}", finish: str = "STOP", **usage: int) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": finish}],
        "usageMetadata": {**USAGE, **usage},
    }


BLOCKED = {"promptFeedback": {"blockReason": MARK}, "usageMetadata": {"promptTokenCount": 100}}


def judged(*answers: CanaryAnswer | None) -> list[Judged]:
    return [Judged(answer=answer) for answer in answers]


def figures(
    *answers: CanaryAnswer | None, shape: Shape = Shape.OBJECT, population: int = MANY
) -> CanaryFigures:
    return canary.figures(
        judged(*answers), shape=shape, population=population, price=price_of("gemini-3.5-flash")
    )


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (response('{"a": 1}'), Outcome.SUCCEEDED),
        (response("[1]"), Outcome.INVALID),
        (response('{"a": '), Outcome.INVALID),
        (response('{"a": ', "MAX_TOKENS"), Outcome.TRUNCATED),
        (response("", "SAFETY"), Outcome.BLOCKED),
        (BLOCKED, Outcome.BLOCKED),
        (response("{}", "OTHER"), Outcome.FAILED),
        ({}, Outcome.FAILED),
        ({"candidates": MARK}, Outcome.FAILED),
    ],
)
def test_an_answer_is_judged_as_the_load_would(answer: dict[str, Any], outcome: Outcome) -> None:
    """One rule for both, so that the share of the canary is the share of the errors table."""
    found = NOTE.answered(answer).reading(Shape.OBJECT)
    assert found == classify(["k_1"], [Line(key="k_1", response=answer)], Shape.OBJECT)["k_1"]
    assert found.outcome is outcome


@pytest.mark.parametrize("text", ["{}", '{"topic": 1}', '{"topic": "smell"}', '{"topic": "taste"}'])
def test_an_answer_that_does_not_fit_the_columns_is_invalid_as_in_the_load(text: str) -> None:
    """JSON of the right shape is not enough: a required property, its type, a word of the enum."""
    answer = NOTE.answered(response(text))
    [loaded] = classify(
        ["k_1"], [Line(key="k_1", response=answer.response)], Shape.OBJECT, columns=COLUMNS
    ).values()
    assert answer.reading(Shape.OBJECT, COLUMNS) == loaded
    found = canary.figures(judged(answer), shape=Shape.OBJECT, population=MANY, columns=COLUMNS)
    assert found.outcomes == {loaded.outcome.value: 1}
    assert found.failures == (0 if "taste" in text else 1)


def test_an_error_is_a_failed_row_and_a_lost_answer_is_none() -> None:
    """Of what was lost nobody knows how it would have ended; it counts neither as good nor as bad."""
    codes = [
        (one.outcome, one.code)
        for one in (NOTE.refused(400).reading(Shape.TEXT), NOTE.failed(503).reading(Shape.TEXT))
        if one
    ]
    assert codes == [(Outcome.FAILED, 400), (Outcome.FAILED, 503)]
    assert NOTE.reading(Shape.TEXT) is None


@pytest.mark.parametrize(
    ("answer", "again"),
    [(NOTE, False), (NOTE.answered(response()), False), (NOTE.failed(500), False), (NOTE.refused(400), True)],
)
def test_only_what_was_surely_not_billed_is_asked_again(answer: CanaryAnswer, again: bool) -> None:
    """A refusal costs nothing, and what it was for may have been mended."""
    assert CanaryAnswer.from_json(answer.to_json(), request_id=answer.request_id) == answer
    assert answer.may_be_asked is again


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"fate": "refused"}',
        b'{"fate": "strange", "request_id": "a", "key": "", "nonce": ""}',
        json.dumps({"request_id": "other", "key": "", "nonce": "", "fate": "refused"}).encode(),
        b"\xff\xfe",
    ],
)
def test_a_note_that_cannot_be_read_counts_as_asked(data: bytes) -> None:
    """It never means absent: somebody may have paid."""
    found = CanaryAnswer.from_json(data, request_id="r" * 32)
    assert (found.fate, found.may_be_asked) == (Fate.ASKED, False)


def test_the_same_question_has_the_same_id_whatever_the_order_of_its_members() -> None:
    """Another model, another place or another question has another one."""
    one = request_id({"a": 1, "b": 2}, model="m", location="l")
    assert one == request_id({"b": 2, "a": 1}, model="m", location="l")
    others = [
        request_id({"a": 1}, model="m", location="l"),
        request_id({"a": 1, "b": 2}, model="n", location="l"),
        request_id({"a": 1, "b": 2}, model="m", location="k"),
    ]
    assert len({one, *others}) == 4
    deep = orjson.loads(b'{"a":' * 300 + b"1" + b"}" * 300)
    assert request_id(deep, model="m", location="l") is None, "it cannot be sent"


@pytest.mark.parametrize(
    ("line", "key"),
    [(b'{"key":"k_7","request":{}}', "k_7"), (b'{"request":{}}', ""), (b"[]", ""), (b"{", "")],
)
def test_a_row_is_found_by_the_key_it_is_sent_with(line: bytes, key: str) -> None:
    """Where the line has one."""
    assert key_in(line) == key


def test_counts_tokens_and_cost_add_up() -> None:
    """Every outcome once; what failed is billed no output; what was refused costs nothing."""
    found = figures(
        NOTE.answered(response('{"a": 1}')),
        NOTE.answered(response('{"a": 1}', candidatesTokenCount=30)),
        NOTE.answered(response("no JSON")),
        NOTE.answered(BLOCKED),
        NOTE.refused(400),
        NOTE,
        None,
    )
    assert found.outcomes == {"succeeded": 2, "invalid": 1, "blocked": 1, "failed": 1}
    assert (found.rows, found.judged, found.failures, found.lost, found.unasked) == (6, 5, 3, 1, 1)
    assert found.prompt_tokens is not None
    assert found.prompt_tokens.expected == 100
    assert found.output_tokens is not None
    assert found.output_tokens.expected == 10
    assert found.thoughts_tokens is not None
    assert found.thoughts_tokens.expected == 3
    assert found.paid_output_tokens is not None
    assert found.paid_output_tokens.expected == 13
    assert found.failure_rate is not None
    assert found.failure_rate.expected == 0.6
    assert found.cost_usd is None, "an answer that was lost may have been billed"


@pytest.mark.parametrize(
    "usage", [{}, {"promptTokenCount": 5, "candidatesTokenCount": 10**12}, {"candidatesTokenCount": 7}]
)
def test_an_answer_that_does_not_say_its_tokens_is_no_answer_of_none(usage: dict[str, Any]) -> None:
    """The mean is that of the others: a budget must not be kept by what nobody counted."""
    silent = NOTE.answered({**response(), "usageMetadata": usage})
    found = figures(*[NOTE.answered(response())] * 2, silent).paid_output_tokens
    assert found is not None
    assert found.expected == 15


def test_a_direct_answer_costs_the_standard_price_not_half_of_it() -> None:
    """100 tokens at 1.50 and 15 at 9 USD a million, for each of two rows."""
    found = figures(NOTE.answered(response()), NOTE.answered(response()), NOTE.refused(400))
    assert found.cost_usd == "0.000570"
    unknown = canary.figures(judged(NOTE.answered(response())), shape=Shape.TEXT, population=1, price=None)
    assert unknown.cost_usd is None
    silent = {**response(), "usageMetadata": {}}
    assert figures(NOTE.answered(response()), NOTE.answered(silent)).cost_usd is None


def stopped(found: CanaryFigures, limit: float) -> bool:
    try:
        canary.check_failures(found, limit, answers="gs://b/canary/")
    except GateError as error:
        return re.search(r"No job was sent; .* gs://b/canary/ and paid for", str(error)) is not None
    return False


@pytest.mark.parametrize(
    ("failures", "rows", "limit", "stops"),
    [
        (0, 20, 0.0, False),
        (1, 20, 0.0, True),
        (1, 20, 0.05, False),
        (2, 20, 0.05, False),
        (3, 20, 0.05, True),
        (9, 100, 0.05, False),
        (10, 100, 0.05, True),
        (20, 20, 0.83, True),
        (20, 20, 1.0, False),
        (2, 2, 0.3, True),
    ],
)
def test_the_gate_closes_when_the_sample_shows_more_failures_than_allowed(
    failures: int, rows: int, limit: float, stops: bool
) -> None:
    """Not at the first row that fails by bad luck: the lower bound of the interval decides."""
    good, bad = NOTE.answered(response()), NOTE.answered(response("no JSON"))
    found = figures(*[bad] * failures, *[good] * (rows - failures))
    assert stopped(found, limit) is stops


def test_a_gate_is_open_to_nobody_it_cannot_judge() -> None:
    """No answer at all is for a person to look at; rows that were not asked yet are for a retry, unless it is clear."""
    bad = NOTE.answered(response("no JSON"))
    assert stopped(figures(NOTE, NOTE), 1.0)
    for answers in ([None, None], [NOTE, None], [NOTE.answered(response()), None]):
        with pytest.raises(
            ServiceError, match=r"could not be asked in time.* No job was sent; .* a retry asks"
        ):
            canary.check_failures(figures(*answers), 0.1, answers="x")
    assert stopped(figures(bad, bad, bad, None), 0.1)
    canary.check_failures(figures(NOTE, None), None, answers="x")


def test_a_canary_of_the_whole_batch_is_no_sample() -> None:
    """Its share is the batch's own; then one row of twenty is more than 4 %."""
    answers = [NOTE.answered(response("no JSON")), *[NOTE.answered(response())] * 19]
    assert stopped(figures(*answers, population=20), 0.04)
    assert not stopped(figures(*answers, population=21), 0.04)


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([NOTE.refused(404)] * 2, 404),
        ([NOTE.refused(403)], 403),
        ([NOTE.refused(400)] * 2, None),
        ([NOTE.refused(404), NOTE.answered(response())], None),
        ([NOTE.refused(404), NOTE], None),
        ([], None),
    ],
)
def test_what_is_refused_whatever_is_asked_is_no_fault_of_the_rows(
    answers: list[CanaryAnswer], code: int | None
) -> None:
    """A model that is not there, or a right that is missing."""
    assert canary.refused_altogether(answers) == code


def test_a_kind_of_media_that_is_rare_weighs_little() -> None:
    """The sample takes one of every kind; among all there are nineteen texts to a picture."""
    text, image = b'{"request":{"a":"b"}}', b'{"request":{"fileData":{"mimeType":"image/png"}}}'
    kept = [SampledLine(part=0, row=row, line=image if row == 7 else text) for row in range(20)]
    assert canary.weights([kept[0], kept[7], kept[9]], kept) == [9.5, 1.0, 9.5]


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [None],
        [NOTE],
        [NOTE.answered(response(MARK)), NOTE.answered(BLOCKED), NOTE.failed(503), NOTE, None],
        [
            NOTE.answered(
                {**response(finish=MARK), "modelVersion": MARK, "usageMetadata": {"promptTokenCount": MARK}}
            )
        ]
        * 3,
    ],
)
def test_figures_survive_json_and_tell_nothing_of_any_answer(answers: list[CanaryAnswer | None]) -> None:
    """The manifest keeps counts, the log says counts; whatever the model said stays where it is kept."""
    found = figures(*answers)
    kept = orjson.dumps(found.to_dict())
    again = CanaryFigures.from_dict(orjson.loads(kept))
    assert again.to_dict() == found.to_dict()
    assert MARK not in kept.decode() + "".join(found.lines()) + repr(answers)
    assert found.lines()
