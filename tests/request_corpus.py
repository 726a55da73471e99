"""Requests that Vertex AI takes: every kind of part, tool, schema and setting, in both spellings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

Request = dict[str, Any]

GOOGLES_OWN: Request = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "List objects in this image."},
                {"fileData": {"fileUri": "gs://cloud-samples-data/office.jpeg", "mimeType": "image/jpeg"}},
            ],
        }
    ],
    "generationConfig": {"temperature": 0.4},
}
"""The sample line of the page "Batch inference from Cloud Storage"."""

PARTS: dict[str, list[Any]] = {
    "text": [{"text": 'Say "hello" \\ in\n\u2028 žluťoučký 😀'}],
    "image": [{"text": "x"}, {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}],
    "audio": [{"fileData": {"fileUri": "gs://b/a.mp3", "mimeType": "audio/mp3"}}, {"text": "x"}],
    "video": [
        {
            "fileData": {"fileUri": "https://h/v.mp4", "mimeType": "video/mp4"},
            "videoMetadata": {"startOffset": "1s", "endOffset": "9.5s", "fps": 1},
        }
    ],
    "pdf": [{"text": "x"}, {"fileData": {"fileUri": "gs://b/a.pdf", "mimeType": "application/pdf"}}],
    "inline": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}],
    "several": [
        {"text": "a"},
        {"text": "b"},
        {"fileData": {"fileUri": "gs://b/a", "mimeType": "text/plain"}},
    ],
    "call": [{"functionCall": {"name": "f", "args": {"x": 1, "names": ["a", "b"]}}}],
    "code": [{"executableCode": {"language": "PYTHON", "code": "print(1)"}}],
}
CONFIGS: dict[str, Request] = {
    "none": {},
    "plain": {"temperature": 0, "topP": 0.9, "topK": 40, "maxOutputTokens": 256, "candidateCount": 1},
    "stops": {"stopSequences": ["END", "\n"], "seed": 7, "presencePenalty": -0.5, "frequencyPenalty": 0.5},
    "schema": {
        "responseMimeType": "application/json",
        "responseSchema": {
            "type": "OBJECT",
            "properties": {
                "topic": {"type": "STRING", "enum": ["a", "b"], "nullable": True},
                "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "maxItems": 3},
                "inner": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]},
            },
            "required": ["topic"],
            "propertyOrdering": ["topic", "tags", "inner"],
        },
    },
    "thinking": {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}},
    "speech": {"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}},
    "null": {"temperature": None, "maxOutputTokens": 5},
}
EXTRAS: dict[str, Request] = {
    "none": {},
    "system": {"systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]}},
    "safety": {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
        "labels": {"team": "a"},
    },
    "tools": {
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "f",
                        "description": "d",
                        "parameters": {"type": "OBJECT", "properties": {"x": {"type": "NUMBER"}}},
                    }
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    },
    "search": {"tools": [{"googleSearch": {"excludeDomains": ["example.com"]}}]},
}


def requests() -> dict[str, Request]:
    """Return all of them by name; each is valid in a file of its own."""
    found: dict[str, Request] = {"Google's own": GOOGLES_OWN}
    kinds = (PARTS.items(), CONFIGS.items(), EXTRAS.items())
    for (part, parts), (setting, config), (more, extra) in itertools.product(*kinds):
        request: Request = {"contents": [{"role": "user", "parts": parts}], **extra}
        if config:
            request["generationConfig"] = config
        found[f"{part}, {setting}, {more}"] = request
    found["turns"] = {
        "contents": [
            {"role": role, "parts": [{"text": text}]}
            for role, text in (("user", "a"), ("model", "b"), ("user", "c"))
        ]
    }
    found["no role"] = {"contents": [{"parts": [{"text": "x"}]}]}
    found["one content"] = {"contents": {"role": "user", "parts": [{"text": "x"}]}}
    for size in (None, 768):
        config = {
            "task_type": "RETRIEVAL_DOCUMENT",
            **({} if size is None else {"output_dimensionality": size}),
        }
        found[f"embedding {size}"] = {
            "content": {"parts": [{"text": "x"}]}, "embed_content_config": config,
        }  # fmt: skip
    return found | {f"{name}, snake_case": snake(request) for name, request in list(found.items())}


def snake(value: Any) -> Any:
    """Spell every member name in snake_case, but those of a schema's properties and of labels."""
    if isinstance(value, dict):
        return {_snake(name): snake(member) for name, member in value.items()}
    return [snake(one) for one in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def nested(levels: int) -> Request:
    """A request whose objects nest so deep, itself being the first."""
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return {"contents": [{"role": "user", "parts": [{"text": "x"}]}], **value}


USER = {"role": "user", "parts": [{"text": "x"}]}
PLAIN: Request = {"contents": [USER]}


def importer_traps() -> Iterator[tuple[str, str, list[Request]]]:
    """Yield files that fail a whole job, each with the rule it breaks."""
    yield "GB101", "a $ in a name", [{**PLAIN, "x": {"$defs": 1}}]
    yield "GB101", "a space in a name", [{**PLAIN, "a b": 1}]
    yield "GB101", "a name that begins with a digit", [{**PLAIN, "x": {"1a": 1}}]
    yield "GB101", "a name that is too long", [{**PLAIN, "x": {"a" * 301: 1}}]
    yield "GB102", "an empty object", [{**PLAIN, "tools": [{"googleSearch": {}}]}]
    yield "GB102", "an empty generationConfig", [{**PLAIN, "generationConfig": {}}]
    yield "GB103", "sixteen levels", [nested(16)]
    yield "GB104", "null in a list", [{**PLAIN, "x": ["a", None]}]
    yield "GB104", "null after an object", [{**PLAIN, "x": {"a": 1}}, {**PLAIN, "x": None}]
    yield "GB104", "null before an object", [{**PLAIN, "x": None}, {**PLAIN, "x": {"a": 1}}]
    yield "GB104", "null after a list", [{**PLAIN, "x": ["a"]}, {**PLAIN, "x": None}]
    yield "GB111", "a scalar, then a list", [{**PLAIN, "x": 1}, {**PLAIN, "x": [1]}]
    yield "GB111", "a list, then a scalar", [{**PLAIN, "x": ["a"]}, {**PLAIN, "x": "a"}]
    yield "GB111", "an empty list, then a scalar", [{**PLAIN, "x": []}, {**PLAIN, "x": "a"}]
    yield "GB111", "a scalar, then an object", [{**PLAIN, "x": 1}, {**PLAIN, "x": {"a": 1}}]
    yield "GB111", "an object, then a list of objects", [{"contents": USER}, PLAIN]
    yield "GB111", "a list in a list", [{**PLAIN, "x": [[1]]}]
    yield "GB111", "mixed in one list", [{**PLAIN, "x": [1, {"a": 1}]}]
