"""Objects and buckets in the JSON that Google's clients read and write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from .calls import Json
from .errors import Invalid, Unsupported
from .model import WRITABLE_FIELDS, Bucket, StoredObject

_MULTI_REGIONS = {"us", "eu", "asia"}
_BUCKET_OWN = {
    "kind",
    "id",
    "name",
    "selfLink",
    "location",
    "locationType",
    "projectNumber",
    "metageneration",
    "etag",
    "timeCreated",
    "updated",
}


def object_json(stored: StoredObject, base: str) -> Json:
    """Render an object's resource; `base` is where the client found us."""
    place = f"storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='')}"
    created = stamp(stored.created)
    found: Json = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "selfLink": f"{base}/{place}",
        "mediaLink": f"{base}/download/{place}?generation={stored.generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "contentType": stored.content_type,
        "storageClass": "STANDARD",
        "size": str(stored.size),
        "etag": stored.etag,
        "timeCreated": created,
        "timeFinalized": created,
        "timeStorageClassUpdated": created,
        "updated": stamp(stored.updated),
        **stored.fields,
    }
    for key, value in (
        ("crc32c", stored.crc32c),
        ("md5Hash", stored.md5),
        ("metadata", dict(stored.metadata)),
    ):
        if value:
            found[key] = value
    if stored.components is not None:
        found["componentCount"] = stored.components
    return found


def bucket_json(bucket: Bucket, base: str) -> Json:
    """Render a bucket's resource."""
    multi = bucket.location.lower() in _MULTI_REGIONS
    return {
        "storageClass": "STANDARD",
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "inherited",
        },
        **bucket.config,
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{base}/storage/v1/b/{bucket.name}",
        "projectNumber": "0",
        "location": bucket.location.upper(),
        "locationType": "multi-region" if multi else "region",
        "metageneration": str(bucket.metageneration),
        "etag": str(bucket.metageneration),
        "timeCreated": stamp(bucket.created),
        "updated": stamp(bucket.updated),
    }


def stamp(when: datetime) -> str:
    """Write a time as Google does, in milliseconds."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"


def metadata_of(resource: Mapping[str, object], old: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read the user's own metadata out of an object resource, merged into the old: null removes one key, or all."""
    given = resource.get("metadata", {})
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Invalid("metadata: expected a map of strings")
    return {str(key): str(text) for key, text in {**(old or {}), **given}.items() if text is not None}


def fields_of(resource: Mapping[str, object]) -> dict[str, str]:
    """Read the writable fields out of an object resource."""
    return {key: str(resource[key]) for key in WRITABLE_FIELDS if resource.get(key) is not None}


def text_of(resource: Mapping[str, object], key: str) -> str | None:
    """Read a string out of a resource; absent, null and empty are None."""
    value = resource.get(key)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"{key}: expected a string")
    return value or None


def bucket_config(resource: Mapping[str, object]) -> Json:
    """Read what a client configures on a bucket. What would change how objects live is refused."""
    versioning = resource.get("versioning")
    if isinstance(versioning, dict) and versioning.get("enabled"):
        raise Unsupported(
            "The local cloud keeps no noncurrent versions of objects: versioning cannot be enabled."
        )
    namespace = resource.get("hierarchicalNamespace")
    if isinstance(namespace, dict) and namespace.get("enabled"):
        raise Unsupported("The local cloud has no buckets with a hierarchical namespace.")
    return {key: value for key, value in resource.items() if key not in _BUCKET_OWN and value is not None}
