"""What checking a request file costs, beside others that only read the same lines, and its memory.

Lines of some 435 bytes, made up beforehand, go through the linter a thousand at a time; then plain ``json`` decodes
them, and the pydantic types of ``google.genai`` validate the first of them. Each number of rows has a process of its
own; the peak is over what it had with the lines of one batch. "One shape" is the file of one template; "numbers" has a
number that changes from line to line, "chats" a different number of turns.

    python benchmarks/lint.py [ROWS ...]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import orjson
from beside import WORDS, others, peak

ROWS = (100_000, 1_000_000, 2_000_000)
BATCH = 1000
SAMPLE = 20_000
MEGA = 1_000_000
LABELS = {
    "type": "OBJECT",
    "properties": {"topic": {"type": "STRING"}, "tone": {"type": "STRING"}},
    "propertyOrdering": ["topic", "tone"],
}
KINDS = ("one shape", "numbers", "chats")


def batches(rows: int, kind: str) -> Iterator[list[bytes]]:
    """Yield the lines of a file; making them up is not what is measured."""
    chance = random.Random(rows)
    config = {"responseMimeType": "application/json", "responseSchema": LABELS}
    for start in range(0, rows, BATCH):
        lines = []
        for row in range(start, min(start + BATCH, rows)):
            text = " ".join(chance.choices(WORDS, k=chance.randint(10, 30)))
            turn = {"role": "user", "parts": [{"text": f"What is Item {row}?\n\n{text}"}]}
            turns = [turn] * (1 + row % 5) if kind == "chats" else [turn]
            numbered = {**config, "seed": row} if kind == "numbers" else config
            request = {"contents": turns, "generationConfig": numbered}
            lines.append(orjson.dumps({"key": f"k_row-{row:08d}", "request": request}) + b"\n")
        yield lines


def lint(rows: int, kind: str) -> None:
    """Lint so many rows, and print what it took and what others take."""
    from airflow_batch_gemini.batch.lint_lines import LineLinter

    linter, seconds, size = LineLinter(), 0.0, 0
    idle = 0
    for lines in batches(rows, kind):
        idle = idle or peak()
        size += sum(map(len, lines))
        began = time.perf_counter()
        if [*linter.take(lines)]:
            raise RuntimeError("a good line was found bad")
        seconds += time.perf_counter() - began
    if any(found.rule.severity == "error" for found in linter.finish()):
        raise RuntimeError("a good file was found bad")
    found = {"size": size, "seconds": seconds, "over_idle": peak() - idle}
    print(json.dumps({**found, **others([line for some in batches(SAMPLE, kind) for line in some])}))


def main(sizes: list[int]) -> None:
    """Print one line a size and kind of file."""
    print(
        f"{'rows':>9} {'file':>10} {'size':>8} {'lint':>10} {'json decodes':>13} {'ratio':>6}"
        f"{'pydantic':>10} {'ratio':>6} {'memory over idle':>17}"
    )
    for rows in sizes:
        for kind in KINDS:
            command = [sys.executable, __file__, "--lint", str(rows), kind]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout)
            speed = found["size"] / found["seconds"]
            print(
                f"{rows:>9,} {kind:>10} {found['size'] / MEGA:>5.0f} MB {speed / MEGA:>5.0f} MB/s "
                f"{found['json'] / MEGA:>8.0f} MB/s {speed / found['json']:>6.2f} "
                f"{found['pydantic'] / MEGA:>4.0f} MB/s {speed / found['pydantic']:>6.1f} "
                f"{found['over_idle'] / MEGA:>14.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--lint", count, kind_of_file]:
            lint(int(count), kind_of_file)
        case counts:
            main([int(count.replace("_", "")) for count in counts] or list(ROWS))
