"""Output lines as Vertex AI writes them, and as it might: what the rule of the outcomes is judged on."""

from __future__ import annotations

import json
from typing import Any

NO = object()
"""The field is absent."""

ASKED = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "a prompt"},
                {"fileData": {"fileUri": "gs://b/1.png", "mimeType": "image/png"}},
            ],
        }
    ],
    "systemInstruction": {"parts": [{"text": "be brief"}]},
    "generationConfig": {"temperature": 0.5},
}
"""What was sent for every key, unless :data:`SENT` says otherwise."""
ECHO = {
    "generation_config": {"temperature": 0.5, "topK": None},
    "system_instruction": {"role": None, "parts": [{"text": "be brief"}]},
    "contents": [
        {
            "parts": [
                {"text": "a prompt", "fileData": None},
                {"file_data": {"mime_type": "image/png", "file_uri": "gs://b/1.png"}, "text": None},
            ],
            "role": "user",
        }
    ],
    "labels": None,
}
"""How a line repeats it: in other spelling, in another order, with nulls."""

TIME = "2026-09-01T10:00:00.123+00:00"
USAGE = {"promptTokenCount": 120, "candidatesTokenCount": 30, "totalTokenCount": 150}


def candidate(*parts: Any, finish: Any = "STOP", **more: Any) -> dict[str, Any]:
    said = [{"text": part} if isinstance(part, str) else part for part in parts]
    found: dict[str, Any] = {"content": {"role": "model", "parts": said}, "finishReason": finish, **more}
    return {name: value for name, value in found.items() if value is not NO}


def response(*candidates: Any, usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    found = {
        "candidates": list(candidates),
        "usageMetadata": usage,
        "modelVersion": "gemini-3.5-flash",
        **more,
    }
    return {name: value for name, value in found.items() if value is not NO}


def line(answer: Any = NO, status: Any = "", time: str = TIME, echo: Any = ECHO) -> dict[str, Any]:
    found = {"status": status, "processed_time": time, "request": echo, "response": answer}
    return {name: value for name, value in found.items() if value is not NO}


def said(text: str, **more: Any) -> dict[str, Any]:
    return line(response(candidate(text, **more)))


def asks(*texts: Any, uris: tuple[Any, ...] = (), system: Any = None, **more: Any) -> dict[str, Any]:
    """A request of one turn."""
    parts = [{"text": text} for text in texts] + [{"fileData": {"fileUri": uri}} for uri in uris]
    found = {"contents": [{"role": "user", "parts": parts}], **more}
    return found if system is None else {**found, "systemInstruction": {"parts": [{"text": system}]}}


def error(prefix: str, **fields: Any) -> dict[str, Any]:
    return line({}, f"{prefix}: {json.dumps({'error': fields})}")


def vector(values: Any, *, status: str = "", **more: Any) -> dict[str, Any]:
    return line({"tokenCount": "2", "embedding": {"values": values}, **more}, status)


FINISH_REASONS = [
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST",
    "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR", "LANGUAGE", "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "NO_IMAGE", "IMAGE_RECITATION",
    "IMAGE_OTHER", "CONTINUATION", "JAILBREAK", "SOMETHING_NEW",
]  # fmt: skip
BLOCK_REASONS = [
    "BLOCKED_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY",
    "MODEL_ARMOR", "JAILBREAK",
]  # fmt: skip
THOUGHT = {"text": "let me think", "thought": True}
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}

ANSWERS = {
    "object": '{"category": "x", "n": 1}',
    "object_spaced": ' \n {"a" : [1, 2, {"b": null}]}\n',
    "array": "[1, 2, 3]",
    "string": '"positive"',
    "word": "positive",
    "number": "42",
    "float": "-1.5e3",
    "true": "true",
    "null": "null",
    "empty": "",
    "blank": "  ",
    "cut": '{"category": "x", "n": ',
    "cut_string": '{"category": "a long sen',
    "fenced": '```json\n{"a": 1}\n```',
    "trailing": '{"a": 1} and more',
    "two": '{"a": 1}{"b": 2}',
    "single_quotes": "{'a': 1}",
    "nan": '{"a": NaN}',
    "infinity": "[Infinity]",
    "comment": '{"a": 1} // yes',
    "trailing_comma": '{"a": 1,}',
    "unquoted": "{a: 1}",
    "prose": "The answer is {yes}.",
    "unicode": '{"s": "žluťoučký 日本語 🎉"}',
    "escaped": '{"s": "\\u00e9\\n\\t\\"\\\\"}',
    "line_separator": '{"s": "a\u2028b\u2029c"}',
    "raw_newline": '{"s": "a\nb"}',
    "leading_zero": '{"n": 007}',
    "plus": "[+1]",
    "big": '{"n": 18446744073709551615}',
    "digits": '{"n": 0.12345678901234567890123}',
    "deep": "[" * 60 + "]" * 60,
    "deeper": '{"a": ' * 400 + "1" + "}" * 400,
    "abyss": "[" * 100_000,
    "half_character": '{"s": "\\ud800"}',
    "other_half": '{"s": "a\\udfff b"}',
    "halves_swapped": '{"s": "\\udc00\\ud800"}',
    "half_name": '{"\\ud83d": 1}',
    "whole_character": '{"s": "\\ud83d\\ude00"}',
    "nul": '{"s": "\\u0000"}',
    "twice": '{"a": 1, "a": "2"}',
    "huge": '{"n": 1e400}',
    "tiny": '{"n": 1e-400}',
    "endless": '{"n": ' + "9" * 400 + "}",
    "sql": "'); DROP TABLE results; --",
    "jinja": "{{ var.value.secret }}",
    "formula": '=HYPERLINK("http://x")',
    "upper": "TRUE",
}

CORPUS: dict[str, dict[str, Any]] = {
    # what was said
    **{f"answer_{name}": said(text) for name, text in ANSWERS.items()},
    "parts_several": line(response(candidate('{"a":', " 1", "}"))),
    "parts_thought_first": line(response(candidate(THOUGHT, '{"a": 1}'))),
    "parts_thought_between": line(response(candidate('{"a"', THOUGHT, ": 1}"))),
    "parts_thought_only": line(response(candidate(THOUGHT))),
    "parts_thought_false": line(response(candidate({"text": "[1]", "thought": False}))),
    "parts_thought_null": line(response(candidate({"text": "[1]", "thought": None}))),
    "parts_call": line(response(candidate(CALL))),
    "parts_call_and_text": line(response(candidate("calling", CALL))),
    "parts_inline_data": line(response(candidate({"inlineData": {"mimeType": "image/png", "data": "AA=="}}))),
    "parts_text_null": line(response(candidate({"text": None}))),
    "parts_empty_text": line(response(candidate(""))),
    "parts_many": line(response(candidate(*[f"{n}," for n in range(12)]))),
    "parts_none": line(response(candidate())),
    "parts_null": line(response({"content": {"parts": None}, "finishReason": "STOP"})),
    "parts_object": line(response({"content": {"parts": {"text": "x"}}, "finishReason": "STOP"})),
    "parts_scalars": line(response({"content": {"parts": ["x", 1, None]}, "finishReason": "STOP"})),
    "content_absent": line(response({"finishReason": "STOP"})),
    "content_empty": line(response({"content": {}, "finishReason": "STOP"})),
    "content_role_only": line(response({"content": {"role": "model"}, "finishReason": "MAX_TOKENS"})),
    "candidates_two": line(response(candidate("[1]"), candidate("second", finish="SAFETY"))),
    "candidates_second_better": line(response(candidate("first", finish="SAFETY"), candidate("[2]"))),
    "candidates_empty": line(response()),
    "candidates_null": line(response() | {"candidates": None}),
    "candidates_absent": line({"usageMetadata": USAGE, "modelVersion": "m"}),
    "candidates_of_null": line(response(None)),
    "candidates_of_empty": line(response({})),
    "candidates_of_text": line(response("x")),
    "candidates_object": line(response() | {"candidates": {"first": {"finishReason": "STOP"}}}),
    # how it ended
    **{f"finish_{name}": said('{"a": 1}', finish=name) for name in FINISH_REASONS},
    **{f"finish_{name}_silent": line(response({"finishReason": name})) for name in FINISH_REASONS},
    "finish_absent": said("[1]", finish=NO),
    "finish_null": said("[1]", finish=None),
    "finish_empty": said("[1]", finish=""),
    "finish_lower": said("[1]", finish="stop"),
    "finish_message": said("half", finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed: f("),
    "finish_thinking": line(response(candidate(THOUGHT, finish="MAX_TOKENS"))),
    # prompts that were stopped
    **{
        f"block_{name}": line(
            {"promptFeedback": {"blockReason": name}, "usageMetadata": {"promptTokenCount": 9}}
        )
        for name in BLOCK_REASONS
    },
    "block_message": line({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "The prompt…"}}),
    "block_with_candidate": line(response(candidate("[1]"), promptFeedback={"blockReason": "SAFETY"})),
    "block_none": line(response(candidate("[1]"), promptFeedback={"safetyRatings": []})),
    "block_null": line(response(candidate("[1]"), promptFeedback={"blockReason": None})),
    "block_empty": line(response(candidate("[1]"), promptFeedback={"blockReason": ""})),
    "feedback_alone": line({"promptFeedback": {}}),
    # no response at all
    "response_null": line(None),
    "response_absent": line(),
    "response_empty": line({}),
    "response_text": line("oops"),
    "response_list": line([{"candidates": []}]),
    "response_number": line(5),
    "status_absent": line(response(candidate("[1]")), status=NO),
    "status_null": line(response(candidate("[1]")), status=None),
    # row errors
    "error_role": error(
        "Bad Request", code=400, message="Please use a valid role: user, model.", status="INVALID_ARGUMENT"
    ),
    **{
        f"error_{code}": error("Some Error", code=code, message=f"m{code}", status=f"S{code}")
        for code in (
            1,
            3,
            4,
            5,
            7,
            8,
            10,
            13,
            14,
            400,
            401,
            403,
            404,
            408,
            409,
            413,
            429,
            499,
            500,
            501,
            502,
            503,
            504,
        )
    },
    "error_code_text": error("Error", code="429", message="m", status="RESOURCE_EXHAUSTED"),
    "error_code_word": error("Error", code="many", message="m"),
    "error_code_absent": error("Error", message="only this"),
    "error_code_null": error("Error", code=None, message=None, status=None),
    "error_fields_empty": error("Error", code=500, message="", status=""),
    "error_braces": error(
        "Bad Request", code=400, message='has {braces} and "quotes" \\ and\nlines', status="X"
    ),
    "error_unicode": error("Bad Request", code=400, message="špatně 🎉", status="X"),
    "error_partner": line(
        {}, 'Error: {"type": "error", "error": {"type": "overloaded_error", "message": "Over"}}'
    ),
    "error_bare": line({}, '{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}'),
    "error_no_error": line({}, 'Oops: {"message": "m"}'),
    "error_error_text": line({}, 'Oops: {"error": "plain"}'),
    "error_not_json": line({}, "Bad Request: {not json}"),
    "error_cut": line({}, 'Bad Request: {"error": {"code": 400, "mess'),
    "error_trailing": line({}, 'Bad Request: {"error": {"code": 400}} again'),
    "error_plain": line({}, "Internal error"),
    "error_blank": line({}, " "),
    "error_brace": line({}, "{"),
    "error_sql": line({}, "'); DROP TABLE results; -- \\' \" `"),
    "error_null_response": line(None, "Deadline exceeded"),
    "error_with_answer": line(response(candidate("[1]")), "Too Many Requests"),
    # tokens
    "tokens_absent": line(response(candidate("[1]"), usage=NO)),
    "tokens_null": line(response(candidate("[1]"), usage=None)),
    "tokens_empty": line(response(candidate("[1]"), usage={})),
    "tokens_text": line(response(candidate("[1]"), usage={"promptTokenCount": "7", "totalTokenCount": "9"})),
    "tokens_word": line(response(candidate("[1]"), usage={"promptTokenCount": "seven"})),
    **{
        f"tokens_of_no_model_{place}": line(
            response(
                candidate("[1]"),
                usage={
                    "promptTokenCount": count,
                    "cachedContentTokenCount": count,
                    "candidatesTokenCount": count,
                    "thoughtsTokenCount": count,
                    "totalTokenCount": count,
                },
            )
        )
        for place, count in enumerate(
            [2**63 - 1, 10**13, -5, "9" * 18, " 7", "0x1F", "1_000", 7.0, 99_999_999]
        )
    },
    **{
        f"tokens_{name}_of_no_model": line(
            response(candidate("[1]"), usage={"promptTokenCount": 5, "candidatesTokenCount": 6, name: 10**18})
        )
        for name in (
            "cachedContentTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
            "totalTokenCount",
        )
    },
    "tokens_zero": line(response(candidate("[1]"), usage={"promptTokenCount": 0, "candidatesTokenCount": 0})),
    "tokens_all": line(
        response(
            candidate("[1]"),
            usage={
                "promptTokenCount": 1001,
                "cachedContentTokenCount": 333,
                "candidatesTokenCount": 77,
                "thoughtsTokenCount": 911,
                "totalTokenCount": 1989,
            },
        )
    ),
    "tokens_cached_beyond": line(
        response(candidate("[1]"), usage={"promptTokenCount": 5, "cachedContentTokenCount": 9})
    ),
    "tokens_at_tier": line(
        response(candidate("[1]"), usage={"promptTokenCount": 200_000, "candidatesTokenCount": 3})
    ),
    "tokens_long": line(
        response(
            candidate("[1]"),
            usage={"promptTokenCount": 200_001, "cachedContentTokenCount": 10_001, "candidatesTokenCount": 7},
        )
    ),
    "version_absent": line(response(candidate("[1]"), modelVersion=NO)),
    "version_number": line(response(candidate("[1]"), modelVersion=3)),
    # both generations of lines
    "time_nanoseconds": line(response(candidate("[1]")), time="2026-09-01T10:00:00.123456+00:00"),
    "time_z": line(response(candidate("[1]")), time="2026-09-01T10:00:00Z"),
    "time_word": line(response(candidate("[1]")), time="yesterday"),
    "time_empty": line(response(candidate("[1]")), time=""),
    # vectors
    "vector": vector([0.5, -0.25, 1e-7]),
    "vector_whole": vector([1, 0, -1, 10**20]),
    "vector_one": vector([0.1]),
    "vector_empty": vector([]),
    "vector_null": vector(None),
    "vector_text": vector("[0.1]"),
    "vector_object": vector({"0": 0.1}),
    "vector_of_text": vector(["0.1", 0.2]),
    "vector_of_null": vector([None, 0.2]),
    "vector_of_true": vector([0.1, True]),
    "vector_of_lists": vector([[0.1]]),
    "vector_of_nothing_else": vector([0.1, {}]),
    "vector_alone": line({"embedding": {"values": [0.1]}}),
    "vector_tokens_word": vector([0.1], tokenCount="two"),
    "vector_tokens_number": vector([0.1], tokenCount=7),
    "vector_tokens_of_no_model": vector([0.1], tokenCount=10**18),
    "vector_tokens_twice": vector([0.1], usageMetadata={"promptTokenCount": 5, "totalTokenCount": 6}),
    "vector_failed": vector([0.1], status="Too Many Requests"),
    "embedding_absent": line({"tokenCount": "2"}),
    "embedding_list": line({"tokenCount": "2", "embedding": [0.1]}),
    "embedding_null": line({"tokenCount": "2", "embedding": None}),
}

# ------------------------------------------------------------------------------------- every kind with every other kind

SAID: dict[str, list[Any]] = {
    "json": ['{"category": "x"}'],
    "split": ['{"category"', ': "x"}'],
    "thought": [THOUGHT, "[1, 2]"],
    "cut": ['{"category": "a long sen'],
    "empty": [""],
    "nothing": [],
    "call": [CALL],
    "call_and_text": ["I call ", CALL, {"functionCall": {"name": "g"}}],
}
NO_RESPONSES = {"null": None, "absent": NO, "empty": {}, "candidates": {"candidates": []}, "word": "oops"}
STATUSES = {
    "null": None,
    "plain": "Internal error",
    "quota": 'Too Many Requests: {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}',
    "partner": '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
    "partner_request": '{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: required"}}',
    "list": '[{"error": {"code": 400, "message": "in a list"}}]',
}
CORPUS |= {
    f"finish_{finish}_{name}": line(response(candidate(*parts, finish=finish)))
    for finish in FINISH_REASONS
    for name, parts in SAID.items()
}
CORPUS |= {
    f"block_{reason}_{name}": line(answer)
    for reason in BLOCK_REASONS
    for name, answer in {
        "candidate": response(candidate("[1]"), promptFeedback={"blockReason": reason}),
        "told": response(promptFeedback={"blockReason": reason, "blockReasonMessage": f"because {reason}"}),
        "silent": {"promptFeedback": {"blockReason": reason}},
    }.items()
}
CORPUS |= {
    f"no_response_{name}_{status}": line(answer, found)
    for name, answer in NO_RESPONSES.items()
    for status, found in STATUSES.items()
}
CORPUS |= {
    f"answer_{name}_{how}": line(found)
    for name, text in ANSWERS.items()
    for how, found in {
        "in_two": response(candidate(text[: len(text) // 2], THOUGHT, text[len(text) // 2 :])),
        "of_two": response(candidate(text), candidate("another", finish="SAFETY")),
    }.items()
}

# ------------------------------------------------------------------------------------------ what a line says it answers

_A = {"parts": [{"text": "a"}]}
ECHOES: dict[str, tuple[Any, Any]] = {
    "absent": (ASKED, NO),
    "null": (ASKED, None),
    "empty": (ASKED, {}),
    "text": (ASKED, "a prompt"),
    "list": (ASKED, [ECHO]),
    "contents_empty": (ASKED, {"contents": []}),
    "contents_null": (ASKED, {"contents": None}),
    "as_sent": (ASKED, ASKED),
    "nulls_added": (ASKED, {**ASKED, "tools": None, "safetySettings": [], "labels": {}}),
    "config_gone": (ASKED, {"contents": ASKED["contents"]}),
    "other_text": (asks("a"), asks("b")),
    "other_case": (asks("a"), asks("A")),
    "other_space": (asks("a"), asks("a ")),
    "longer": (asks("a"), asks("a", "b")),
    "shorter": (asks("a", "b"), asks("a")),
    "other_order": (asks("a", "b"), asks("b", "a")),
    "joined": (asks("a", "b"), asks("ab")),
    "quoted": (asks('a","b'), asks("a", "b")),
    "empty_text_gone": (asks("a", ""), asks("a")),
    "null_text": (asks("a"), asks("a", None)),
    "unicode": (asks("žluťoučký \u2028 🎉 \x00"), asks("žluťoučký \u2028 🎉 \x00")),
    "other_uri": (asks("a", uris=("gs://b/1",)), asks("a", uris=("gs://b/2",))),
    "same_uris": (asks("a", uris=("gs://b/1", "gs://b/2")), asks("a", uris=("gs://b/1", "gs://b/2"))),
    "uris_swapped": (asks(uris=("gs://b/1", "gs://b/2")), asks(uris=("gs://b/2", "gs://b/1"))),
    "uri_gone": (asks("a", uris=("gs://b/1",)), asks("a")),
    "text_is_uri": (asks("gs://b/1"), asks(uris=("gs://b/1",))),
    "coerced": (asks("007"), asks(7)),
    "coerced_beside": (asks("a", "007"), asks("a", 7)),
    "coerced_true": (asks("true"), asks(True)),
    "sent_number": (asks(7), asks("7")),
    "two_turns": (
        {"contents": [_A, {"parts": [{"text": "b"}]}]},
        {"contents": [_A, {"parts": [{"text": "b"}]}]},
    ),
    "turn_gone": ({"contents": [_A, {"parts": [{"text": "b"}]}]}, {"contents": [_A]}),
    "turns_merged": ({"contents": [_A, {"parts": [{"text": "b"}]}]}, asks("a", "b")),
    "turn_object": ({"contents": _A}, {"contents": [_A]}),
    "turns_odd": ({"contents": [None, "x", {"parts": "a"}, _A]}, {"contents": [_A]}),
    "parts_odd": ({"contents": [{"parts": [None, "x", 5, {"text": "a"}]}]}, {"contents": [_A]}),
    "inline_data": (asks("a"), {"contents": [{"parts": [{"text": "a"}, {"inlineData": {"data": "AA=="}}]}]}),
    "nothing_said": ({"contents": [{"parts": [{"inlineData": {"data": "AA=="}}]}]}, asks("a")),
    "system_gone": (asks("a", system="s"), asks("a")),
    "system_added": (asks("a"), asks("a", system="s")),
    "other_system": (asks("a", system="s"), asks("a", system="t")),
    "same_system": (asks("a", system="s"), asks("a", system_instruction={"parts": [{"text": "s"}]})),
    "only_system": (asks("a", system="s"), {"systemInstruction": {"parts": [{"text": "t"}]}}),
    "content": ({"content": _A}, {"content": {"parts": [{"text": "a"}], "role": None}}),
    "other_content": ({"content": _A}, {"content": {"parts": [{"text": "b"}]}}),
    "content_config": ({"content": _A, "embedContentConfig": {"title": "t"}}, {"content": _A}),
}
SENT: dict[str, dict[str, Any]] = {}
for _name, (_sent, _echo) in ECHOES.items():
    for _how, _answer, _status in (
        ("answered", response(candidate('{"a": 1}')), ""),
        ("failed", {}, STATUSES["quota"]),
    ):
        CORPUS[f"echo_{_name}_{_how}"] = line(_answer, _status, echo=_echo)
        SENT[f"echo_{_name}_{_how}"] = _sent
    CORPUS[f"echo_{_name}_vector"] = {**vector([0.5]), "request": _echo}
    SENT[f"echo_{_name}_vector"] = _sent
    if _echo is NO:
        del CORPUS[f"echo_{_name}_vector"]["request"]


def sent(name: str) -> dict[str, Any]:
    """What was sent for a line of the corpus."""
    return SENT.get(name, ASKED)
