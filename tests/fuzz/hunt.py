"""Look for an input that breaks what a hunt promises, for as long as there is time.

``python tests/fuzz/hunt.py rows --minutes 5`` draws inputs by seeds; with ``--coverage`` atheris makes them, led by
what they reach of the package; ``all`` goes through all hunts in both ways. What ``make test`` does for seconds,
``make torture`` does as long as it runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NoReturn

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "unit"), str(TESTS / "fuzz")]

EXAMPLES = 100
"""Inputs of one seed."""
LONGEST = 4096
"""Bytes that atheris makes of an input."""


def by_seeds(name: str, *, seconds: float, first_seed: int = 1) -> int:
    """Return how many inputs were looked at; raise what is wrong with the smallest that breaks a promise."""
    from hunts import HUNTS
    from hypothesis import HealthCheck, given, seed, settings

    hunt = HUNTS[name]
    looked, ends = 0, time.monotonic() + seconds
    for number in count(first_seed):
        if time.monotonic() >= ends:
            return looked

        @seed(number)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(hunt.inputs)
        def look(drawn: Any) -> None:
            nonlocal looked
            looked += 1
            hunt.check(drawn)

        try:
            look()
        except BaseException as error:
            error.add_note(f"again: python tests/fuzz/hunt.py {name} --seed {number}")
            raise
    raise AssertionError  # the numbers do not end


def by_coverage(name: str, *, seconds: float) -> NoReturn:
    """Hunt until the time is over, then end the process: with 0 when nothing was found."""
    import atheris

    with atheris.instrument_imports(include=["airflow_batch_gemini.batch", "airflow_batch_gemini.sql"]):
        from hunts import HUNTS
    from hypothesis import HealthCheck, given, settings

    hunt = HUNTS[name]

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hunt.inputs)
    def look(drawn: Any) -> None:
        hunt.check(drawn)

    def look_at(data: bytes) -> None:
        hunt.check(hunt.of_bytes(data)) if hunt.of_bytes else look.hypothesis.fuzz_one_input(data)

    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(hunt.seeds or _any_bytes()):
            (Path(corpus) / f"{number:05d}").write_bytes(data)
        limits = [f"-max_total_time={max(1, int(seconds))}", f"-max_len={LONGEST}", "-verbosity=0"]
        atheris.Setup([sys.argv[0], corpus, *limits], look_at)
        atheris.Fuzz()
    raise AssertionError  # it ends the process itself


def _any_bytes() -> Iterator[bytes]:
    """Yield bytes to begin with that are enough for any strategy."""
    return (Random(number).randbytes(LONGEST) for number in range(50))


def all_of_them(*, seconds: float, seed: int) -> bool:
    """Go through all hunts, each in a process that gives way to others; say whether every promise held."""
    os.nice(10)
    from hunts import HUNTS

    ways = [(name, way) for name in HUNTS for way in (["--seed", str(seed)], ["--coverage"])]
    if find_spec("atheris") is None:
        ways = [(name, way) for name, way in ways if way != ["--coverage"]]
    each = ["--minutes", str(seconds / 60 / len(ways))]
    runs = [subprocess.run([sys.executable, __file__, name, *each, *way], check=False) for name, way in ways]
    return all(run.returncode == 0 for run in runs)


def main() -> int:
    """Hunt, say what came of it, and return 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="which of tests/fuzz/hunts.py, or all")
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="stop after so many (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first one (default: %(default)s)")
    parser.add_argument("--coverage", action="store_true", help="let atheris lead")
    options = parser.parse_args()
    seconds = 60 * options.minutes
    if options.name == "all":
        return 0 if all_of_them(seconds=seconds, seed=options.seed) else 1
    if options.coverage:
        by_coverage(options.name, seconds=seconds)
    looked = by_seeds(options.name, seconds=seconds, first_seed=options.seed)
    print(f"{options.name}: {looked:,} inputs, no promise broken", flush=True)  # noqa: T201  # to a person
    return 0


if __name__ == "__main__":
    sys.exit(main())
