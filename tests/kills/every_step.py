"""Kill at every step, print the table, and write down what came of it: ``python every_step.py FILE``."""

from __future__ import annotations

import warm  # isort: skip  # before anything of Airflow

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import judge
from cloud import Cloud
from plans import BADLY_PUBLISHED, BIGQUERY, LATE_POST, PAIRS, STORAGE, TROUBLED, UNFENCED
from run import each_step, recorded, seeds, tell_and_judge
from stories import clean

SEEDS = 4
"""Stories by chance in each world."""


def main(target: Path) -> None:
    """Tell all stories of CI."""
    warm.up()
    try:
        with Cloud(warm.HOME / "cloud") as cloud:
            found = _told(cloud)
    finally:
        warm.down()
    target.write_text(json.dumps(found))


def _told(cloud: Cloud) -> dict[str, Any]:
    verdicts, missing, paths = [], [], {}
    for world in (STORAGE, BIGQUERY):
        paths[world.medium] = recorded(cloud, world)
        told, left = each_step(cloud, world, paths[world.medium])
        verdicts += told
        missing += left
    for number, world in enumerate((*TROUBLED, *PAIRS)):
        first = SEEDS * number
        verdicts += seeds(cloud, world, paths[world.medium], range(first, first + SEEDS))
    return {
        "table": judge.table(verdicts),
        "bad": judge.named(verdicts),
        "kills": sum(verdict.kills for verdict in verdicts),
        "missing": missing,
        "unfenced": asdict(*tell_and_judge(cloud, UNFENCED, [LATE_POST])),
        "badly published": asdict(*tell_and_judge(cloud, BADLY_PUBLISHED, [clean("badly-published")])),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
