"""What others take for the same lines, what lines are made up of, and what a process holds."""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

PASSES = 5
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    '"jumps"',
    "over",
    "a",
    "dog",
    "žluťoučký",
    "kůň",
    "pěl\n",
    "ďábelské",
    "😀",
]
"""What texts are made up of: words that have to be escaped among others."""


def others(lines: Sequence[bytes]) -> dict[str, float]:
    """Return bytes a second at which ``json`` decodes and ``google.genai`` validates request lines: the median pass.

    By the clock, and as ``json_cpu`` and ``pydantic_cpu`` by the processor's time.
    """
    from google.genai.types import Content, GenerateContentConfig

    size = sum(map(len, lines))

    def validate(line: bytes) -> None:
        request = json.loads(line)["request"]
        for content in request["contents"]:
            Content.model_validate(content)
        GenerateContentConfig.model_validate(request["generationConfig"])

    def speeds(read: Callable[[bytes], Any]) -> tuple[float, float]:
        passes = []
        for _ in range(PASSES):
            began, cpu = time.perf_counter(), time.process_time()
            for line in lines:
                read(line)
            passes.append((time.perf_counter() - began, time.process_time() - cpu))
        wall, busy = (statistics.median(one) for one in zip(*passes, strict=True))
        return size / wall, size / busy

    decoding, validating = speeds(json.loads), speeds(validate)
    return {
        "json": decoding[0],
        "json_cpu": decoding[1],
        "pydantic": validating[0],
        "pydantic_cpu": validating[1],
    }


def peak() -> int:
    """Return the most memory this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
