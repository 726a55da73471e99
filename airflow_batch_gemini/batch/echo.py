"""Whose answer a line holds: its echo, the request that Vertex AI repeats in it, against what was sent for its key.

A request carries no key, so two answers that changed places show only here. The echo is not the request byte for byte:
fields change their order and their spelling, defaults come and go. So only what a request *says* is compared: the texts
and the file URIs of its parts, in their order. What either side does not say is held against nobody.

Requests that say the same cannot be told apart, and need not be: the model was asked the same. Where rows differ in
data of a part, in tools or in the generation config alone, a swap stays unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_batch_gemini.batch.json_values import at, scalar

FILE_PATHS = tuple((data, uri) for data in ("fileData", "file_data") for uri in ("fileUri", "file_uri"))
SYSTEM = ("systemInstruction", "system_instruction")


def is_echo_of(echo: Any, request: Any) -> bool | None:
    """Whether *echo* says what *request* says; ``None`` when there is nothing to compare.

    The system instruction counts where both have one; without any text or URI in the turns there is no verdict.
    """
    asked, repeated = _said(_parts(request)), _said(_parts(echo))
    if asked is None or repeated is None:
        return None
    system = _said(_system(request)), _said(_system(echo))
    return asked == repeated and (None in system or system[0] == system[1])


def _said(parts: Iterator[Any]) -> tuple[str, ...] | None:
    """Return the texts and URIs; ``None`` for none, and for a text that is another value: an importer coerced it."""
    found = []
    for part in parts:
        if isinstance(at(part, "text"), (bool, int, float)):
            return None
        if said := scalar(part, "text") or next(
            filter(None, (scalar(part, *path) for path in FILE_PATHS)), ""
        ):
            found.append(said)
    return tuple(found) or None


def _parts(request: Any) -> Iterator[Any]:
    """Yield the parts of all turns; an embedding model is asked one ``content``."""
    for turn in [*_list(at(request, "contents")), at(request, "content")]:
        yield from _list(at(turn, "parts"))


def _system(request: Any) -> Iterator[Any]:
    for name in SYSTEM:
        yield from _list(at(request, name, "parts"))


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
