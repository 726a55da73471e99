"""What a repair makes of a request in a table: the rule of :mod:`airflow_batch_gemini.batch.treatment` as SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from airflow_batch_gemini.batch.repair import Action, RepairPolicy, Rule, Treatment
from airflow_batch_gemini.batch.treatment import (
    BUDGETS,
    CORRECTION,
    HIGH_LEVELS,
    LEAST_THINKING,
    LEVELS,
    LOW_LEVEL,
    SYSTEMS,
    TOKENS,
)
from airflow_batch_gemini.sql.literal import string_literal


def chosen(policy: RepairPolicy, treatments: Sequence[Treatment]) -> str:
    """Return the expression for what becomes of a row of the errors table: a place in *treatments*, or NULL."""
    places = {treatment.action: place for place, treatment in enumerate(treatments)}
    cases = " ".join(f"WHEN {_meets(rule)} THEN {places.get(rule.action, 'NULL')}" for rule in policy.rules)
    return f"CASE {cases} END" if cases else "CAST(NULL AS INT64)"


def _meets(rule: Rule) -> str:
    conditions = [f"outcome = {string_literal(rule.outcome)}"]
    if rule.reason is not None:
        conditions.append(f"IFNULL(reason, '') = {string_literal(rule.reason)}")
    if rule.retryable is not None:
        conditions.append(f"IFNULL(retryable, FALSE) = {str(rule.retryable).upper()}")
    return " AND ".join(conditions)


def treated(request: str, treatment: Treatment) -> str:
    """Return the expression for the request to send instead of *request*, NULL where another try would not help."""
    match treatment.action:
        case Action.SAME:
            return request
        case Action.MORE_TOKENS:
            made, earlier = _more_tokens(request, treatment), treatment.earlier
            return made if earlier is None else _unless_same(made, _more_tokens(request, earlier))
        case Action.CORRECT:
            return _corrected(request)
        case Action.GIVE_UP:
            return "CAST(NULL AS JSON)"


def _more_tokens(request: str, treatment: Treatment) -> str:
    cases = []
    for steps in TOKENS:
        path, value = _path(steps), _whole(request, steps)
        more = f"LEAST({value} * {treatment.times}, {treatment.most_tokens})"
        cases.append(
            f"WHEN {value} > 0 AND {value} < {treatment.most_tokens} THEN JSON_SET({request}, {path}, {more})"
        )
    for place in BUDGETS:
        path, value = _path(place), _whole(request, place)
        less = f"GREATEST(DIV({value}, {treatment.times}), {LEAST_THINKING})"
        cases.append(f"WHEN {value} > {LEAST_THINKING} THEN JSON_SET({request}, {path}, {less})")
    high = ", ".join(map(string_literal, HIGH_LEVELS))
    for place in LEVELS:
        path = _path(place)
        cases.append(
            f"WHEN {_type(request, place)} = 'string' AND UPPER(JSON_VALUE({request}, {path})) IN ({high}) "
            f"THEN JSON_SET({request}, {path}, {string_literal(LOW_LEVEL)})"
        )
    return _case(cases)


def _unless_same(made: str, earlier: str) -> str:
    same = f"TO_JSON_STRING({made}) = TO_JSON_STRING({earlier})"
    return f"IF({same}, NULL, {made})"


def _corrected(request: str) -> str:
    correction = json.dumps(CORRECTION)
    absent = " AND ".join(f"JSON_QUERY({request}, {_path((name,))}) IS NULL" for name in SYSTEMS)
    cases = [f"WHEN IFNULL({_type(request, ('contents',))}, 'null') = 'null' THEN NULL"]
    cases += [
        f"WHEN {_type(request, (name, 'parts'))} = 'array' "
        f"THEN JSON_ARRAY_APPEND({request}, {_path((name, 'parts'))}, {_json(correction)})"
        for name in SYSTEMS
    ]
    made = _json(f'{{"parts": [{correction}]}}')
    cases.append(f"WHEN {absent} THEN JSON_SET({request}, {_path((SYSTEMS[0],))}, {made})")
    return _case(cases)


def _case(cases: Sequence[str]) -> str:
    return "CASE\n    " + "\n    ".join(cases) + "\n  END"


def _whole(request: str, steps: Sequence[str]) -> str:
    value = f"SAFE_CAST(JSON_VALUE({request}, {_path(steps)}) AS INT64)"
    return f"IF({_type(request, steps)} = 'number', {value}, NULL)"


def _type(request: str, steps: Sequence[str]) -> str:
    return f"JSON_TYPE(JSON_QUERY({request}, {_path(steps)}))"


def _path(steps: Sequence[str]) -> str:
    return string_literal("$." + ".".join(steps))


def _json(text: str) -> str:
    return f"PARSE_JSON({string_literal(text)})"
