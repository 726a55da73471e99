"""Embedding requests: one content in, one vector of length one out."""

from __future__ import annotations

import math
from array import array
from hashlib import shake_128
from typing import Any

from airflow_batch_gemini.local.vertex.casing import camelled
from airflow_batch_gemini.local.vertex.requests import RowError
from airflow_batch_gemini.local.vertex.tokens import count_text, parts_of

DIMENSIONS = 3072


def embed(request: Any, *, seed: int) -> tuple[dict[str, Any], int]:
    """Return the response of an embedding request and the tokens it is billed for.

    :raises RowError: no content, no text in it, or a dimension that is not between 1 and 3072.
    """
    fields = camelled(request) if isinstance(request, dict) else {}
    parts = parts_of(fields.get("content"))
    text = "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    if not text:
        raise RowError("Unable to submit request because its content has no text.")
    config = fields.get("embedContentConfig", {})
    size = config.get("outputDimensionality", DIMENSIONS) if isinstance(config, dict) else None
    if not isinstance(size, int) or not 1 <= size <= DIMENSIONS:
        raise RowError(
            f"Unable to submit request because output_dimensionality is not between 1 and {DIMENSIONS}."
        )
    tokens = count_text(len(text))
    return {"embedding": {"values": _vector(text, size, seed)}, "tokenCount": str(tokens)}, tokens


def _vector(text: str, size: int, seed: int) -> list[float]:
    raw = array("h", shake_128(f"{seed}\0{text}".encode("utf-8", "replace")).digest(2 * size))
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [round(value / length, 8) for value in raw]
