"""What a request says, and whether an echo says the same; tests/unit/test_sql_results.py holds the SQL to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_corpus import ASKED, ECHO, ECHOES, NO, asks, candidate, line, response

from airflow_batch_gemini.batch.echo import is_echo_of
from airflow_batch_gemini.batch.outcome import Line, Outcome, classify
from airflow_batch_gemini.batch.schema import Shape

TEXT = st.text(min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("absent", None),
        ("null", None),
        ("empty", None),
        ("contents_empty", None),
        ("nothing_said", None),
        ("coerced", None),
        ("only_system", None),
        ("as_sent", True),
        ("nulls_added", True),
        ("config_gone", True),
        ("system_gone", True),
        ("system_added", True),
        ("same_system", True),
        ("empty_text_gone", True),
        ("same_uris", True),
        ("content", True),
        ("other_text", False),
        ("other_space", False),
        ("other_order", False),
        ("joined", False),
        ("quoted", False),
        ("other_uri", False),
        ("uris_swapped", False),
        ("turn_gone", False),
        ("other_system", False),
        ("other_content", False),
    ],
)
def test_an_echo_is_compared_by_what_it_says(name: str, verdict: bool | None) -> None:
    """Texts and URIs in their order; spelling, order of members, nulls and defaults say nothing."""
    sent, echo = ECHOES[name]
    assert is_echo_of(None if echo is NO else echo, sent) is verdict


def test_the_normalised_form_of_a_request_is_its_echo() -> None:
    """Snake case, nulls, another order."""
    assert is_echo_of(ECHO, ASKED)
    assert is_echo_of(ASKED, ECHO)


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=4), TEXT, TEXT)
def test_requests_that_say_different_things_are_told_apart(
    one: list[str], other: list[str], uri: str, second: str
) -> None:
    """And only those."""
    assert is_echo_of(asks(*one, uris=(uri,)), asks(*one, uris=(uri,)))
    same = (one, uri) == (other, second)
    assert is_echo_of(asks(*one, uris=(uri,)), asks(*other, uris=(second,))) is same


def test_of_doubled_lines_the_one_that_matches_wins_whatever_it_says() -> None:
    """Another row's answer is worth less than one's own error."""
    good = response(candidate("yes"))
    own, other = line({}, "Internal error", echo=asks("a")), line(good, echo=asks("b"))
    for lines in ([own, other], [other, own]):
        found = read(lines)
        assert (found.outcome, found.verified) == (Outcome.FAILED, True)
    found = read([other])
    assert (found.outcome, found.reason, found.answer, found.retryable) == (
        Outcome.MISMATCHED,
        "OTHER_REQUEST",
        None,
        True,
    )
    assert found.text == "yes"


def read(lines: list[dict[str, Any]]) -> Any:
    found = [
        Line(key="k", status=one["status"], response=one["response"], echo=one["request"]) for one in lines
    ]
    return classify(["k"], found, Shape.TEXT, {"k": asks("a")})["k"]
