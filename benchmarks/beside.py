"""What others take for the same lines, what lines are made up of, and what a process holds."""

from __future__ import annotations

import json
import resource
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
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


def read_with_pandas(folder: str) -> dict[str, Any]:
    """Read the predictions in *folder* as Google's notebooks do, and return what it took.

    Every file by ``read_json``, then the candidates of each response as columns. A process that would take more than
    the machine has free is stopped there, before it takes from others; it then tells no ``rows``.
    """
    import gcsfs
    import pandas as pd

    files = gcsfs.GCSFileSystem(token="anon")
    resource.setrlimit(resource.RLIMIT_DATA, (_free(), resource.RLIM_INFINITY))
    received, idle, began = count_received(), peak(), time.monotonic()
    rows: int | None = 0
    try:
        frames = []
        for path in files.glob(f"{folder}/predictions*.jsonl*"):
            frame = pd.read_json(f"gs://{path}", lines=True, storage_options={"token": "anon"})
            frames.append(frame.join(pd.json_normalize(frame["response"], "candidates")))
        rows = len(pd.concat(frames))
    except MemoryError:
        rows = None
    took = time.monotonic() - began
    return {"rows": rows, "seconds": took, "over_idle": peak() - idle, "received": received[0]}


def _free() -> int:
    """Return the bytes of memory that the machine has left."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def count_received() -> list[int]:
    """Count every byte that a socket of this process receives from now on, asyncio's included."""
    total, receive, receive_into = [0], socket.socket.recv, socket.socket.recv_into

    def recv(self: socket.socket, *arguments: Any) -> bytes:
        data = receive(self, *arguments)
        total[0] += len(data)
        return data

    def recv_into(self: socket.socket, *arguments: Any) -> int:
        count = receive_into(self, *arguments)
        total[0] += count
        return count

    socket.socket.recv = recv  # type: ignore[assignment,method-assign]  # a meter, in this process only
    socket.socket.recv_into = recv_into  # type: ignore[assignment,method-assign]  # the same
    return total


def peak() -> int:
    """Return the most memory this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
