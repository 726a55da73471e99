"""The fields of a GenerateContentRequest that a template may set, in the spelling that is sent.

Source: REST reference, ``GenerateContentRequest``, ``GenerationConfig``, ``SafetySetting`` and ``Tool``. Both
camelCase and snake_case are taken; camelCase is sent, so that a file never has one field under two names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from airflow_batch_gemini.batch.response_schema import vertex_schema
from airflow_batch_gemini.batch.template import Value
from airflow_batch_gemini.batch.typed import Kind, json_of
from airflow_batch_gemini.exceptions import TemplateError

GENERATION = frozenset(
    {"temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseLogprobs"}
    | {"logprobs", "presencePenalty", "frequencyPenalty", "seed", "responseMimeType", "responseSchema"}
    | {"routingConfig", "audioTimestamp", "responseModalities", "mediaResolution", "speechConfig"}
    | {"thinkingConfig", "imageConfig", "modelConfig", "enableAffectiveDialog"}
)
SAFETY = frozenset({"category", "threshold", "method"})
TOOLS = frozenset(
    {"functionDeclarations", "retrieval", "googleSearch", "googleSearchRetrieval", "googleMaps"}
    | {"enterpriseWebSearch", "parallelAiSearch", "exaAiSearch", "codeExecution", "urlContext", "computerUse"}
)
PER_ROW: Mapping[str, Kind] = MappingProxyType(
    {
        **dict.fromkeys(("temperature", "topP", "topK", "presencePenalty", "frequencyPenalty"), Kind.NUMBER),
        **dict.fromkeys(
            ("candidateCount", "maxOutputTokens", "logprobs", "seed", "thinkingConfig.thinkingBudget"),
            Kind.INTEGER,
        ),
        **dict.fromkeys(
            ("responseLogprobs", "audioTimestamp", "thinkingConfig.includeThoughts"), Kind.BOOLEAN
        ),
        **dict.fromkeys(("mediaResolution", "thinkingConfig.thinkingLevel"), Kind.WORD),
    }
)
"""Fields of the generation config that may differ from row to row. A response schema may not: rows with different ones
do not belong in one file."""
_FUNCTION = frozenset({"name", "description", "parameters", "response"})
_VIDEO = frozenset({"startOffset", "endOffset", "fps"})
_DURATION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,9})?s")
_RESOLUTIONS = frozenset(
    f"MEDIA_RESOLUTION_{level}" for level in ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "ULTRA_HIGH")
)
_FREE = frozenset({"customConfigs"})
"""Fields of type ``Struct``: what is in them is spelled as somebody else, a search engine, wants it."""
_REPLACED = {"responseJsonSchema": "use response_schema=, which takes JSON Schema."}


def generation_config(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return *value* with the keys that are sent; unknown ones are refused."""
    return _message(value, GENERATION, "generation_config")


def with_columns(config: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return *config* with holes for the fields that *columns* names; what a field had there stands in for NULL."""
    if not isinstance(columns, Mapping):
        raise TemplateError(
            "config_columns wants a dict: by field the name of a column. Nothing was sent; correct it."
        )
    seen = set[str]()
    for given, column in columns.items():
        path = ".".join(map(_camel, given.split("."))) if isinstance(given, str) else ""
        if path not in PER_ROW:
            raise _unknown(f"config_columns[{given!r}]", path, PER_ROW, "is no field that a column may set")
        if path in seen or not isinstance(column, str) or not column:
            raise TemplateError(
                f"config_columns[{given!r}] wants the name of one column, and a field is named once. Nothing was sent."
            )
        seen.add(path)
        _dig(config, path, column)
    return config


def _dig(config: dict[str, Any], path: str, column: str) -> None:
    *outer, name = path.split(".")
    for step in outer:
        inner = config.setdefault(step, {})
        if not isinstance(inner, dict):
            raise TemplateError(
                f"generation_config.{step} is no dict. Nothing was sent; correct the template."
            )
        config = inner
    try:
        default = json_of(config.get(name), PER_ROW[path])
    except ValueError:
        raise TemplateError(
            f"generation_config.{path} is not {PER_ROW[path]}. Nothing was sent; correct the template."
        ) from None
    config[name] = Value(column, PER_ROW[path], default)


def media_part(
    video_metadata: Mapping[str, Any] | None, resolution: str | None, where: str
) -> dict[str, Any]:
    """Return what stands in a media part beside its file. Source: REST reference, ``Part``, ``VideoMetadata``."""
    more: dict[str, Any] = {}
    if video_metadata is not None:
        video = _message(video_metadata, _VIDEO, f"{where}.video_metadata")
        if not video or any(not _is_video_field(name, value) for name, value in video.items()):
            raise TemplateError(
                f"{where}.video_metadata wants startOffset and endOffset like '2.5s', fps above 0 and at most 24. "
                "Nothing was sent."
            )
        more["videoMetadata"] = video
    if resolution is not None:
        if resolution not in _RESOLUTIONS:
            raise TemplateError(
                f"{where}.media_resolution is none of {', '.join(sorted(_RESOLUTIONS))}. Nothing was sent."
            )
        more["mediaResolution"] = {"level": resolution}
    return more


def _is_video_field(name: str, value: Any) -> bool:
    if name == "fps":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 24
    return isinstance(value, str) and _DURATION.fullmatch(value) is not None


def safety_settings(value: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *value* with the keys that are sent."""
    listed = _list(value, "safety_settings")
    return [_message(one, SAFETY, f"safety_settings[{i}]") for i, one in enumerate(listed)]


def tools(value: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *value* with the keys that are sent; schemas of function parameters are made Vertex's own."""
    result = []
    for i, one in enumerate(_list(value, "tools")):
        tool = _message(one, TOOLS, f"tools[{i}]")
        if "functionDeclarations" in tool:
            declared = one.get("functionDeclarations", one.get("function_declarations"))
            tool["functionDeclarations"] = _functions(declared, f"tools[{i}].functionDeclarations")
        result.append(tool)
    return result


def _functions(value: Any, path: str) -> list[dict[str, Any]]:
    functions = []
    for i, one in enumerate(_list(value, path)):
        function = _message(one, _FUNCTION, f"{path}[{i}]")
        for name in ("parameters", "response"):
            if name in function:
                function[name] = vertex_schema(one[name], path=f"{path}[{i}].{name}")
        functions.append(function)
    return functions


def _list(value: Any, path: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TemplateError(f"{path} is not a list. Nothing was sent; correct the template.")
    return value


def _message(value: Any, known: Collection[str], path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TemplateError(f"{path} is a {type(value).__name__}, not a dict. Nothing was sent.")
    result = {}
    for key, member in value.items():
        name = _camel(key)
        if name not in known:
            raise _unknown(f"{path}.{key}", name, known, "is no field that Vertex AI knows")
        if name in result:
            raise TemplateError(f"{path} has {name} under two spellings. Nothing was sent; keep one.")
        result[name] = _camel_keys(member)
    return result


def _unknown(where: str, name: str, known: Collection[str], fact: str) -> TemplateError:
    close = difflib.get_close_matches(name, known, n=1)
    fix = _REPLACED.get(name) or (f"did you mean {close[0]}?" if close else "leave it out.")
    return TemplateError(f"{where} {fact}; {fix} Nothing was sent.")


def _camel_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = [(_camel(key), member) for key, member in value.items()]
        return {name: member if name in _FREE else _camel_keys(member) for name, member in names}
    if isinstance(value, (list, tuple)):
        return [_camel_keys(member) for member in value]
    return value


def _camel(key: object) -> str:
    if not isinstance(key, str):
        raise TemplateError(
            f"The template holds a member name of type {type(key).__name__}, not a string. Nothing was sent."
        )
    first, *rest = key.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
