"""What Airflow finds when it looks for providers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import airflow
import jsonschema
import pytest

import airflow_batch_gemini
from airflow_batch_gemini import get_provider_info

INFO = get_provider_info()


def test_the_provider_info_fits_airflows_own_schema() -> None:
    """Airflow drops a provider whose info does not validate."""
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_every_module_it_names_can_be_imported(kind: str) -> None:
    """A renamed module must be renamed here too."""
    for entry in INFO[kind]:
        for module in entry["python-modules"]:
            importlib.import_module(module)


def test_the_extra_link_it_names_exists() -> None:
    """The API server imports it to render the task's links."""
    for path in INFO["extra-links"]:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_the_task_decorator_it_names_exists() -> None:
    """Airflow imports it when a DAG file says ``task.gemini_batch``."""
    for entry in INFO["task-decorators"]:
        module, _, name = entry["class-name"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_template_is_at_hand_at_the_top_of_the_package() -> None:
    """A DAG file imports it from the package itself."""
    assert airflow_batch_gemini.GeminiTemplate.__name__ == "GeminiTemplate"
    with pytest.raises(AttributeError):
        _ = airflow_batch_gemini.nothing
