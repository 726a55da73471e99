"""What one request weighs: its text, its media, and how long an answer it lets through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from airflow_batch_gemini.batch.media_tokens import Tokens, media_tokens

MODEL_LIMIT = 65_536
"""Tokens of an answer, thoughts included, where a request sets no limit (the Gemini model pages, "maximum output")."""
LEAST_OUTPUT = 10
"""Tokens of the shortest answer worth asking for."""

_MANY = 100
"""Candidates that nobody asks for."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One request, weighed without asking anybody."""

    text: int
    """Bytes of UTF-8 of all that is read as text: turns, system instruction, tools, response schema."""
    media: Tokens = field(default_factory=Tokens)
    assumed: frozenset[str] = frozenset()
    """Kinds of media whose size had to be assumed."""
    limit: int | None = None
    """``maxOutputTokens`` over all candidates; ``None`` where the request sets none. Thoughts count towards it."""
    candidates: int = 1

    @property
    def most_output(self) -> int:
        """Tokens of the longest answer that the request lets through."""
        return MODEL_LIMIT * self.candidates if self.limit is None else self.limit


def weigh(request: Mapping[str, Any], *, model: str) -> Weight:
    """Weigh *request*, for an answer or for a vector, in camelCase or snake_case."""
    config = _either(request, "generationConfig", "generation_config")
    config = config if isinstance(config, Mapping) else {}
    resolution = str(_either(config, "mediaResolution", "media_resolution") or "")
    text, media, assumed = _beside(request, config), Tokens(), set[str]()
    for part in _parts(request):
        medium = media_tokens(part, model=model, resolution=resolution)
        if medium is None:
            text += _size(part["text"] if isinstance(part.get("text"), str) else part)
        else:
            media += medium.tokens
            assumed |= {medium.kind} if medium.assumed else set()
    limit = _natural(_either(config, "maxOutputTokens", "max_output_tokens"))
    candidates = min(_natural(_either(config, "candidateCount", "candidate_count")) or 1, _MANY)
    return Weight(
        text=text,
        media=media,
        assumed=frozenset(assumed),
        limit=None if limit is None else limit * candidates,
        candidates=candidates,
    )


def countable(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``countTokens`` takes of *request*: only what the model reads."""
    wanted = {
        "contents": _either(request, "contents", "content"),
        "systemInstruction": _either(request, "systemInstruction", "system_instruction"),
        "tools": request.get("tools"),
        "generationConfig": _either(request, "generationConfig", "generation_config"),
    }
    found = {name: value for name, value in wanted.items() if value}
    if isinstance(turns := found.get("contents"), Mapping):
        found["contents"] = [turns]
    return found


def _beside(request: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Return the bytes of what is read beside the turns."""
    schemas = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
    return sum(_size(value) for value in (request.get("tools"), *map(config.get, schemas)) if value)


def _parts(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    system = _either(request, "systemInstruction", "system_instruction")
    for content in (system, *_objects(_either(request, "contents", "content"))):
        if isinstance(content, Mapping):
            yield from _objects(content.get("parts"))


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a repeated field, which Google's JSON reader also takes as a single one."""
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, Mapping))


def _either(value: Mapping[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _size(value: object) -> int:
    try:
        return len(value.encode()) if isinstance(value, str) else len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return 0  # nested far deeper than any job would import


def _natural(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
