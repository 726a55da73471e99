"""Answers fit their schema, whatever the schema; token counts and finish reasons follow the text."""

import json
from datetime import date, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_gemini.local.vertex.answers import Draft, compose, echo, fit_schema
from airflow_batch_gemini.local.vertex.faults import RowFaults
from airflow_batch_gemini.local.vertex.openai import json_schema, read_completion, render_body
from airflow_batch_gemini.local.vertex.requests import RowError, check_request
from airflow_batch_gemini.local.vertex.schemas import SchemaError, compile_schema

NAMES = st.sampled_from(["summary", "category", "name", "score", "tags", "when", "description", "x_1"])


def _either_case(kind: str) -> st.SearchStrategy[str]:
    return st.sampled_from([kind, kind.upper()])


def _bounded(
    kind: str, low_word: str, high_word: str, numbers: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    def build(parts: tuple[str, list[Any], bool, bool]) -> dict[str, Any]:
        word, bounds, with_low, with_high = parts
        low, high = sorted(bounds)
        return (
            {"type": word} | ({low_word: low} if with_low else {}) | ({high_word: high} if with_high else {})
        )

    two = st.lists(numbers, min_size=2, max_size=2)
    return st.tuples(_either_case(kind), two, st.booleans(), st.booleans()).map(build)


SCALARS = st.one_of(
    _bounded("string", "minLength", "maxLength", st.integers(0, 400)),
    _bounded("integer", "minimum", "maximum", st.integers(-(10**6), 10**6)),
    _bounded("number", "minimum", "maximum", st.floats(-1e6, 1e6)),
    st.builds(lambda word: {"type": word}, _either_case("boolean")),
    st.builds(
        lambda values: {"type": "STRING", "enum": values},
        st.lists(st.text(min_size=1), min_size=1, unique=True),
    ),
    st.sampled_from([{"type": "string", "format": "date"}, {"type": "STRING", "format": "date-time"}]),
)


def _nullable(schemas: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda schema, null: schema | ({"nullable": True} if null else {}), schemas, st.booleans()
    )


def _arrays(items: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def build(item: Any, sizes: list[int], *, strings: bool) -> dict[str, Any]:
        low, high = sorted(sizes)
        # Google writes int64 as text.
        low_value, high_value = (str(low), str(high)) if strings else (low, high)
        return {"type": "ARRAY", "items": item, "minItems": low_value, "maxItems": high_value}

    sizes = st.lists(st.integers(0, 5), min_size=2, max_size=2)
    return st.builds(build, items, sizes, strings=st.booleans())


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def build(properties: dict[str, Any], required: list[str], *, ordered: bool) -> dict[str, Any]:
        schema = {"type": "OBJECT", "properties": properties}
        wanted = [name for name in dict.fromkeys(required) if name in properties]
        return (
            schema
            | ({"required": wanted} if wanted else {})
            | ({"propertyOrdering": sorted(properties)} if ordered else {})
        )

    properties = st.dictionaries(NAMES, values, min_size=1, max_size=4)
    return st.builds(build, properties, st.lists(NAMES, max_size=4), ordered=st.booleans())


SCHEMAS = st.recursive(
    _nullable(SCALARS),
    lambda inner: st.one_of(
        _nullable(_arrays(inner)),
        _nullable(_objects(inner)),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


def request_for(
    schema: Any, prompt: str = "Summarise this. Name: numpy. It computes things."
) -> dict[str, Any]:
    return {
        "contents": [{"role": "user", "parts": [{"text": prompt}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": schema},
    }


def accept_null(schema: Any) -> Any:
    """JSON Schema says of an enum what Google says with `nullable` beside it."""
    if isinstance(schema, dict):
        made = {name: accept_null(value) for name, value in schema.items()}
        if isinstance(made.get("type"), list) and "enum" in made:
            made["enum"] = [*made["enum"], None]
        return made
    return [accept_null(item) for item in schema] if isinstance(schema, list) else schema


@settings(max_examples=300, deadline=None)
@given(schema=SCHEMAS, prompt=st.text(min_size=1), seed=st.integers(0, 99))
def test_an_answer_always_fits_its_schema_and_repeats(schema: dict[str, Any], prompt: str, seed: int) -> None:
    """Judged by jsonschema on the schema translated to JSON Schema."""
    request = request_for(schema, prompt)
    draft = fit_schema(request, seed)
    value = json.loads(draft.texts[0])
    jsonschema.validate(value, accept_null(json_schema(schema)))
    assert fit_schema(request, seed) == draft


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({"type": "STRING", "format": "date"}, date.fromisoformat),
        ({"type": "STRING", "format": "date-time"}, datetime.fromisoformat),
        ({"type": "integer", "enum": [3]}, lambda value: value == 3),
        ({"const": "only"}, lambda value: value == "only"),
        ({"type": ["null", "string"], "minLength": 3}, lambda value: value is None or len(value) >= 3),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.001}, lambda value: 0 < value <= 0.001),
        ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3}, lambda value: value == 2),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
            lambda v: len(v) == 2,
        ),
    ],
)
def test_formats_and_json_schema_words_are_kept(schema: dict[str, Any], fits: Any) -> None:
    """Checked by reading the value back."""
    assert fits(json.loads(fit_schema(request_for(schema), 1).texts[0])) is not False


def test_a_schema_may_contain_itself() -> None:
    """Optional and repeated places end the recursion."""
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name"],
            }
        },
    }
    for seed in range(5):
        jsonschema.validate(json.loads(fit_schema(request_for(tree), seed).texts[0]), tree)
    endless = {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}},
    }
    with pytest.raises(RowError, match="without end"):
        fit_schema(request_for(endless), 1)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "TEXT"}, "schema.type"),
        ({"type": "OBJECT", "properties": {"a": {"type": "ARRAY"}}}, "schema.properties.a.items"),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["b"]}, "schema.required"),
        ({"type": "OBJECT", "properties": {"a": "STRING"}}, "schema.properties.a"),
        ({"type": "STRING", "enum": []}, "schema.enum"),
        ({"type": "STRING", "enum": [""]}, "schema.enum"),
        ({"type": "STRING", "enum": [1]}, "schema.enum"),
        ({"type": "INTEGER", "enum": ["x"]}, "schema.enum"),
        ({"type": "INTEGER", "minimum": 2, "maximum": 1}, "between minimum and maximum"),
        ({"type": "INTEGER", "minimum": 0.2, "maximum": 0.8}, "between minimum and maximum"),
        ({"type": "STRING", "maxLength": "many"}, "schema.maxLength"),
        ({"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 3, "maxItems": 2}, "between minItems"),
        ({"allOf": []}, "schema.allOf"),
        ({"$ref": "#/$defs/none"}, "refers to nothing"),
        ([], "a schema is an object"),
    ],
)
def test_a_schema_that_no_answer_fits_is_refused_with_its_path(schema: Any, path: str) -> None:
    """And fails the row, not the job."""
    with pytest.raises(SchemaError, match=path.replace(".", r"\.")):
        compile_schema(schema)
    if isinstance(schema, dict):
        with pytest.raises(RowError, match="response_schema"):
            check_request(request_for(schema), batch=True)


def test_texts_come_from_the_prompt() -> None:
    """A field the prompt names gets that value, a sentence is one of the prompt's, a choice one it mentions."""
    schema = {
        "type": "OBJECT",
        "properties": {
            "name": {"type": "STRING"},
            "summary": {"type": "STRING"},
            "category": {"type": "STRING", "enum": ["astronomy", "networking"]},
        },
    }
    prompt = "Classify.\nName: requests\nIt sends HTTP calls for people. Useful for networking of all kinds."
    value = json.loads(fit_schema(request_for(schema, prompt), 3).texts[0])
    assert value["name"] == "requests"
    assert value["summary"].rstrip(".") in prompt
    assert value["category"] == "networking"


def test_a_text_enum_is_answered_without_quotes() -> None:
    """responseMimeType text/x.enum."""
    request = request_for({"type": "STRING", "enum": ["only"]})
    request["generationConfig"]["responseMimeType"] = "text/x.enum"
    assert fit_schema(request, 1).texts == ("only",)


def test_a_schema_without_its_mime_type_is_refused() -> None:
    """As the reference says: a compatible responseMimeType must be set."""
    request = request_for({"type": "STRING"})
    del request["generationConfig"]["responseMimeType"]
    with pytest.raises(RowError, match="responseMimeType"):
        check_request(request, batch=True)


@given(text=st.text(min_size=1, max_size=200), limit=st.integers(1, 60))
def test_output_never_exceeds_its_limit_and_the_counts_add_up(text: str, limit: int) -> None:
    """MAX_TOKENS exactly when something was cut off."""
    request = {"contents": [{"parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": limit}}
    answer = compose(request, echo(request, 0), model="m", seed=0)
    (candidate,) = answer.response["candidates"]
    said = "".join(part["text"] for part in candidate["content"].get("parts", []))
    assert text.startswith(said)
    assert (candidate["finishReason"] == "MAX_TOKENS") == (said != text)
    assert answer.tokens.output <= limit
    usage = answer.response["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]


@pytest.mark.parametrize(
    ("faults", "check"),
    [
        (RowFaults(truncated=True), lambda r: r["candidates"][0]["finishReason"] == "MAX_TOKENS"),
        (RowFaults(blocked=True), lambda r: "candidates" not in r and "blockReason" in r["promptFeedback"]),
        (RowFaults(thoughtful=True), lambda r: r["candidates"][0]["content"]["parts"][0]["thought"] is True),
        (RowFaults(thoughtful=True), lambda r: r["usageMetadata"]["thoughtsTokenCount"] > 0),
        (RowFaults(cached=True), lambda r: r["usageMetadata"]["cachedContentTokenCount"] == 2),
        (
            RowFaults(broken_json=True),
            lambda r: r["candidates"][0]["content"]["parts"][0]["text"] == '{"a": 1',
        ),
    ],
)
def test_each_trouble_shows_in_the_response(faults: RowFaults, check: Any) -> None:
    """The knobs' troubles, one by one."""
    request = {"contents": [{"parts": [{"text": "x" * 16}]}]}
    assert check(compose(request, Draft(texts=('{"a": 1}',)), model="m", seed=0, faults=faults).response)


def test_an_openai_request_says_the_same_as_the_gemini_request() -> None:
    """System instruction, roles, images, options and schema are carried over."""
    image = {"fileUri": "gs://b/i", "mimeType": "image/png"}
    numbers = {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": "3"}
    request = {
        "systemInstruction": {"parts": [{"text": "Be short."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "Look"}, {"fileData": image}],
            },
            {"role": "model", "parts": [{"text": "A cat."}]},
            {"role": "user", "parts": [{"text": "Sure?"}]},
        ],
        "generationConfig": {
            "temperature": 0.5,
            "maxOutputTokens": 9,
            "responseMimeType": "application/json",
            "responseSchema": {
                "type": "OBJECT",
                "properties": {"b": {"type": "STRING", "nullable": True}, "a": numbers},
                "propertyOrdering": ["a", "b"],
            },
        },
    }
    body = render_body(request, model="llama", read=lambda _uri: b"png")
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,cG5n"},
    }
    assert body["messages"][3]["content"] == "Sure?"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("llama", 0.5, 9)
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["a", "b"]
    assert schema["properties"]["a"] == {"type": "array", "items": {"type": "integer"}, "maxItems": 3}
    assert schema["properties"]["b"] == {"type": ["string", "null"]}


def test_an_openai_answer_keeps_its_own_counts() -> None:
    """Reasoning tokens become thinking tokens; a length stop becomes MAX_TOKENS."""
    draft = read_completion(
        {
            "model": "llama-3",
            "choices": [{"message": {"content": "hi"}, "finish_reason": "length"}],
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
        }
    )
    answer = compose({"contents": []}, draft, model="gemini", seed=0)
    assert answer.response["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert answer.response["modelVersion"] == "llama-3"
    assert (answer.tokens.prompt, answer.tokens.output, answer.tokens.thoughts) == (7, 5, 4)
    with pytest.raises(RowError, match="not a completion"):
        read_completion({"error": "no"})
