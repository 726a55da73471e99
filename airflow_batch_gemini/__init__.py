"""Gemini batch inference on Vertex AI inside Airflow pipelines: paid once, every row accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.embedding import EmbeddingTemplate
    from airflow_batch_gemini.batch.repair import RepairPolicy
    from airflow_batch_gemini.batch.request import GeminiTemplate, Media, Turn

__version__ = "0.1.0"
__all__ = [
    "EmbeddingTemplate",
    "GeminiTemplate",
    "Media",
    "RepairPolicy",
    "Turn",
    "__version__",
    "get_provider_info",
]

_INTEGRATION = "Gemini batch inference on Vertex AI"


def __getattr__(name: str) -> Any:
    """Load the names of a DAG file's head on first use: Airflow's provider discovery needs none of them."""
    if name in {"GeminiTemplate", "Media", "Turn"}:
        from airflow_batch_gemini.batch import request

        return getattr(request, name)
    if name == "EmbeddingTemplate":
        from airflow_batch_gemini.batch import embedding

        return embedding.EmbeddingTemplate
    if name == "RepairPolicy":
        from airflow_batch_gemini.batch import repair

        return repair.RepairPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_provider_info() -> dict[str, Any]:
    """Tell Airflow what this package provides (entry point ``apache_airflow_provider``)."""

    def modules(*names: str) -> list[dict[str, Any]]:
        return [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [f"{__name__}.{name}" for name in names],
            }
        ]

    return {
        "package-name": "airflow-batch-gemini",
        "name": "Gemini Batch",
        "description": "Gemini batch inference on Vertex AI: rows in, answers in BigQuery, paid once.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-gemini",
                "tags": ["google", "ai"],
            }
        ],
        "operators": modules(
            "operators.prepare",
            "operators.submit",
            "operators.load",
            "operators.repair",
            "operators.publish",
            "operators.cancel",
        ),
        "sensors": modules("sensors.job"),
        "hooks": modules("hooks.gemini_batch", "hooks.workspace", "hooks.warehouse"),
        "triggers": modules("triggers.job", "triggers.warehouse"),
        "task-decorators": [
            {"name": "gemini_batch", "class-name": f"{__name__}.decorators.gemini_batch.gemini_batch_task"}
        ],
        "extra-links": [f"{__name__}.links.job.GeminiBatchJobLink"],
    }
