"""The fields of a GenerateContentRequest that a template may set, in the spelling that is sent.

Source: REST reference, ``GenerateContentRequest``, ``GenerationConfig``, ``SafetySetting`` and ``Tool``. Both
camelCase and snake_case are taken; camelCase is sent, so that a file never has one field under two names.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from airflow_batch_gemini.batch.response_schema import vertex_schema
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
_FUNCTION = frozenset({"name", "description", "parameters", "response"})
_REPLACED = {"responseJsonSchema": "use response_schema=, which takes JSON Schema"}


def generation_config(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return *value* with the keys that are sent; unknown ones are refused."""
    return _message(value, GENERATION, "generation_config")


def safety_settings(value: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *value* with the keys that are sent."""
    return [_message(one, SAFETY, f"safety_settings[{i}]") for i, one in enumerate(value)]


def tools(value: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *value* with the keys that are sent; schemas of function parameters are made Vertex's own."""
    result = []
    for i, one in enumerate(value):
        tool = _message(one, TOOLS, f"tools[{i}]")
        if "functionDeclarations" in tool:
            declared = one.get("functionDeclarations", one.get("function_declarations"))
            tool["functionDeclarations"] = _functions(declared, f"tools[{i}].functionDeclarations")
        result.append(tool)
    return result


def _functions(value: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(value, (list, tuple)):
        raise TemplateError(f"{path} is not a list. Nothing was sent; correct the template.")
    functions = []
    for i, one in enumerate(value):
        function = _message(one, _FUNCTION, f"{path}[{i}]")
        for name in ("parameters", "response"):
            if name in function:
                function[name] = vertex_schema(one[name], path=f"{path}[{i}].{name}")
        functions.append(function)
    return functions


def _message(value: Any, known: Collection[str], path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TemplateError(f"{path} is a {type(value).__name__}, not a dict. Nothing was sent.")
    result = {}
    for key, member in value.items():
        name = _camel(key)
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            fix = _REPLACED.get(name) or (f"did you mean {close[0]}?" if close else "leave it out")
            raise TemplateError(f"{path}.{key} is no field that Vertex AI knows; {fix} Nothing was sent.")
        if name in result:
            raise TemplateError(f"{path} has {name} under two spellings. Nothing was sent; keep one.")
        result[name] = _camel_keys(member)
    return result


def _camel_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_camel(key): _camel_keys(member) for key, member in value.items()}
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
