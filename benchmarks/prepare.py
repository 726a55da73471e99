"""What preparing through the worker costs: its speed beside others that only read the same lines, and its memory.

The local cloud runs in a process of its own and each preparation in another. A preparation reads JSONL from Cloud
Storage, or takes as many rows from a generator, checks every row and key, renders the requests (some 435 bytes each),
lints and uploads them. Then the same process decodes the first of the lines that were made with plain ``json``, and
validates them with the pydantic types of ``google.genai``; both only that, from memory. The start of Google's client
counts for memory and not for speed; what else a worker imports once it runs the operator counts for both.

The second ratio is that of the processor time of the preparing process, all its threads together: it says the same
while other programs use the machine, where the first one, by the clock, suffers from sharing two processors with the
local cloud and with them.

    python benchmarks/prepare.py [ROWS ...]
"""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from beside import WORDS, others, peak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_batch_gemini.local.server import LocalCloud

ROWS = (100_000, 1_000_000, 2_000_000)
KEYS = 2_000_000
TEXTS = 10_007
SAMPLE = 20_000
"""Lines that plain ``json`` and pydantic read."""
BUCKET = "bench-bucket"
MEGA = 1_000_000


# ------------------------------------------------------------------------------------ the process of the local cloud


def serve(data_dir: str) -> None:
    """Start a local cloud; for every number of rows on stdin lay out a file of them, and say so on stdout."""
    from airflow_batch_gemini.local.server import LocalCloud
    from airflow_batch_gemini.local.settings import Settings

    with LocalCloud(Settings(data_dir=Path(data_dir), bucket=BUCKET, project="demo")) as cloud:
        print(json.dumps(cloud.environment()), flush=True)
        for asked in sys.stdin:
            print(lay_out(cloud, int(asked)), flush=True)


def lay_out(cloud: LocalCloud, rows: int) -> str:
    """Write a file of *rows* rows and return its URI."""
    name = f"rows/{rows}.jsonl"
    with cloud.parts.storage.writer(BUCKET, name) as file:
        for line in made_up(rows):
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return f"gs://{BUCKET}/{name}"


def made_up(rows: int) -> Iterator[dict[str, Any]]:
    """Yield the rows that a file of so many has."""
    texts = all_texts()
    for row in range(rows):
        yield {"key": f"row-{row:08d}", "name": f"Item {row}", "text": texts[row % TEXTS], "unused": row}


@functools.cache
def all_texts() -> list[str]:
    """Make up the texts of the rows beforehand: it takes longer than preparing requests of them."""
    chance = random.Random(TEXTS)
    return [" ".join(chance.choices(WORDS, k=chance.randint(10, 30))) for _ in range(TEXTS)]


# -------------------------------------------------------------------------------------- the process of a preparation


def prepare(source: str) -> None:
    """Prepare one file, or the rows of a generator, and print what it took, and what others take."""
    from airflow.sdk.listener import get_listener_manager

    from airflow_batch_gemini import GeminiTemplate
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

    labels = {"type": "object", "properties": {"topic": {"type": "string"}, "tone": {"type": "string"}}}
    operator = GeminiBatchPrepareOperator(
        task_id="prepare",
        **rows_of(source),
        template=GeminiTemplate(prompt="What is {name}?\n\n{text}", response_schema=labels),
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri=f"gs://{BUCKET}/gemini",
    )
    ti = SimpleNamespace(dag_id="bench", run_id=source, task_id="prepare", map_index=-1, id="1")
    all_texts()
    get_listener_manager()  # as the task runner does before any task: it loads the plugins
    idle = peak()
    warm_up()
    began, cpu = time.perf_counter(), time.process_time()
    context: Any = {"ti": ti}
    ref = operator.execute(context)[0]
    took, busy = time.perf_counter() - began, time.process_time() - cpu
    over_idle = peak() - idle
    found = {"rows": ref["rows"], "size": ref["size"], "seconds": took, "cpu": busy, "over_idle": over_idle}
    print(json.dumps({**found, **others(list(first_lines(ref["workspace"])))}))


def rows_of(source: str) -> dict[str, Any]:
    """Return the argument that says where the rows come from: a file, or for a bare number the generator."""
    return {"rows": made_up, "op_args": [int(source)]} if source.isdecimal() else {"source_uri": source}


def warm_up() -> None:
    """Load Google's client and make its connection: seconds that do not depend on the rows."""
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    WorkspaceHook().bucket_location(BUCKET)


def first_lines(workspace: str) -> Iterator[bytes]:
    """Read the first lines of the first part back."""
    import io

    from airflow_batch_gemini.batch.names import GcsUri
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    with WorkspaceHook().reader(GcsUri.parse(workspace) / "requests/part-00000.jsonl") as stream:
        for _, line in zip(range(SAMPLE), io.BufferedReader(stream), strict=False):  # type: ignore[type-var]
            yield line


def remember_keys() -> None:
    """Remember many keys, look for a double, and print what it took."""
    from airflow_batch_gemini.batch.keys import KeyMemory

    idle, began, memory = peak(), time.perf_counter(), KeyMemory()
    for start in range(0, KEYS, 1000):
        memory.add([f"row-{row:012d}" for row in range(start, start + 1000)])
    if memory.suspects():
        raise RuntimeError("keys that are all different were suspected")
    print(json.dumps({"seconds": time.perf_counter() - began, "over_idle": peak() - idle}))


# ---------------------------------------------------------------------------------------------------- the table


def main(sizes: list[int]) -> None:
    """Print one line a size."""
    with tempfile.TemporaryDirectory(prefix="prepare-bench-") as folder:
        command = [sys.executable, __file__, "--serve", f"{folder}/cloud"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cloud:
            if cloud.stdin is None or cloud.stdout is None:
                raise RuntimeError("the local cloud has no pipes")
            environment = {**os.environ, **json.loads(cloud.stdout.readline()), "AIRFLOW_HOME": folder}
            print(
                f"{'rows':>9} {'from':>9} {'requests':>9} {'prepare':>10} {'json decodes':>13} {'ratio':>6} "
                f"{'by CPU':>7} {'pydantic':>9} {'ratio':>6} {'by CPU':>7} {'memory over idle':>17}"
            )
            seen: dict[str, list[dict[str, Any]]] = {"file": [], "function": []}
            for rows in sizes:
                print(rows, file=cloud.stdin, flush=True)
                for source, said in ("file", cloud.stdout.readline().strip()), ("function", str(rows)):
                    seen[source].append(child(environment, "--prepare", said))
                    report(rows, source, seen[source][-1])
            cloud.stdin.close()
        for source, found in seen.items():
            report_growth(source, found)
        keys = child(os.environ, "--keys")
        print(f"{KEYS:,} keys: {keys['over_idle'] / MEGA:.0f} MB over idle, {keys['seconds']:.1f} s")


def report(rows: int, source: str, found: dict[str, Any]) -> None:
    """Print the line of one preparation."""
    if found["rows"] != rows:
        raise RuntimeError(f"{rows} rows were to be prepared, not {found['rows']}")
    speed, busy = found["size"] / found["seconds"], found["size"] / found["cpu"]
    print(
        f"{rows:>9,} {source:>9} {found['size'] / MEGA:>6.0f} MB {speed / MEGA:>5.0f} MB/s "
        f"{found['json'] / MEGA:>8.0f} MB/s {speed / found['json']:>6.2f} {busy / found['json_cpu']:>7.2f} "
        f"{found['pydantic'] / MEGA:>4.0f} MB/s {speed / found['pydantic']:>6.1f} "
        f"{busy / found['pydantic_cpu']:>7.1f} "
        f"{found['over_idle'] / MEGA:>14.0f} MB",
        flush=True,
    )


def report_growth(source: str, found: list[dict[str, Any]]) -> None:
    """Print what takes as long however many rows there are, and at what speed what more rows have is prepared."""
    speeds = [
        (more["size"] - fewer["size"]) / (more["seconds"] - fewer["seconds"])
        for fewer, more in pairwise(found)
    ]
    if speeds:
        once = found[0]["seconds"] - found[0]["size"] / speeds[0]
        more = ", ".join(
            f"{speed / MEGA:.0f} MB/s up to {one['rows']:,} rows"
            for speed, one in zip(speeds, found[1:], strict=True)
        )
        print(f"from a {source}: {once:.2f} s once, and then {more}")


def child(environment: Any, *arguments: str) -> dict[str, Any]:
    """Run this file again and return what its last line says."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", data_dir]:
            serve(data_dir)
        case ["--prepare", source]:
            prepare(source)
        case ["--keys"]:
            remember_keys()
        case sizes:
            main([int(size.replace("_", "")) for size in sizes] or list(ROWS))
