"""What becomes of a row that did not succeed, and of its request: Python, the local BigQuery and GoogleSQL agree."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import googlesql
import pytest
from bigquery_engine import Engine
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.repair import Action, RepairPolicy, Rule, Treatment
from airflow_batch_gemini.batch.treatment import CORRECTION, fingerprint_of, treated, treated_line
from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.sql import treatment as statements
from airflow_batch_gemini.sql.literal import string_literal

MORE = Treatment(action=Action.MORE_TOKENS, times=2, most_tokens=8192)
AGAIN = Treatment(action=Action.MORE_TOKENS, times=4, before=2, most_tokens=8192)
CORRECT, SAME = Treatment(action=Action.CORRECT), Treatment(action=Action.SAME)
ASK: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Say x."}]}]}


def ask(**more: Any) -> dict[str, Any]:
    return {**ASK, **more}


# ------------------------------------------------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("outcome", "retryable", "action"),
    [
        ("failed", True, "same"),
        ("failed", False, "give_up"),
        ("missing", True, "same"),
        ("mismatched", True, "same"),
        ("truncated", False, "more_tokens"),
        ("invalid", False, "correct"),
        ("blocked", False, "give_up"),
        ("rejected", False, "give_up"),
        ("of tomorrow", True, "give_up"),
    ],
)
def test_money_is_spent_again_only_where_it_may_help(outcome: str, retryable: bool, action: str) -> None:
    """The usual policy, row by row."""
    assert RepairPolicy().action(outcome, "whatever", retryable=retryable) == action


def test_what_is_given_takes_the_place_of_the_usual_and_a_reason_goes_before_an_outcome() -> None:
    """In whatever order they are given."""
    policy = RepairPolicy.of({"failed": "same", "failed/NO_CANDIDATES": "give_up", "invalid": "give_up"})
    assert policy.action("failed", "INVALID_ARGUMENT", retryable=False) == "same"
    assert policy.action("failed", "NO_CANDIDATES", retryable=True) == "give_up"
    assert policy.action("invalid", "NOT_JSON", retryable=False) == "give_up"
    assert policy.action("missing", "NO_LINE", retryable=True) == "same"


@pytest.mark.parametrize(
    "given",
    [{"faild": "same"}, {"failed": "again"}, {"rejected": "same"}, {"succeeded": "same"}, "same", 5],
)
def test_a_policy_that_says_nothing_is_refused_before_anything_is_sent(given: Any) -> None:
    """The words that there are, are named."""
    with pytest.raises(ConfigurationError, match="Nothing was sent"):
        RepairPolicy.of(given)


@pytest.mark.parametrize("given", [{"factor": 1}, {"max_output_tokens": 0}])
def test_a_policy_that_asks_for_no_more_is_refused(given: dict[str, int]) -> None:
    """It would buy the same truncated answer again."""
    with pytest.raises(ConfigurationError, match="no more than before"):
        RepairPolicy(**given)


def test_every_round_asks_for_more_than_the_one_before() -> None:
    """Reckoned from the request of the first round."""
    policy = RepairPolicy(factor=3, max_output_tokens=100)
    found = [policy.treatment(Action.MORE_TOKENS, round=number).times for number in (1, 2)]
    assert found == [3, 9]
    assert [one.action for one in policy.treatments(round=1)] == ["same", "more_tokens", "correct"]


# ----------------------------------------------------------------------------------------------------------- requests

REQUESTS: dict[str, Any] = {
    "plain": ASK,
    "tokens": ask(generationConfig={"maxOutputTokens": 100, "temperature": 0.5}),
    "tokens in snake case": ask(generation_config={"max_output_tokens": 100}),
    "tokens in half a snake": ask(generationConfig={"max_output_tokens": 100}),
    "nearly all tokens": ask(generationConfig={"maxOutputTokens": 8000}),
    "all tokens": ask(generationConfig={"maxOutputTokens": 8192}),
    "all tokens, much thinking": ask(
        generationConfig={"maxOutputTokens": 8192, "thinkingConfig": {"thinkingBudget": 4000}}
    ),
    "much thinking": ask(generation_config={"thinking_config": {"thinking_budget": 1025}}),
    "some thinking": ask(generationConfig={"thinkingConfig": {"thinkingBudget": 600}}),
    "least thinking": ask(generationConfig={"thinkingConfig": {"thinkingBudget": 512}}),
    "thinking at will": ask(generationConfig={"thinkingConfig": {"thinkingBudget": -1}}),
    "all tokens, high level": ask(
        generationConfig={
            "maxOutputTokens": 8192,
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        }
    ),
    "high level, tokens left": ask(
        generationConfig={"maxOutputTokens": 100, "thinkingConfig": {"thinkingLevel": "HIGH"}}
    ),
    "medium level in snake case": ask(generation_config={"thinking_config": {"thinking_level": "medium"}}),
    "low level": ask(generationConfig={"thinkingConfig": {"thinkingLevel": "LOW"}}),
    "least level": ask(generationConfig={"thinkingConfig": {"thinkingLevel": "MINIMAL"}}),
    "no level": ask(generationConfig={"thinkingConfig": {"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}}),
    "a level that is no word": ask(generationConfig={"thinkingConfig": {"thinkingLevel": ["HIGH"]}}),
    "no number": ask(generationConfig={"maxOutputTokens": "100"}),
    "no whole number": ask(generationConfig={"maxOutputTokens": 100.5}),
    "a null": ask(generationConfig={"maxOutputTokens": None}),
    "a boolean": ask(generationConfig={"maxOutputTokens": True}),
    "less than nothing": ask(generationConfig={"maxOutputTokens": -5}),
    "a huge number": ask(generationConfig={"maxOutputTokens": 10**18}),
    "a config that is none": ask(generationConfig=7),
    "system": ask(systemInstruction={"parts": [{"text": "Be brief."}], "role": "system"}),
    "system in snake case": ask(system_instruction={"parts": [{"text": "Be brief."}]}),
    "system of no parts": ask(systemInstruction={"parts": []}),
    "system is null": ask(systemInstruction=None),
    "system without parts": ask(systemInstruction={"role": "system"}),
    "system of one part": ask(systemInstruction={"parts": {"text": "Be brief."}}),
    "vector": {"content": {"parts": [{"text": "x"}]}, "embed_content_config": {"output_dimensionality": 3}},
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tokens", ask(generationConfig={"maxOutputTokens": 200, "temperature": 0.5})),
        ("tokens in snake case", ask(generation_config={"max_output_tokens": 200})),
        ("nearly all tokens", ask(generationConfig={"maxOutputTokens": 8192})),
        (
            "all tokens, much thinking",
            ask(generationConfig={"maxOutputTokens": 8192, "thinkingConfig": {"thinkingBudget": 2000}}),
        ),
        ("much thinking", ask(generation_config={"thinking_config": {"thinking_budget": 512}})),
        ("some thinking", ask(generationConfig={"thinkingConfig": {"thinkingBudget": 512}})),
        (
            "all tokens, high level",
            ask(
                generationConfig={
                    "maxOutputTokens": 8192,
                    "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
                }
            ),
        ),
        (
            "high level, tokens left",
            ask(generationConfig={"maxOutputTokens": 200, "thinkingConfig": {"thinkingLevel": "HIGH"}}),
        ),
        ("medium level in snake case", ask(generation_config={"thinking_config": {"thinking_level": "LOW"}})),
        *((name, None) for name in ("plain", "all tokens", "least thinking", "thinking at will", "vector")),
        *((name, None) for name in ("low level", "least level", "no level", "a level that is no word")),
    ],
)
def test_a_truncated_answer_gets_more_tokens_or_less_thinking_or_is_given_up(
    name: str, expected: Any
) -> None:
    """Asking the same again would buy the same again."""
    assert treated(REQUESTS[name], MORE) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tokens", ask(generationConfig={"maxOutputTokens": 400, "temperature": 0.5})),
        (
            "all tokens, much thinking",
            ask(generationConfig={"maxOutputTokens": 8192, "thinkingConfig": {"thinkingBudget": 1000}}),
        ),
        *((name, None) for name in ("nearly all tokens", "much thinking", "some thinking", "plain")),
    ],
)
def test_what_the_round_before_asked_is_not_asked_again(name: str, expected: Any) -> None:
    """It had all the tokens there are, or as little thinking as there may be, and was cut off all the same."""
    second = RepairPolicy(max_output_tokens=8192).treatment(Action.MORE_TOKENS, round=2)
    assert treated(REQUESTS[name], second) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", ask(systemInstruction={"parts": [CORRECTION]})),
        ("system", ask(systemInstruction={"parts": [{"text": "Be brief."}, CORRECTION], "role": "system"})),
        ("system in snake case", ask(system_instruction={"parts": [{"text": "Be brief."}, CORRECTION]})),
        *(
            (name, None)
            for name in ("system is null", "system without parts", "system of one part", "vector")
        ),
    ],
)
def test_an_answer_that_does_not_fit_gets_a_sentence_more_of_instruction(name: str, expected: Any) -> None:
    """A constant one: nothing that the model said is in it."""
    assert treated(REQUESTS[name], CORRECT) == expected


def test_a_line_keeps_its_key_its_fingerprint_and_where_nothing_changes_every_byte() -> None:
    """Whoever asks the same later finds the answer by the fingerprint of the first request."""
    request = b'{"contents": [ 1.0 ],"generationConfig":{"maxOutputTokens":5}}'
    line = b'{"key":"k_a \\"b\\"","fingerprint":"00ff","request":%s}\n' % request
    assert treated_line(line, SAME) == line
    more = treated_line(line, MORE)
    assert more is not None
    assert json.loads(more) == {
        "key": 'k_a "b"',
        "fingerprint": "00ff",
        "request": {"contents": [1.0], "generationConfig": {"maxOutputTokens": 10}},
    }
    assert (fingerprint_of(line), fingerprint_of(b'{"key":"k_a","request":{}}\n')) == ("00ff", None)
    with pytest.raises(ValueError, match="not a request line"):
        treated_line(b'{"request":{}}\n', SAME)


# ------------------------------------------------------------------------------------------------------- three engines


@pytest.fixture(scope="module")
def reference() -> googlesql.Judge:
    return googlesql.Judge()


def treating(requests: list[Any], treatment: Treatment) -> str:
    """A query that treats each request, in order."""
    rows = ", ".join(string_literal(json.dumps(request)) for request in requests)
    made = statements.treated("request", treatment)
    return (
        f"SELECT IF(made IS NULL, '', TO_JSON_STRING(made)) FROM (SELECT place, {made} AS made FROM (\n"
        f"SELECT place, PARSE_JSON(one) AS request FROM UNNEST([{rows}]) AS one WITH OFFSET AS place)) ORDER BY place"
    )


def parsed(text: str | None) -> Any:
    return json.loads(text) if text else None


@pytest.mark.parametrize("treatment", [SAME, MORE, AGAIN, CORRECT, Treatment(action=Action.GIVE_UP)])
def test_three_engines_make_the_same_request(
    reference: googlesql.Judge, engine: Engine, treatment: Treatment
) -> None:
    """Python for files, BigQuery for tables, and Google's own implementation to judge them."""
    requests = list(REQUESTS.values())
    sql = treating(requests, treatment)
    expected = [treated(request, treatment) for request in requests]
    assert [parsed(text) for (text,) in engine.rows(sql)] == expected
    assert [parsed(text) for text in reference.texts(sql)] == expected


NUMBERS = st.one_of(st.integers(-3, 20_000), st.floats(0, 10), st.none(), st.booleans(), st.just("9"))
LEVELS = st.sampled_from(["HIGH", "MEDIUM", "high", "Low", "MINIMAL", "h\u0131gh", "", "HIGH "])
THINKING = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["thinkingBudget", "thinking_budget"], NUMBERS),
        **dict.fromkeys(["thinkingLevel", "thinking_level"], st.one_of(LEVELS, NUMBERS)),
    },
)
CONFIGS = st.dictionaries(
    st.sampled_from(
        ["maxOutputTokens", "max_output_tokens", "thinkingConfig", "thinking_config", "temperature"]
    ),
    st.one_of(NUMBERS, THINKING),
)
SYSTEMS = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(["parts", "role"]), st.one_of(st.just([{"text": "x"}]), NUMBERS)),
)
ANY_REQUEST = st.dictionaries(st.sampled_from(["generationConfig", "generation_config"]), CONFIGS).flatmap(
    lambda configs: st.dictionaries(
        st.sampled_from(["systemInstruction", "system_instruction"]), SYSTEMS
    ).map(lambda systems: {**ASK, **configs, **systems})
)


@given(st.lists(ANY_REQUEST, min_size=1, max_size=8), st.sampled_from([MORE, AGAIN, CORRECT]))
@settings(deadline=None, max_examples=60)
def test_a_table_makes_of_any_request_what_a_file_makes_of_it(
    engine: Engine, requests: list[Any], treatment: Treatment
) -> None:
    """Whatever it says of tokens, thinking and the system."""
    found = [parsed(text) for (text,) in engine.rows(treating(requests, treatment))]
    assert found == [treated(request, treatment) for request in requests]


POLICIES = [
    RepairPolicy(),
    RepairPolicy(rules=()),
    RepairPolicy.of({"failed": "same", "failed/NO_CANDIDATES": "give_up", "blocked/SPII": "correct"}),
    RepairPolicy(rules=(Rule(Outcome.FAILED, Action.SAME, retryable=False),)),
]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_errors_table_is_asked_by_the_same_policy(
    reference: googlesql.Judge, engine: Engine, policy: RepairPolicy
) -> None:
    """Every outcome, some reasons, retryable, not, and unknown."""
    errors = list(
        product([*Outcome, "of tomorrow"], [None, "NO_CANDIDATES", "SPII", "it's"], [True, False, None])
    )
    words = {True: "TRUE", False: "FALSE", None: "CAST(NULL AS BOOL)"}
    rows = ", ".join(
        f"STRUCT({place} AS place, '{outcome}' AS outcome, "
        f"{'CAST(NULL AS STRING)' if reason is None else string_literal(reason)} AS reason, "
        f"{words[retryable]} AS retryable)"
        for place, (outcome, reason, retryable) in enumerate(errors)
    )
    treatments = policy.treatments(round=1)
    chosen = statements.chosen(policy, treatments)
    sql = f"SELECT IFNULL(CAST({chosen} AS STRING), '') FROM UNNEST([{rows}]) ORDER BY place"
    expected = [
        next(
            (
                str(place)
                for place, treatment in enumerate(treatments)
                if treatment.action is policy.action(outcome, reason, retryable=bool(retryable))
            ),
            "",
        )
        for outcome, reason, retryable in errors
    ]
    assert [text for (text,) in engine.rows(sql)] == expected
    assert reference.texts(sql) == expected
