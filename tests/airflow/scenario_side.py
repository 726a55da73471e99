"""Scenarios: a few rows and an output in its own mix of troubles, made from a seed, and what must come of each row."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from load_side import answer, good, request_of

from airflow_batch_gemini.batch.columns import typed
from airflow_batch_gemini.batch.outcome import Line, Outcome, Reading, classify
from airflow_batch_gemini.batch.pricing import cost, price_of
from airflow_batch_gemini.batch.schema import shape_of
from airflow_batch_gemini.sql.results import TAKEN

SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "topic": {"type": "STRING", "enum": ["price", "taste"]},
        "stars": {"type": "INTEGER"},
        "words": {"type": "ARRAY", "items": {"type": "STRING"}},
    },
    "required": ["topic"],
}
ROWS = (3, 6)
"""Of one scenario."""
CHANCES = (0.0, 0.0, 0.2, 0.6)
"""How often a trouble comes in one scenario: in many of them never."""

Written = dict[str, Any] | bytes
"""A line of an output; bytes are no JSON any more."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The same seed makes the same rows and the same lines."""

    seed: int
    keys: tuple[str, ...]
    lines: tuple[Written, ...]
    strangers: tuple[Written, ...]
    """Lines of keys that nobody sent."""

    @property
    def read(self) -> list[dict[str, Any]]:
        """Lines that are JSON."""
        return [line for line in self.lines if isinstance(line, dict)]

    def readings(self, schema: dict[str, Any] | None) -> dict[str, Reading]:
        """By key, what the reference says."""
        return readings(self.keys, self.read, {key: request_of(key) for key in self.keys}, schema)


def readings(
    keys: Sequence[str],
    lines: Iterable[Mapping[str, Any]],
    requests: Mapping[str, Any],
    schema: dict[str, Any] | None,
) -> dict[str, Reading]:
    """Judge output lines by the reference rule."""
    read = [
        Line(
            key=line["key"].removeprefix("k_"),
            status=line["status"],
            processed_time=line["processed_time"],
            response=line["response"],
            echo=line.get("request"),
        )
        for line in lines
    ]
    return classify(keys, read, shape_of(schema), requests, typed(schema, taken=TAKEN))


def scenario(seed: int) -> Scenario:
    """Make a scenario."""
    rng = random.Random(seed)
    keys = tuple(f"{seed}-{place}" for place in range(rng.randint(*ROWS)))
    mix = {trouble: rng.choice(CHANCES) for trouble in TROUBLES}
    kinds = ["good", "good", *rng.choices(list(ANSWERS), k=3)]
    lines: list[Written] = [_line(rng, key, kinds) for key in keys]
    for trouble, change in TROUBLES.items():
        lines = change(rng, mix[trouble], kinds, lines)
    return Scenario(
        seed=seed,
        keys=keys,
        lines=tuple(lines),
        strangers=tuple(_line(rng, f"{seed}-stranger", kinds) for _ in range(rng.choice((0, 0, 1)))),
    )


# ------------------------------------------------------------------------------------------------------------ answers


def _answer(rng: random.Random) -> str:
    found: dict[str, Any] = {"topic": rng.choice(["price", "taste"])}
    if rng.random() < 0.5:
        found |= {"stars": rng.randint(-5, 5), "words": rng.choices(["a", "\u2028", "'", '"'], k=2)}
    return json.dumps(found, ensure_ascii=rng.random() < 0.5)


def _misfit(rng: random.Random) -> str:
    wrong: list[Any] = [
        {},
        [],
        "price",
        {"topic": "colour"},
        {"topic": "taste", "words": ["a", 1]},
        {"topic": None},
    ]
    return json.dumps(rng.choice(wrong))


def _stopped(text: str, reason: str, tokens: int) -> dict[str, Any]:
    response = good(text, tokens)
    response["candidates"][0]["finishReason"] = reason
    return response


def _error(rng: random.Random) -> str:
    code, status = rng.choice([(400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")])
    message = f"said {rng.randint(1, 9)} times"
    told = {"error": {"code": code, "message": message, "status": status}}
    return rng.choice(["Internal error", f"Some Error: {json.dumps(told)}"])


Said = tuple[Any, str]
"""A response and a status."""
ANSWERS: dict[str, Callable[[random.Random], Said]] = {
    "good": lambda rng: (good(_answer(rng), rng.randint(1, 5000)), ""),
    "truncated": lambda rng: (_stopped(_answer(rng)[:-3], "MAX_TOKENS", rng.randint(1, 5000)), ""),
    "no JSON": lambda rng: (good(_answer(rng)[: rng.randint(0, 9)], rng.randint(1, 5000)), ""),
    "does not fit": lambda rng: (good(_misfit(rng), rng.randint(1, 5000)), ""),
    "blocked": lambda rng: (_stopped("", rng.choice(["SAFETY", "SPII"]), 7), ""),
    "prompt blocked": lambda _: (
        {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "no"}},
        "",
    ),
    "failed": lambda rng: (rng.choice([{}, None]), _error(rng)),
    "silent": lambda rng: (rng.choice([{"candidates": []}, {}, None]), ""),
}


def _line(rng: random.Random, key: str, kinds: Sequence[str]) -> dict[str, Any]:
    response, status = ANSWERS[rng.choice(kinds)](rng)
    # Of two answers with the same text at the same moment either one may stand: no two come at the same moment.
    time = f"2026-09-01T10:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}.{rng.randint(0, 999_999):06}+00:00"
    return answer(key, response, status, time)


# ----------------------------------------------------------------------------------------------------------- troubles

Lines = list[Written]


def _keys(lines: Lines) -> list[str]:
    return sorted({line["key"].removeprefix("k_") for line in lines if isinstance(line, dict)})


def _swap(rng: random.Random, chance: float, _: Sequence[str], lines: Lines) -> Lines:
    """Two answers change places, requests and all; only the keys stay."""
    for first, second in pairwise(lines):
        if isinstance(first, dict) and isinstance(second, dict) and rng.random() < chance:
            first["key"], second["key"] = second["key"], first["key"]
    return lines


def _other_echo(rng: random.Random, chance: float, _: Sequence[str], lines: Lines) -> Lines:
    """A line repeats another row's request, or none."""
    keys = _keys(lines)
    for line in lines:
        if isinstance(line, dict) and rng.random() < chance:
            line["request"] = request_of(rng.choice(keys))
            if rng.random() < 0.3:
                del line["request"]
    return lines


def _double(rng: random.Random, chance: float, _: Sequence[str], lines: Lines) -> Lines:
    """A line comes twice, or three times."""
    return [line for line in lines for _ in range(1 + (rng.random() < chance) + (rng.random() < chance / 3))]


def _say_otherwise(rng: random.Random, chance: float, kinds: Sequence[str], lines: Lines) -> Lines:
    """A key comes again, with something else."""
    return [*lines, *(_line(rng, key, kinds) for key in _keys(lines) if rng.random() < chance)]


def _drop(rng: random.Random, chance: float, _: Sequence[str], lines: Lines) -> Lines:
    """A line does not come."""
    return [line for line in lines if rng.random() >= chance]


def _corrupt(rng: random.Random, chance: float, _: Sequence[str], lines: Lines) -> Lines:
    """A line is cut at its end or at its beginning, or has a byte in it that is no UTF-8."""
    made: Lines = []
    for line in lines:
        raw = json.dumps(line).encode()
        at = rng.randrange(1, len(raw))
        broken = rng.choice([raw[:at], raw[at:], raw[:at] + b"\xff" + raw[at:]])
        made.append(broken if rng.random() < chance / 2 else line)
    return made


TROUBLES: dict[str, Callable[[random.Random, float, Sequence[str], Lines], Lines]] = {
    "swapped": _swap,
    "echoes another": _other_echo,
    "doubled": _double,
    "said otherwise": _say_otherwise,
    "dropped": _drop,
    "corrupt": _corrupt,
}
"""In the order in which they come over an output. Shuffled is whatever a job writes of many scenarios."""

# ------------------------------------------------------------------------------------------------------------- judging

OF_EVERY_ROW = ("text", "verified", "finish_reason", "model_version")
OF_ERRORS = ("outcome", "reason", "path", "code", "status", "message", "retryable")
TOKENS = ("prompt", "cached", "output", "thoughts", "total")


def row_of(reading: Reading, model: str = "gemini-3.5-flash") -> dict[str, Any]:
    """What the tables must say of a reading, in the columns of the table that it belongs in."""
    counts = {name: getattr(reading.tokens, name) for name in TOKENS}
    paid = cost(price_of(model), **{name: count for name, count in counts.items() if name != "total"})
    row = {name: getattr(reading, name) for name in OF_EVERY_ROW}
    row |= {f"{name}_tokens": count for name, count in counts.items()} | {"cost_usd": paid}
    if reading.outcome is Outcome.SUCCEEDED:
        return row | dict(reading.values) | {"answer": reading.answer}
    return row | {name: getattr(reading, name) for name in OF_ERRORS}


def wrong_of(
    expected: Mapping[str, Reading], results: Mapping[str, Any], errors: Mapping[str, Any]
) -> dict[str, Any]:
    """By key, what is not as it must be: found, and expected."""
    wrong: dict[str, Any] = {}
    for key, reading in expected.items():
        right, other = (results, errors) if reading.outcome is Outcome.SUCCEEDED else (errors, results)
        wanted, found = row_of(reading), right.get(key)
        if found is None or key in other:
            wrong[key] = f"{reading.outcome} rows are in one table, and not in the other one"
        elif differs := {name: (found[name], said) for name, said in wanted.items() if found[name] != said}:
            wrong[key] = differs
    return wrong
