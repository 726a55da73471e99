"""Which buckets a job may read and write."""

from __future__ import annotations

from airflow_batch_gemini.local.storage.errors import NotFound as NoBucket
from airflow_batch_gemini.local.storage.store import Storage

from .errors import NotFound, invalid

_AREAS = {"us": "us", "eu": "europe"}


def check_bucket(storage: Storage, uri: str, location: str) -> None:
    """Require a bucket that lies where the job runs, or in its multi-region."""
    bucket = uri.removeprefix("gs://").partition("/")[0]
    if not uri.startswith("gs://") or not bucket:
        raise invalid(f"Invalid source URI: {uri}. Expected gs://bucket/object")
    try:
        home = storage.bucket_location(bucket).lower()
    except NoBucket:
        raise NotFound(f"Not found: Bucket {bucket}") from None
    here = location.lower()
    fits = home == here or any(
        one in _AREAS and other.startswith(_AREAS[one]) for one, other in ((home, here), (here, home))
    )
    if not fits:
        raise invalid(
            f"Cannot read and write in different locations: source: {home}, destination: {location}"
        )
