"""Embedding requests, the second kind of batch: a text in, a vector out.

Source: page "Batch inference", section on embeddings. Only Cloud Storage serves such jobs, on both sides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from airflow_batch_gemini.batch import names, parts
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.template import parse_text
from airflow_batch_gemini.exceptions import ConfigurationError, TemplateError

MAX_DIMENSIONS = 3072
TASK_TYPES = frozenset(
    {"RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING"}
    | {"QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"}
)
_EMBEDS = re.compile(r"(?:.*/)?publishers/google/models/gemini-embedding[^/]*")


@dataclass(frozen=True, kw_only=True, repr=False)
class EmbeddingTemplate(Template):
    """How a row becomes a request for a vector, of a model such as ``gemini-embedding-001``.

    The vector of a row is the ``answer`` of its result, a JSON list of numbers. Everything is checked when the template
    is made; its representation shows a fingerprint and never a text.

    :param content: what is embedded; may hold ``{column}`` placeholders, as the prompt of a ``GeminiTemplate``.
    :param task_type: what the vector is for, like ``"RETRIEVAL_DOCUMENT"``; the default is the model's own.
    :param title: of a document to be retrieved; may hold placeholders too.
    :param output_dimensionality: numbers in the vector, at most 3,072; the default is the model's own.
    :param auto_truncate: whether a text that is too long is cut off rather than refused.
    :param null_as: what stands in a text for NULL.
    :param version: what you call this template, told beside every row that lands; it decides nothing.
    """

    content: str
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None
    auto_truncate: bool | None = None

    max_rows: ClassVar[int] = parts.MAX_EMBEDDING_ROWS

    def __post_init__(self) -> None:
        if self.task_type is not None and self.task_type not in TASK_TYPES:
            raise TemplateError(f"task_type is none of {', '.join(sorted(TASK_TYPES))}. Nothing was sent.")
        size = self.output_dimensionality
        if size is not None and (type(size) is not int or not 1 <= size <= MAX_DIMENSIONS):
            raise TemplateError(
                f"output_dimensionality must be a whole number from 1 to {MAX_DIMENSIONS:,}. Nothing was sent."
            )
        if self.auto_truncate is not None and type(self.auto_truncate) is not bool:
            raise TemplateError("auto_truncate must be True or False. Nothing was sent.")
        super().__post_init__()

    @cached_property
    def request(self) -> dict[str, Any]:
        """The request with its holes, in the spelling of Google's example."""
        content = parse_text(self.content, where="content")
        config = {
            "task_type": self.task_type,
            "title": None if self.title is None else parse_text(self.title, where="title"),
            "output_dimensionality": self.output_dimensionality,
            "auto_truncate": self.auto_truncate,
        }
        request: dict[str, Any] = {"content": {"parts": [{"text": content}]}}
        if said := {name: value for name, value in config.items() if value is not None}:
            request["embed_content_config"] = said
        return request


def is_embedding_model(model: str) -> bool:
    """Return whether *model*, a job's ``model`` field, answers with vectors."""
    return _EMBEDS.fullmatch(model) is not None


def check_kind(template: Template | None, *, model: str, tables: bool) -> None:
    """Refuse a template for a model, or a place, that does not take such requests.

    :param template: ``None`` where rows are requests for an answer.
    :param model: the job's ``model`` field.
    :param tables: whether BigQuery makes the requests or takes the answers.
    :raises ConfigurationError: naming what to change.
    """
    if isinstance(template, EmbeddingTemplate):
        if not is_embedding_model(model):
            raise ConfigurationError(
                f"{names.model_id(model)} is no embedding model that takes batches (like gemini-embedding-001), but "
                "template= is an EmbeddingTemplate. Nothing was sent; change one of them."
            )
        if tables:
            raise ConfigurationError(
                "Embedding jobs read and write Cloud Storage only. Nothing was sent; leave out requests_dataset= and "
                "predictions_dataset=. The load brings the vectors into BigQuery."
            )
    elif "publishers/google/" in model and "embedding" in names.model_id(model):
        raise ConfigurationError(
            f"{names.model_id(model)} is an embedding model, but template= is no EmbeddingTemplate. Nothing was sent; "
            "use an EmbeddingTemplate, or a model that generates."
        )
