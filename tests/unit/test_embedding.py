"""Embedding requests: a template of their own, for the models and the places that take them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from template_cases import line_of

from airflow_batch_gemini import EmbeddingTemplate, GeminiTemplate
from airflow_batch_gemini.batch.embedding import check_kind, is_embedding_model
from airflow_batch_gemini.batch.lint_request import lint_request
from airflow_batch_gemini.batch.parts import MAX_EMBEDDING_ROWS, MAX_ROWS, Limits
from airflow_batch_gemini.exceptions import ConfigurationError, TemplateError

EMBEDS = "publishers/google/models/gemini-embedding-001"
SPEAKS = "publishers/google/models/gemini-3.5-flash"


def test_a_row_becomes_the_line_that_google_documents() -> None:
    """Content without a role, the configuration in snake_case; what is not said is not sent."""
    template = EmbeddingTemplate(
        content="{name}: {text}",
        task_type="RETRIEVAL_DOCUMENT",
        title="About {name}",
        output_dimensionality=768,
        auto_truncate=False,
    )
    assert json.loads(line_of(template, {"key": 7, "name": "é", "text": None})) == {
        "key": "k_7",
        "request": {
            "content": {"parts": [{"text": "é: "}]},
            "embed_content_config": {
                "task_type": "RETRIEVAL_DOCUMENT",
                "title": "About é",
                "output_dimensionality": 768,
                "auto_truncate": False,
            },
        },
    }
    assert template.columns == ("name", "text")
    plain = EmbeddingTemplate(content="{text}")
    assert line_of(plain, {"key": "a", "text": "x"}) == (
        b'{"key":"k_a","request":{"content":{"parts":[{"text":"x"}]}}}\n'
    )
    assert list(lint_request(template.request, importer=True)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"content": ""}, "content must be a text"),
        ({"content": "{"}, "content has a single"),
        ({"title": "}"}, "title has a single"),
        ({"task_type": "CLUSTER"}, "task_type is none of"),
        ({"output_dimensionality": 0}, "from 1 to 3,072"),
        ({"output_dimensionality": 3073}, "from 1 to 3,072"),
        ({"output_dimensionality": True}, "from 1 to 3,072"),
        ({"output_dimensionality": 8.0}, "from 1 to 3,072"),
        ({"auto_truncate": "yes"}, "True or False"),
        ({"null_as": None}, "null_as"),
    ],
)
def test_a_template_that_cannot_work_cannot_be_made(arguments: dict[str, Any], message: str) -> None:
    """The DAG file does not even import."""
    with pytest.raises(TemplateError, match=message):
        EmbeddingTemplate(**{"content": "x", **arguments})


def test_a_fingerprint_says_whether_two_templates_ask_the_same_and_nothing_shows_the_text() -> None:
    """It differs from that of a prompt of the same words."""
    others: list[dict[str, Any]] = [
        {},
        {"content": "{secret}"},
        {"title": "secret"},
        {"task_type": "CLUSTERING"},
        {"output_dimensionality": 8},
        {"auto_truncate": True},
        {"null_as": "secret"},
    ]
    templates = [EmbeddingTemplate(**{"content": "secret", **other}) for other in others]
    assert len({one.fingerprint for one in templates} | {GeminiTemplate(prompt="secret").fingerprint}) == 8
    assert "secret" not in repr(templates)


@pytest.mark.parametrize(
    ("model", "embeds"),
    [
        (EMBEDS, True),
        ("publishers/google/models/gemini-embedding-2", True),
        ("projects/p/locations/us-central1/publishers/google/models/gemini-embedding-001", True),
        (SPEAKS, False),
        ("publishers/google/models/text-embedding-005", False),
        ("projects/p/locations/us-central1/models/123", False),
        ("publishers/meta/models/gemini-embedding-001", False),
    ],
)
def test_an_embedding_model_is_told_by_its_name(model: str, embeds: bool) -> None:
    """Others take other lines, or none."""
    assert is_embedding_model(model) is embeds


def test_a_template_goes_with_models_and_places_of_its_kind_only() -> None:
    """The mistake is named before anything is written."""
    vector, prompt = EmbeddingTemplate(content="x"), GeminiTemplate(prompt="x")
    check_kind(vector, model=EMBEDS, tables=False)
    check_kind(prompt, model=SPEAKS, tables=True)
    check_kind(prompt, model="projects/p/locations/us-central1/models/123", tables=False)
    for template, model, tables, message in [
        (vector, SPEAKS, False, r"gemini-3\.5-flash is no embedding model"),
        (vector, "publishers/google/models/text-embedding-005", False, "is no embedding model"),
        (vector, EMBEDS, True, "Cloud Storage only"),
        (prompt, EMBEDS, False, "use an EmbeddingTemplate"),
        (prompt, "publishers/google/models/text-embedding-005", False, "is an embedding model"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            check_kind(template, model=model, tables=tables)


def test_a_job_takes_more_vectors_than_answers() -> None:
    """A million."""
    assert (EmbeddingTemplate.max_rows, GeminiTemplate.max_rows) == (MAX_EMBEDDING_ROWS, MAX_ROWS)
    assert Limits(rows=MAX_EMBEDDING_ROWS, most_rows=MAX_EMBEDDING_ROWS).rows == 1_000_000
    with pytest.raises(ConfigurationError, match="1 to 1,000,000"):
        Limits(rows=MAX_EMBEDDING_ROWS + 1, most_rows=MAX_EMBEDDING_ROWS)
