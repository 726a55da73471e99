"""Every rule has a request that breaks it, and Google's own requests break none."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.lint_request import lint_request
from airflow_batch_gemini.batch.template import FilePart, Text
from airflow_batch_gemini.exceptions import RowError, TemplateError

USER = {"role": "user", "parts": [{"text": "x"}]}
GOOGLES_OWN = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "List objects in this image."},
                {"fileData": {"fileUri": "gs://b/office.jpeg", "mimeType": "image/jpeg"}},
            ],
        }
    ],
    "generationConfig": {"temperature": 0.4},
}


def _nested(levels: int) -> dict[str, Any]:
    request: dict[str, Any] = {"x": 1}
    for _ in range(levels - 1):
        request = {"x": request}
    return {"contents": [USER], **request}


def _found(request: Any, *, importer: bool = True) -> list[tuple[str, str]]:
    return [(one.rule.id, one.path) for one in lint_request(request, importer=importer)]


@pytest.mark.parametrize(
    ("request_", "rule", "path"),
    [
        ({"a b": 1}, "GB101", "request.a b"),
        ({"x": {"$defs": 1}}, "GB101", "request.x.$defs"),
        ({"x": {"1a": 1}}, "GB101", "request.x.1a"),
        ({"x": {"a" * 301: 1}}, "GB101", f"request.x.{'a' * 301}"),
        ({"tools": [{"googleSearch": {}}]}, "GB102", "request.tools[0].googleSearch"),
        ({"generationConfig": {}}, "GB102", "request.generationConfig"),
        (_nested(16), "GB103", "request" + ".x" * 15),
        ({"x": None}, "GB104", "request.x"),
        ({"x": ["a", None]}, "GB104", "request.x[1]"),
        ({"x": [[1]]}, "GB111", "request.x[0]"),
        ({"x": [1, {"a": 1}]}, "GB111", "request.x[1]"),
        ({"x": [{"a": 1}, {"a": [1]}]}, "GB111", "request.x[1].a[0]"),
        ({"x": [{"a": {"b": 1}}, {"a": 1}]}, "GB111", "request.x[1].a"),
    ],
)
def test_what_the_importer_refuses_is_found_with_its_path(request_: Any, rule: str, path: str) -> None:
    """In a table the importer reads nothing, so the same request is fine there."""
    request_ = {"contents": [USER], **request_}
    assert (rule, path) in _found(request_)
    assert _found(request_, importer=False) == []
    assert lint.RULES[rule].importer


@pytest.mark.parametrize(
    ("request_", "rule", "path"),
    [
        ({"contents": [USER], "cachedContent": "x"}, "GB105", "request.cachedContent"),
        ({"contents": [USER], "cached_content": "x"}, "GB105", "request.cached_content"),
        ({}, "GB106", "request.contents"),
        ({"contents": []}, "GB106", "request.contents"),
        ({"contents": "text"}, "GB106", "request.contents"),
        ({"contents": [{"role": "user", "parts": []}]}, "GB106", "request.contents[0].parts"),
        ({"contents": [USER, "text"]}, "GB106", "request.contents[1].parts"),
        ({"contents": [{"parts": "text"}]}, "GB106", "request.contents[0].parts"),
        ({"contents": [{"parts": ["text"]}]}, "GB106", "request.contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": "x"}, {"text": None}]}]}, "GB106", "request.contents[0].parts[1]"),
        ({"content": {"parts": []}}, "GB106", "request.content.parts"),
        ({"content": "text"}, "GB106", "request.content.parts"),
        ({"contents": [{**USER, "role": "tester"}]}, "GB107", "request.contents[0].role"),
        ({"contents": [{**USER, "role": ["user"]}]}, "GB107", "request.contents[0].role"),
    ],
)
@pytest.mark.parametrize("importer", [True, False])
def test_what_vertex_ai_refuses_is_found_in_files_and_tables_alike(
    request_: Any, rule: str, path: str, importer: bool
) -> None:
    """Some fail every row, after the job has run."""
    assert (rule, path) in _found(request_, importer=importer)


@pytest.mark.parametrize(
    "request_",
    [
        GOOGLES_OWN,
        {"contents": USER},
        {"contents": [{"parts": [{"text": "no role"}]}]},
        {"contents": [USER, {"role": "model", "parts": [{"text": "y"}]}]},
        {"contents": [{"role": "user", "parts": [{"text": Text(("a",))}, FilePart("c", None)]}]},
        _nested(15),
    ],
)
def test_a_good_request_raises_no_alarm(request_: Any) -> None:
    """Google's sample line, a template with holes, the deepest nesting that is allowed."""
    assert _found(request_) == []


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("a", None),
        ("é" * 512, None),
        ("", "GB121"),
        ("é" * 513, "GB123"),
        ("x" * 1025, "GB123"),
        ("\U0001f600" * 257, "GB123"),
        ("a\nb", "GB124"),
        ("a\x7f", "GB124"),
    ],
)
def test_a_key_is_short_and_printable(key: str, rule: str | None) -> None:
    """At most 1024 bytes of UTF-8."""
    assert lint.key_rule(key) == rule


def test_a_finding_says_rule_row_key_path_and_fix() -> None:
    """And a template with several says them all, up to ten."""
    with pytest.raises(
        RowError, match=r"GB109 f line 3, key 'k', column 'img': .*; use gs://.* Nothing was sent"
    ):
        lint.refuse_row("GB109", row="f line 3", key="k", path="column 'img'")
    findings = [lint.Finding(rule=lint.RULES["GB102"], path=f"request.x{i}") for i in range(12)]
    with pytest.raises(TemplateError, match=r"request\.x9: .* and 2 more\. Nothing was sent") as caught:
        lint.refuse_template(findings)
    assert "request.x10" not in str(caught.value)
    lint.refuse_template([])
    assert str(lint.Finding(rule=lint.RULES["GB106"])).startswith("GB106 template: ")


def test_every_rule_has_a_sentence_and_a_fix() -> None:
    """Under the id it is known by."""
    for rule_id, rule in lint.RULES.items():
        assert rule.id == rule_id
        assert rule.says
        assert rule.fix
