"""A report as a small table for people: what ends the log of a load, and what a terminal shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_batch_gemini.batch.estimate import money
from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.batch.progress import duration
from airflow_batch_gemini.batch.tally import TOKENS

_TABLES = ("results", "errors", "batches")
_Cell = tuple[str, str]
_SELDOM = {
    "copies": "rows that share a request",
    "answered_before": "rows answered before",
    "duplicates": "duplicate lines",
    "unverified": "lines without an echo",
    "corrupt_lines": "corrupt lines",
    "returned_lines": "lines of rows answered in an earlier round",
}
_TIMES = {
    "submit": "time to submit",
    "queue": "time in the queue",
    "run": "time at work",
    "land": "time to land",
    "load": "time to publish",
    "whole": "time in all",
}


def report_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table.

    :param document: what ``report.json`` says; that of an earlier version says less, and so do the lines.
    """
    cells = [
        *_head(document),
        *((name, f"{document[key]:,}") for key, name in _SELDOM.items() if document.get(key)),
        *((f"{name} tokens", f"{count:,}") for name, count in _ordered(document.get("tokens", {}), TOKENS)),
        *_money(document),
        *_rounds(document),
        *_durations(document),
        *((name, str(table)) for name, table in _ordered(document.get("tables", {}), _TABLES)),
        *(("job", f"{job['name']} {job['state']}") for job in document.get("jobs", ())),
        *(("note", str(note)) for note in document.get("notes", ())),
    ]
    width = max(len(name) for name, _ in cells)
    return [f"{name:<{width}}  {value}" for name, value in cells]


def _head(document: Mapping[str, Any]) -> Iterator[_Cell]:
    yield "batch", str(document["batch_id"])
    if document.get("round"):
        yield "round", str(document["round"])
    if document.get("model"):
        yield "model", str(document["model"])
    yield "rows", f"{document['rows']:,}"
    yield from _outcomes(document["outcomes"])
    standing = document.get("standing") or {}
    if document.get("round") and standing:
        yield "rows of all rounds", f"{sum(standing.values()):,}"
        yield from _outcomes(standing)


def _outcomes(counts: Mapping[str, int]) -> Iterator[_Cell]:
    return ((f"  {name}", f"{count:,}") for name, count in _ordered(counts, list(Outcome)) if count)


def _money(document: Mapping[str, Any]) -> Iterator[_Cell]:
    yield "cost", _usd(document.get("cost_usd"))
    if estimate := document.get("estimate"):
        low, expected, high = (money(estimate[name]) for name in ("low", "expected", "high"))
        yield "estimate", f"{low} to {high} USD, {expected} expected"
    if (ratio := document.get("cost_against_estimate")) is not None:
        yield "cost / expected", f"{100 * ratio:.3g} %"
    if canary := document.get("canary"):
        paid = "unknown" if canary.get("cost_usd") is None else f"{canary['cost_usd']} USD"
        yield "cost of the canary", f"{paid}, beside that"
    if unknown := document.get("without_tokens"):
        yield "rows of unknown cost", f"{unknown:,}"


def _rounds(document: Mapping[str, Any]) -> Iterator[_Cell]:
    """Say of each round what it came to, once there are several."""
    rounds = document.get("rounds") or []
    if len(rounds) < 2:
        return
    for one in rounds:
        said = ", ".join(
            f"{count:,} {name}" for name, count in _ordered(one["outcomes"], list(Outcome)) if count
        )
        yield f"round {one['round']}", f"{one['rows']:,} rows: {said}; {_usd(one['cost_usd'])}"
    yield "cost of all rounds", _usd(document.get("cost_usd_of_all_rounds"))


def _durations(document: Mapping[str, Any]) -> Iterator[_Cell]:
    found = document.get("durations") or {}
    for key, name in _TIMES.items():
        if found.get(key) is not None:
            yield name, duration(found[key])


def _ordered(values: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """Return what JSON keeps by the alphabet in the order of *names*; what has another name comes last."""
    return sorted(values.items(), key=lambda one: names.index(one[0]) if one[0] in names else len(names))


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.6f} USD"
