"""Look for a template and rows of which Python, GoogleSQL and the local BigQuery make different requests.

What ``make test`` does for a few seconds, for as long as there is time: ``python tests/rendering_hunt.py --minutes 5``.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import count
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "unit")]

from bigquery_engine import Engine  # noqa: E402  # found by the line above, as all of these
from hypothesis import HealthCheck, given, seed, settings  # noqa: E402
from template_cases import Case, cases  # noqa: E402
from test_sql_prepare import Judge, check_alike  # noqa: E402

CASES = 100
"""Cases of one seed."""


def hunt(*, seconds: float, first_seed: int = 1) -> int:
    """Return how many cases were looked at; raise what is wrong with the smallest that is.

    A seed that fails does so again: ``--seed``.
    """
    judge, engine = Judge(), Engine()
    looked, ends = 0, time.monotonic() + seconds
    for number in count(first_seed):
        if time.monotonic() >= ends:
            break

        @seed(number)
        @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(cases(max_rows=4))
        def look(case: Case) -> None:
            nonlocal looked
            looked += 1
            check_alike(judge, engine, case)

        try:
            look()
        except BaseException as error:
            error.add_note(f"again: python tests/rendering_hunt.py --seed {number}")
            raise
    engine.close()
    return looked


def main() -> None:
    """Hunt, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="stop after so many (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first one (default: %(default)s)")
    options = parser.parse_args()
    looked = hunt(seconds=60 * options.minutes, first_seed=options.seed)
    print(f"{looked:,} cases, all alike")  # noqa: T201  # it speaks to a person


if __name__ == "__main__":
    main()
