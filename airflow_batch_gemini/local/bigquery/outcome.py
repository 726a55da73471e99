"""What a job leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .records import Table


@dataclass(slots=True)
class Outcome:
    """What a job leaves behind: its statistics, its result table, the statements of a script."""

    statistics: dict[str, Any] = field(default_factory=dict)
    result: Table | None = None
    select: bool = False
    errors: Sequence[Mapping[str, str]] = ()
    children: list[dict[str, Any]] = field(default_factory=list)
