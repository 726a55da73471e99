"""Counting tokens: four characters each, and media by their own rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_batch_gemini.local.vertex.media import Read, media_tokens, no_file

CHARACTERS_PER_TOKEN = 4


def count_text(characters: int) -> int:
    """Return the tokens of so many characters, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def one_or_many(value: Any) -> Any:
    """Return a single object as a list of one; Google's JSON reader takes both for a repeated field."""
    return [value] if isinstance(value, dict) else value


def _objects(value: Any) -> list[dict[str, Any]]:
    many = one_or_many(value)
    return [item for item in many if isinstance(item, dict)] if isinstance(many, list) else []


def contents_of(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the contents of a request."""
    return _objects(request.get("contents"))


def parts_of(content: Any) -> list[dict[str, Any]]:
    """Return the parts of a content."""
    return _objects(content.get("parts")) if isinstance(content, dict) else []


def all_parts(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of the system instruction and of every turn."""
    yield from parts_of(request.get("systemInstruction"))
    for content in contents_of(request):
        yield from parts_of(content)


def prompt_characters(request: dict[str, Any]) -> int:
    """Return the characters of all text in the prompt."""
    return sum(len(part["text"]) for part in all_parts(request) if isinstance(part.get("text"), str))


def prompt_tokens(request: dict[str, Any], *, model: str, read: Read = no_file) -> dict[str, int]:
    """Return the tokens of the whole prompt by modality; text is there, if only with none."""
    found = {"TEXT": count_text(prompt_characters(request))}
    config = request.get("generationConfig")
    level = str(config.get("mediaResolution") or "") if isinstance(config, dict) else ""
    for part in all_parts(request):
        if media := media_tokens(part, model=model, level=level, read=read):
            found[media[0]] = found.get(media[0], 0) + media[1]
    return found


def prompt_text(request: dict[str, Any]) -> str:
    """Return the text of the last turn, its parts joined by line breaks."""
    contents = contents_of(request)
    parts = parts_of(contents[-1]) if contents else []
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
