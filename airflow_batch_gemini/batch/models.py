"""What is known of models by their names: until when they are served, and where.

Source: Google's pages "Model versions and lifecycle" and "Deployments and endpoints". Dates and places change, so what
is said here is a warning and never a refusal.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping

from airflow_batch_gemini.batch.lint import RULES, Finding
from airflow_batch_gemini.batch.names import MULTI_REGIONS, model_id

RETIRED: Mapping[str, dt.date] = {
    name: dt.date(2026, 10, 20) for name in ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")
}
"""The last day of a model."""
EVERYWHERE_ONLY = frozenset({"gemini-3.5-flash-lite", "gemini-3.6-flash", "gemini-3.7-flash"})
"""Models that no region serves, only ``global``, ``us`` and ``eu``."""
_VERSION = re.compile(r"(?:@[A-Za-z0-9.-]+|-[0-9]{3})$")


def lint_model(model: str, *, location: str | None, today: dt.date) -> Iterator[Finding]:
    """Yield what is known to keep a job of this model from running.

    :param location: where it is to run; ``None``: not said.
    """
    name = _VERSION.sub("", model_id(model))
    last = RETIRED.get(name)
    if last is not None and today > last:
        yield Finding(rule=RULES["GB141"], path=name, detail=f"served until {last.isoformat()}")
    if location is not None and name in EVERYWHERE_ONLY and location.lower() not in MULTI_REGIONS:
        yield Finding(rule=RULES["GB142"], path=name, detail=f"not in {location}")
