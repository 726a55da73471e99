"""What the tests of the whole local cloud share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

SAMPLE_REQUEST: dict[str, Any] = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is the relation between the following video and image samples?"},
                {
                    "fileData": {
                        "fileUri": "gs://cloud-samples-data/generative-ai/video/animals.mp4",
                        "mimeType": "video/mp4",
                    }
                },
                {
                    "fileData": {
                        "fileUri": "gs://cloud-samples-data/generative-ai/image/cricket.jpeg",
                        "mimeType": "image/jpeg",
                    }
                },
            ],
        }
    ]
}
"""The request of Google's own pages."""


def as_new(cloud: LocalCloud) -> None:
    """Leave *cloud* without jobs, counts and troubles."""
    cloud.knobs(**cloud.settings.first_knobs().as_dict())
    cloud.settle()
    for job in cloud.parts.vertex.engine.jobs():
        cloud.parts.vertex.engine.forget(job.id)
    cloud.parts.admin.reset()
