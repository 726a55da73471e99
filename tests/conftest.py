"""What the tests share: an Airflow home of their own, and one local cloud a process."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import settings
from surroundings import begin_anew

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

ROOT = Path(__file__).parents[1]
HOME = tempfile.mkdtemp(prefix="airflow-batch-gemini-")

begin_anew(HOME, AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"))
sys.path[:0] = [str(ROOT / "dags"), str(ROOT / "scripts")]

LOCATION = "us-central1"

# What decides over a change must decide the same tomorrow; at a desk every run looks elsewhere.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


LONGEST = (
    *("test_repair_resumed", "test_repair", "test_group_runs", "test_publish", "test_runs"),
    *("test_load_typed", "test_load_hostile", "test_repair_rounds"),
)
"""Files that take the better part of a minute and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker ends alone with one of them."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


# Every hook makes clients of its own, and each of them proves the primes of the one key that the local cloud gave out.
serialization.load_pem_private_key = functools.lru_cache(serialization.load_pem_private_key)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through Airflow and Google's clients every few statements."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def pytest_unconfigure() -> None:
    """Take the Airflow home away again, and let everything go at the end."""
    gc.unfreeze()
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the tables that tests recorded, whichever process they ran in."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "table" and report.when == "call":
                    terminalreporter.section(report.nodeid.partition("::")[0])
                    terminalreporter.write_line(str(value))


@pytest.fixture(scope="session")
def session_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud for everybody; ask for ``cloud`` to have clients pointed to it."""
    from airflow_batch_gemini.local.server import LocalCloud
    from airflow_batch_gemini.local.settings import Settings

    with LocalCloud(Settings(data_dir=tmp_path_factory.mktemp("cloud"), location=LOCATION)) as cloud:
        # A few rows are not worth handing from thread to thread.
        with cloud.parts.warehouse.session() as session:
            session.execute("SET threads = 1")
        yield cloud


@pytest.fixture
def cloud(session_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """The local cloud with its first knobs, the environment pointing there; project ``demo``."""
    for name, value in session_cloud.environment().items():
        monkeypatch.setenv(name, value)
    before = session_cloud.knobs()
    yield session_cloud
    session_cloud.knobs(**before)


@pytest.fixture
def bucket(cloud: LocalCloud) -> str:
    """The name of an empty bucket of this test's own."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    cloud.parts.storage.create_bucket(name, location=LOCATION, project="demo")
    return name


@pytest.fixture
def dataset(cloud: LocalCloud) -> str:
    """``demo.<name>`` of an empty dataset of this test's own."""
    name = f"dataset_{uuid.uuid4().hex[:12]}"
    cloud.parts.warehouse.create_dataset("demo", name, location=LOCATION)
    return f"demo.{name}"


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's metadata database, empty."""
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
