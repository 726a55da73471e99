"""Turning a request into a GenerateContentResponse."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from airflow_batch_gemini.local.dice import Dice, draw
from airflow_batch_gemini.local.vertex.faults import NO_FAULTS, RowFaults
from airflow_batch_gemini.local.vertex.filling import Filler
from airflow_batch_gemini.local.vertex.media import Read, no_file
from airflow_batch_gemini.local.vertex.records import Tokens, timestamp
from airflow_batch_gemini.local.vertex.schemas import compile_schema
from airflow_batch_gemini.local.vertex.tokens import all_parts, count_text, prompt_text, prompt_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a source of answers says to one request; token counts only when it knows them."""

    texts: tuple[str, ...]
    finish: str = "STOP"
    prompt: int | None = None
    output: int | None = None
    thoughts: int | None = None
    model_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response as the service gives it, and what it costs."""

    response: dict[str, Any]
    tokens: Tokens


_SEPARATORS = "\u2028\u2029\u0085"
_STRING = re.compile(r'(?:^|[:\[,])\s*"(?![^"]*"\s*:)')
Source = Callable[[dict[str, Any], int], Draft]
"""Takes a checked request in camelCase and the seed; may raise RowError."""


def echo(request: dict[str, Any], _seed: int) -> Draft:
    """Answer with the prompt's own text."""
    text = prompt_text(request) or _media_list(request)
    if request.get("generationConfig", {}).get("responseMimeType") == "application/json":
        text = orjson.dumps({"text": text}).decode()
    return Draft(texts=(text,) * _candidates(request))


def fit_schema(request: dict[str, Any], seed: int) -> Draft:
    """Answer with an instance of the response schema; without a schema, with the prompt's own text."""
    config = request.get("generationConfig", {})
    schema = config.get("responseSchema") or config.get("responseJsonSchema")
    if not schema:
        return echo(request, seed)
    node = compile_schema(schema)
    prompt = prompt_text(request)
    texts = []
    for number in range(_candidates(request)):
        key = blake2b(f"{seed}\0{number}\0{prompt}".encode("utf-8", "replace"), digest_size=32).digest()
        value = Filler(Dice(key), prompt).fill(node)
        plain = config.get("responseMimeType") == "text/x.enum" and isinstance(value, str)
        texts.append(value if plain else orjson.dumps(value).decode())
    return Draft(texts=tuple(texts))


def compose(
    request: dict[str, Any],
    draft: Draft,
    *,
    model: str,
    seed: int,
    faults: RowFaults = NO_FAULTS,
    read: Read = no_file,
) -> Answer:
    """Put a draft into the service's shape: finish reasons, token counts, versions, the row's troubles."""
    config = request.get("generationConfig", {})
    counted = prompt_tokens(request, model=model, read=read)
    prompt = draft.prompt if draft.prompt is not None else sum(counted.values())
    cached = prompt // 2 if faults.cached else 0
    if faults.blocked:
        tokens = Tokens(prompt=prompt, cached=cached)
        body: dict[str, Any] = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        return Answer(response=body | _envelope(model, tokens, seed, request), tokens=tokens)
    thoughts = draft.thoughts if draft.thoughts is not None else _thoughts(config, faults, draft)
    limit = config.get("maxOutputTokens")
    room = None if limit is None else max(0, limit - thoughts)
    candidates, output = [], 0
    for number, text in enumerate(draft.texts):
        stuffed = _stuffed(text, faults)
        said, finish = _cut(_broken(stuffed) if faults.broken_json else stuffed, draft.finish, room, faults)
        output += count_text(len(said))
        candidates.append(
            _candidate(said, finish, number, thoughts if faults.thoughtful else 0, len(draft.texts))
        )
    if draft.output is not None:
        output = draft.output
    tokens = Tokens(prompt=prompt, cached=cached, output=output, thoughts=min(thoughts, limit or thoughts))
    version = draft.model_version or model
    return Answer(
        response={"candidates": candidates} | _envelope(version, tokens, seed, request), tokens=tokens
    )


def _candidates(request: dict[str, Any]) -> int:
    return int(request.get("generationConfig", {}).get("candidateCount", 1))


def _media_list(request: dict[str, Any]) -> str:
    media = [part.get("fileData") or part.get("inlineData") for part in all_parts(request)]
    return " ".join(
        str(item.get("fileUri", item.get("mimeType"))) for item in media if isinstance(item, dict)
    )


def _thoughts(config: dict[str, Any], faults: RowFaults, draft: Draft) -> int:
    """Count thinking tokens when thinking was asked for, or the knob makes the model think."""
    thinking = config.get("thinkingConfig") or {}
    budget = thinking.get("thinkingBudget")
    if not faults.thoughtful and budget in (None, 0) and not thinking.get("thinkingLevel"):
        return 0
    wanted = 16 + count_text(len(draft.texts[0])) * 2
    return min(wanted, budget) if isinstance(budget, int) and budget > 0 else wanted


def _cut(text: str, finish: str, room: int | None, faults: RowFaults) -> tuple[str, str]:
    if faults.truncated:
        return text[: max(1, len(text) // 2)], "MAX_TOKENS"
    if room is not None and count_text(len(text)) > room:
        return text[: room * 4], "MAX_TOKENS"
    return text, finish


def _stuffed(text: str, faults: RowFaults) -> str:
    """Put odd or many characters into an answer: in JSON into its first string, where they are legal."""
    more = (_SEPARATORS if faults.separated else "") + "x" * max(0, faults.length - len(text))
    if not more:
        return text
    if text.startswith(("{", "[", '"')):
        return _STRING.sub(lambda begin: begin[0] + more, text, count=1)
    return text + more


def _broken(text: str) -> str:
    """Spoil JSON the way models do: a closing bracket gets lost."""
    return text[:-1] if text.endswith(("}", "]")) else text + ' {"'


def _candidate(text: str, finish: str, number: int, thoughts: int, of: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if thoughts:
        parts.append({"text": f"I thought about this for {thoughts} tokens.", "thought": True})
    if text and thoughts and len(text) > 1:
        parts += [{"text": text[: len(text) // 2]}, {"text": text[len(text) // 2 :]}]
    elif text:
        parts.append({"text": text})
    candidate: dict[str, Any] = {"content": {"role": "model"}, "finishReason": finish}
    if parts:
        candidate["content"]["parts"] = parts
        candidate["avgLogprobs"] = -round(draw("logprobs", text), 6)
    if of > 1:
        candidate["index"] = number
    return candidate


def _envelope(version: str, tokens: Tokens, seed: int, request: dict[str, Any]) -> dict[str, Any]:
    usage = {
        "promptTokenCount": tokens.prompt,
        "totalTokenCount": tokens.prompt + tokens.output + tokens.thoughts,
    }
    counts = {
        "candidatesTokenCount": tokens.output,
        "thoughtsTokenCount": tokens.thoughts,
        "cachedContentTokenCount": tokens.cached,
    }
    usage |= {name: count for name, count in counts.items() if count}
    number = blake2b(orjson.dumps(request) + str(seed).encode(), digest_size=12).hexdigest()
    return {
        "usageMetadata": usage,
        "modelVersion": version,
        "createTime": timestamp(time.time()),
        "responseId": number,
    }
