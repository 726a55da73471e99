"""What a row becomes: the template of a request, checked and compiled when it is made."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import orjson

from airflow_batch_gemini.batch import fields, lint, parts
from airflow_batch_gemini.batch.lint_request import lint_request
from airflow_batch_gemini.batch.media import Media
from airflow_batch_gemini.batch.response_schema import vertex_schema
from airflow_batch_gemini.batch.template import (
    FilePart,
    Fixed,
    Members,
    Segment,
    Text,
    columns_of,
    compile_request,
    parse_text,
)
from airflow_batch_gemini.exceptions import TemplateError

__all__ = ["WIRE_KEY_PREFIX", "GeminiTemplate", "Media", "Template", "Turn"]

WIRE_KEY_PREFIX = "k_"
"""Stands before every key that is sent: the service takes what looks like a number for one, and 007 comes back as 7."""

MAX_VERSION = 100
_JSON_MIME_TYPES = frozenset({"application/json", "text/x.enum"})


@dataclass(frozen=True, repr=False)
class Turn:
    """What was said before the prompt: an example of a question, or of the answer that is wanted.

    :param role: ``"user"`` or ``"model"``.
    :param text: may hold ``{column}`` placeholders.
    """

    role: Literal["user", "model"]
    text: str

    def __repr__(self) -> str:
        return f"Turn({self.role!r})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Template(ABC):
    """What both kinds of templates have: a request with holes, compiled once. Its representation shows no text of it.

    :param null_as: what stands in a text for NULL.
    :param version: what you call this template, like ``"v3"`` or a commit: every row that lands says it, in
        ``template_version``. It decides nothing: templates that differ in it alone ask the same.
    """

    null_as: str = ""
    version: str | None = None

    max_rows: ClassVar[int] = parts.MAX_ROWS
    """Requests that one job takes."""

    def __post_init__(self) -> None:
        if not isinstance(self.null_as, str):
            raise TemplateError("null_as must be a text. Nothing was sent.")
        if self.version is not None and not (
            isinstance(self.version, str) and 0 < len(self.version) <= MAX_VERSION
        ):
            raise TemplateError(f"version must be a text of 1 to {MAX_VERSION} characters. Nothing was sent.")
        lint.refuse_template(lint_request(self.request, importer=False))
        _ = self.segments

    def __repr__(self) -> str:
        return f"{type(self).__name__}(fingerprint={self.fingerprint[:12]!r})"

    @property
    @abstractmethod
    def request(self) -> dict[str, Any]:
        """The request with its holes: a JSON document whose leaves may be ``Text``, ``FilePart`` or ``Value``."""

    @property
    def vertex_schema(self) -> dict[str, Any] | None:
        """The response schema as it is sent."""
        return None

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The request, compiled."""
        return compile_request(self.request)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns a row must have beside its key."""
        return columns_of(self.segments)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 in hex over all that decides a request: equal templates ask the same of the same rows."""
        segments = [_described(segment) for segment in self.segments]
        canonical = json.dumps([WIRE_KEY_PREFIX, self.null_as, segments], ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, repr=False)
class GeminiTemplate(Template):
    """How a row becomes a request for Gemini.

    Text may hold ``{column}`` placeholders; ``{{`` and ``}}`` are literal braces. A value is written as BigQuery's
    ``CAST(value AS STRING)`` writes it, arrays and structs as compact JSON. Everything is checked when the template is
    made; its representation shows a fingerprint and never a prompt.

    :param prompt: the user's turn.
    :param turns: turns before it, few-shot examples for instance: ``[Turn("user", "…"), Turn("model", "…")]``.
    :param system_instruction: what stands above every turn; may hold placeholders too.
    :param generation_config: ``GenerationConfig``, keys in camelCase or snake_case.
    :param config_columns: fields of it that each row brings along, by field the name of a column, like
        ``{"temperature": "heat", "thinkingConfig.thinkingBudget": "budget"}``. Where a row has NULL or an empty text
        *generation_config* holds, and where that says nothing the field is left out.
    :param response_schema: what an answer must look like: a Pydantic v2 class, JSON Schema, or Vertex AI's own schema.
        References are inlined; keywords that Vertex AI does not know are refused. Answers are then JSON.
    :param media: columns that hold URIs of files (images, audio, video, PDF), each a part after the prompt.
    :param safety_settings: ``SafetySetting`` dicts.
    :param tools: ``Tool`` dicts.
    :param null_as: what stands in a text for NULL.
    :param version: what you call this template, told beside every row that lands; it decides nothing.
    """

    prompt: str
    turns: Sequence[Turn] = ()
    system_instruction: str | None = None
    generation_config: Mapping[str, Any] = field(default_factory=dict)
    config_columns: Mapping[str, str] = field(default_factory=dict)
    response_schema: Any = None
    media: Sequence[Media] = ()
    safety_settings: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if any(not isinstance(one, Media) for one in self.media):
            raise TemplateError("media wants Media(column=…) values. Nothing was sent.")
        if any(not isinstance(one, Turn) for one in self.turns):
            raise TemplateError("turns wants Turn(role, text) values. Nothing was sent.")
        super().__post_init__()

    @cached_property
    def vertex_schema(self) -> dict[str, Any] | None:
        """The response schema as it is sent."""
        given = fields.generation_config(self.generation_config).get("responseSchema")
        if given is not None and self.response_schema is not None:
            raise TemplateError(
                "The response schema is given twice. Nothing was sent; keep response_schema=."
            )
        if self.response_schema is not None:
            return vertex_schema(self.response_schema)
        if given is None:
            return None
        original = self.generation_config.get("responseSchema", self.generation_config.get("response_schema"))
        return vertex_schema(original, path="generation_config.responseSchema")

    @cached_property
    def request(self) -> dict[str, Any]:
        """The request with its holes."""
        contents: list[dict[str, Any]] = [
            {"role": turn.role, "parts": [{"text": parse_text(turn.text, where=f"turns[{i}]")}]}
            for i, turn in enumerate(self.turns)
        ]
        files = [_file_part(one, i) for i, one in enumerate(self.media)]
        contents.append(
            {"role": "user", "parts": [{"text": parse_text(self.prompt, where="prompt")}, *files]}
        )
        request: dict[str, Any] = {"contents": contents}
        if self.system_instruction is not None:
            text = parse_text(self.system_instruction, where="system_instruction")
            request["systemInstruction"] = {"parts": [{"text": text}]}
        if self.tools:
            request["tools"] = fields.tools(self.tools)
        if self.safety_settings:
            request["safetySettings"] = fields.safety_settings(self.safety_settings)
        if config := self._generation_config():
            request["generationConfig"] = config
        return request

    def _generation_config(self) -> dict[str, Any]:
        config = fields.generation_config(self.generation_config)
        if (schema := self.vertex_schema) is not None:
            if config.setdefault("responseMimeType", "application/json") not in _JSON_MIME_TYPES:
                raise TemplateError(
                    "generation_config.responseMimeType contradicts the response schema. Nothing was sent; "
                    "leave it out."
                )
            config["responseSchema"] = schema
        return dict(sorted(fields.with_columns(config, self.config_columns).items()))


def _file_part(media: Media, index: int) -> FilePart:
    more = fields.media_part(media.video_metadata, media.media_resolution, f"media[{index}]")
    return FilePart(media.column, media.mime_type, f",{orjson.dumps(more).decode()[1:-1]}" if more else "")


def _described(segment: Segment) -> list[Any]:
    """Return what stands for *segment* in a fingerprint; what an old template cannot have adds nothing to its own."""
    if isinstance(segment, Fixed):
        return ["json", segment.json]
    if isinstance(segment, Text):
        return ["text", [piece if isinstance(piece, str) else [piece.name] for piece in segment.pieces]]
    if isinstance(segment, Members):
        values = [[name, one.column, one.kind.name, one.default] for name, one in segment.values]
        return [
            "members",
            segment.name,
            list(segment.fixed),
            values,
            [_described(one) for one in segment.inner],
        ]
    return ["file", segment.column, segment.mime_type, *([segment.more] if segment.more else [])]
