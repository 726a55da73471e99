"""What others take for the same lines, and what a process holds."""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

PASSES = 5


def others(lines: Sequence[bytes]) -> dict[str, float]:
    """Return bytes a second at which ``json`` decodes and ``google.genai`` validates request lines: the median pass."""
    from google.genai.types import Content, GenerateContentConfig

    size = sum(map(len, lines))

    def validate(line: bytes) -> None:
        request = json.loads(line)["request"]
        for content in request["contents"]:
            Content.model_validate(content)
        GenerateContentConfig.model_validate(request["generationConfig"])

    def speed(read: Callable[[bytes], Any]) -> float:
        passes = []
        for _ in range(PASSES):
            began = time.perf_counter()
            for line in lines:
                read(line)
            passes.append(time.perf_counter() - began)
        return size / statistics.median(passes)

    return {"json": speed(json.loads), "pydantic": speed(validate)}


def peak() -> int:
    """Return the most memory this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
