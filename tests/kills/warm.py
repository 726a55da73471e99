"""Make this process one from which attempts can be forked at once: everything imported, no thread, no connection.

``import warm`` comes first: it points Airflow to a home of its own before anything of Airflow is imported.
"""

from __future__ import annotations

import gc
import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.mkdtemp(prefix="kills-"))
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from surroundings import begin_anew  # noqa: E402  # found by the line above

begin_anew(str(HOME / "airflow"))
# Google's BigQuery client imports these where it finds them. Nothing here needs them, and they bring threads along.
_modules: dict[str, Any] = sys.modules
_modules |= dict.fromkeys(("pandas", "pyarrow", "numpy"))


def up() -> None:
    """Import what every attempt needs."""
    import deaths
    import google.cloud.aiplatform_v1
    import google.cloud.bigquery
    import google.cloud.storage  # noqa: F401
    from airflow.providers.standard.triggers import temporal  # noqa: F401

    from airflow_batch_gemini.operators import load, prepare, submit  # noqa: F401

    deaths.hooks()
    _freeze()


def learn(modules: Iterable[str]) -> None:
    """Import what an attempt had to import itself, so that the next one need not."""
    fresh = [name for name in modules if name not in sys.modules]
    for name in fresh:
        with suppress(ImportError):
            importlib.import_module(name)
    if fresh:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()  # what is there now is never looked at again, so that parent and children share it


def down() -> None:
    """Take the home away."""
    shutil.rmtree(HOME, ignore_errors=True)
