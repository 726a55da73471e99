"""The template a user writes: checked when it is made, and equal when it asks the same."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from airflow_batch_gemini import GeminiTemplate, Media, Turn
from airflow_batch_gemini.batch.template import Column, FilePart, Text, Value
from airflow_batch_gemini.batch.typed import Kind
from airflow_batch_gemini.exceptions import TemplateError


class Label(BaseModel):
    """An answer."""

    topic: str


SCHEMA = {"type": "OBJECT", "description": "An answer.", "properties": {"topic": {"type": "STRING"}}}
LABEL = {**SCHEMA, "required": ["topic"]}


def test_a_full_template_becomes_the_request_google_documents() -> None:
    """Keys in camelCase, the file after the text, the schema with its MIME type."""
    template = GeminiTemplate(
        prompt="What is {name}?",
        system_instruction="Answer {tone}.",
        generation_config={
            "max_output_tokens": 5,
            "topP": 0.5,
            "stop_sequences": ("a_b",),
            "thinking_config": {"thinking_budget": 0},
        },
        response_schema=Label,
        media=[Media(column="image"), Media(column="clip", mime_type="video/mp4")],
        safety_settings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        tools=[{"google_search": {}}],
    )
    assert template.request == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": Text(("What is ", Column("name"), "?"))},
                    FilePart("image", None),
                    FilePart("clip", "video/mp4"),
                ],
            }
        ],
        "systemInstruction": {"parts": [{"text": Text(("Answer ", Column("tone"), "."))}]},
        "tools": [{"googleSearch": {}}],
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "generationConfig": {
            "maxOutputTokens": 5,
            "topP": 0.5,
            "stopSequences": ["a_b"],
            "thinkingConfig": {"thinkingBudget": 0},
            "responseMimeType": "application/json",
            "responseSchema": LABEL,
        },
    }
    assert template.columns == ("name", "image", "clip", "tone")


def test_a_small_template_sends_nothing_it_was_not_given() -> None:
    """An empty object would fail the import of the whole file."""
    template = GeminiTemplate(prompt="Hello.")
    assert template.request == {"contents": [{"role": "user", "parts": [{"text": Text(("Hello.",))}]}]}
    assert template.vertex_schema is None
    assert template.columns == ()


def test_a_schema_may_stand_in_the_generation_config() -> None:
    """It is treated like one that does not."""
    inside = GeminiTemplate(prompt="x", generation_config={"response_schema": Label.model_json_schema()})
    beside = GeminiTemplate(prompt="x", response_schema=Label)
    assert inside.vertex_schema == beside.vertex_schema == LABEL
    assert inside.fingerprint == beside.fingerprint


def test_functions_are_declared_with_vertex_schemas() -> None:
    """Property names are left as they are, keys become camelCase."""
    tools = [{"function_declarations": [{"name": "f", "parameters": {
        "type": "object", "properties": {"snake_case": {"type": "string", "min_length": 1}}
    }}]}]  # fmt: skip
    assert GeminiTemplate(prompt="x", tools=tools).request["tools"] == [
        {"functionDeclarations": [{"name": "f", "parameters": {
            "type": "OBJECT", "properties": {"snake_case": {"type": "STRING", "minLength": 1}}
        }}]}
    ]  # fmt: skip


@pytest.mark.parametrize(("tool", "sent"), [("parallel_ai_search", "parallelAiSearch"), ("exaAiSearch",) * 2])
def test_what_is_meant_for_another_search_engine_keeps_its_spelling(tool: str, sent: str) -> None:
    """``custom_configs`` is a ``Struct``: parameters of Parallel.ai and Exa, some of them in snake_case."""
    configs = {"source_policy": {"include_domains": ["example.com"]}, "max_results": 3, "numResults": 3}
    template = GeminiTemplate(prompt="x", tools=[{tool: {"api_key": "k", "custom_configs": configs}}])
    assert template.request["tools"] == [{sent: {"apiKey": "k", "customConfigs": configs}}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "prompt must be a text"),
        ({"prompt": "{"}, "prompt has a single"),
        ({"system_instruction": "}"}, "system_instruction has a single"),
        ({"system_instruction": ""}, "system_instruction must be"),
        ({"null_as": None}, "null_as"),
        ({"version": ""}, "version"),
        ({"version": 3}, "version"),
        ({"version": "v" * 101}, "version"),
        ({"media": ["column"]}, "Media"),
        ({"generation_config": {"temprature": 0}}, r"generation_config\.temprature .*temperature\?"),
        ({"generation_config": {"zzz": 0}}, "leave it out"),
        ({"generation_config": {"topP": 1, "top_p": 1}}, "two spellings"),
        ({"generation_config": {"response_json_schema": {}}}, "use response_schema="),
        ({"generation_config": {"responseMimeType": "text/plain"}, "response_schema": Label}, "contradicts"),
        ({"generation_config": {"responseSchema": LABEL}, "response_schema": Label}, "given twice"),
        (
            {"generation_config": {"response_schema": {"oneOf": []}}},
            r"generation_config\.responseSchema\.oneOf",
        ),
        ({"generation_config": {"temperature": float("nan")}}, "not finite"),
        ({"generation_config": {1: 2}}, "member name of type int"),
        ({"generation_config": ["x"]}, "generation_config is a list"),
        ({"safety_settings": [{"kategory": "x"}]}, r"safety_settings\[0\]\.kategory .*category"),
        ({"safety_settings": ["x"]}, r"safety_settings\[0\] is a str"),
        ({"tools": [{"googel_search": {}}]}, r"tools\[0\]\.googel_search .*googleSearch"),
        ({"tools": [{"functionDeclarations": {}}]}, "not a list"),
        ({"tools": [{"functionDeclarations": [{"nme": "f"}]}]}, r"functionDeclarations\[0\]\.nme"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"not": {}}}]}]},
            r"functionDeclarations\[0\]\.parameters\.not",
        ),
        ({"response_schema": "x"}, "response_schema is a str"),
        ({"turns": ["x"]}, "turns wants Turn"),
        ({"turns": [Turn("user", "a"), Turn("model", "{")]}, r"turns\[1\] has a single"),
        ({"turns": [Turn("model", "")]}, r"turns\[0\] must be a text"),
        ({"turns": [Turn("system", "x")]}, r"GB107 request\.contents\[0\]\.role"),  # type: ignore[arg-type]
        ({"config_columns": ["temperature"]}, "config_columns wants a dict"),
        ({"config_columns": {"temprature": "t"}}, r"config_columns\['temprature'\] .*mean temperature\?"),
        ({"config_columns": {"responseSchema": "t"}}, "no field that a column may set"),
        ({"config_columns": {"thinkingConfig": "t"}}, r"mean thinkingConfig\.\w+\?"),
        ({"config_columns": {1: "t"}}, "no field that a column may set"),
        ({"config_columns": {"topP": ""}}, "the name of one column"),
        ({"config_columns": {"topP": "a", "top_p": "b"}}, "named once"),
        (
            {"config_columns": {"seed": "s"}, "generation_config": {"seed": 0.5}},
            r"seed is not a whole number",
        ),
        (
            {
                "config_columns": {"thinkingConfig.thinkingBudget": "b"},
                "generation_config": {"thinkingConfig": 5},
            },
            r"generation_config\.thinkingConfig is no dict",
        ),
        (
            {"config_columns": {"seed": "s"}, "generation_config": {"stopSequences": [float("nan")]}},
            "not finite",
        ),
        (
            {"media": [Media(column="m", video_metadata={"start": "1s"})]},
            r"media\[0\]\.video_metadata\.start",
        ),
        ({"media": [Media(column="m", video_metadata={"startOffset": 1})]}, "startOffset and endOffset like"),
        ({"media": [Media(column="m", video_metadata={"fps": True})]}, "fps above 0"),
        ({"media": [Media(column="m", video_metadata={})]}, "startOffset and endOffset like"),
        ({"media": [Media(column="m", media_resolution="low")]}, r"media\[0\]\.media_resolution is none of"),
    ],
)
def test_a_template_that_cannot_work_cannot_be_made(arguments: dict[str, Any], message: str) -> None:
    """The DAG file does not even import."""
    with pytest.raises(TemplateError, match=message):
        GeminiTemplate(**{"prompt": "x", **arguments})


def test_turns_come_before_the_prompt_and_may_have_columns_too() -> None:
    """In their order, as Gemini reads a conversation."""
    template = GeminiTemplate(
        prompt="{text}",
        turns=[Turn("user", "Say {word}."), Turn("model", "{{{word}}}")],
        media=[Media(column="m")],
    )
    assert template.request["contents"] == [
        {"role": "user", "parts": [{"text": Text(("Say ", Column("word"), "."))}]},
        {"role": "model", "parts": [{"text": Text(("{", Column("word"), "}"))}]},
        {"role": "user", "parts": [{"text": Text((Column("text"),))}, FilePart("m", None)]},
    ]
    assert template.columns == ("word", "text", "m")


def test_a_column_may_set_a_field_and_what_the_template_says_is_for_null() -> None:
    """In the type that the field has in every other row."""
    template = GeminiTemplate(
        prompt="x",
        generation_config={"temperature": 1, "thinking_config": {"include_thoughts": True}},
        config_columns={"temperature": "t", "thinking_config.thinking_budget": "b", "maxOutputTokens": "m"},
    )
    assert template.request["generationConfig"] == {
        "maxOutputTokens": Value("m", Kind.INTEGER),
        "temperature": Value("t", Kind.NUMBER, "1.0"),
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": Value("b", Kind.INTEGER)},
    }
    assert template.columns == ("m", "t", "b")


def test_fingerprints_of_old_templates_are_what_they_were() -> None:
    """A batch prepared before an upgrade is not paid for again after it."""
    assert GeminiTemplate(prompt="Hi {a}").fingerprint == (
        "94ee9d16c014080d36c6ea634c02cf96e5c430a584a27dd1d27402ea5c045a72"
    )
    full = GeminiTemplate(
        prompt="Hi {a} {{x}}",
        system_instruction="é{b}",
        generation_config={"top_p": 0.5, "seed": 2, "thinking_config": {"thinking_budget": 0}},
        media=[Media(column="m"), Media(column="n", mime_type="image/png")],
        response_schema={"type": "object", "properties": {"a": {"type": "string"}}},
        null_as="none",
    )
    assert full.fingerprint == "dd3b5fbc8114f3d8048c507fc33665d0e05a36e5fd4fb6d9ec14325d9bb27a6e"


def test_a_fingerprint_says_whether_two_templates_ask_the_same() -> None:
    """Spelling does not matter; what is sent does."""
    base: dict[str, Any] = {"prompt": "Hi {a}", "generation_config": {"top_p": 1.0}}
    one = GeminiTemplate(**base)
    sorted_ = GeminiTemplate(prompt="x", generation_config={"topP": 1, "seed": 2})
    assert (
        sorted_.fingerprint
        == GeminiTemplate(prompt="x", generation_config={"seed": 2, "topP": 1}).fingerprint
    )
    assert one.fingerprint == GeminiTemplate(prompt="Hi {a}", generation_config={"topP": 1.0}).fingerprint
    others = [
        {"prompt": "Hi {b}"},
        {"prompt": "Hi {{a}}"},
        {"system_instruction": "x"},
        {"generation_config": {"top_p": 0.5}},
        {"null_as": "none"},
        {"media": [Media(column="m")]},
        {"media": [Media(column="m", mime_type="image/png")]},
        {"response_schema": Label},
        {"turns": [Turn("user", "x")]},
        {"turns": [Turn("model", "x")]},
        {"turns": [Turn("user", "{x}")]},
        {"media": [Media(column="m", video_metadata={"fps": 1})]},
        {"media": [Media(column="m", media_resolution="MEDIA_RESOLUTION_LOW")]},
        {"config_columns": {"temperature": "t"}},
        {"config_columns": {"temperature": "u"}},
        {"config_columns": {"seed": "t"}},
        {"config_columns": {"temperature": "t"}, "generation_config": {"top_p": 1.0, "temperature": 1}},
        {"config_columns": {"top_p": "t"}},
        {"config_columns": {"thinkingConfig.thinkingBudget": "t"}},
    ]
    found = {one.fingerprint, *(GeminiTemplate(**{**base, **other}).fingerprint for other in others)}
    assert len(found) == 1 + len(others)
    assert len(one.fingerprint) == 64


def test_what_a_template_is_called_decides_nothing() -> None:
    """Renamed it asks the same."""
    assert GeminiTemplate(prompt="x", version="v2").fingerprint == GeminiTemplate(prompt="x").fingerprint


def test_a_template_shows_a_fingerprint_and_no_prompt() -> None:
    """Wherever Airflow prints or serialises it."""
    turns = [Turn("user", "secret"), Turn("model", "secret")]
    template = GeminiTemplate(prompt="secret", turns=turns, system_instruction="secret", null_as="secret")
    assert repr(turns) == "[Turn('user'), Turn('model')]"
    assert "secret" not in repr(template)
    assert "secret" not in str(template)
    assert template.fingerprint[:12] in repr(template)
