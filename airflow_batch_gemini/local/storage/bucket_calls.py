"""The calls on buckets."""

from __future__ import annotations

from dataclasses import replace

from .calls import Call, Json, Reply, json_reply
from .errors import Invalid, NotFound, PreconditionFailed
from .model import DEFAULT_PROJECT, Bucket
from .resources import bucket_config, bucket_json, text_of
from .store import Storage


def insert(storage: Storage, call: Call) -> Reply:
    """Create a bucket in the project of the query."""
    resource = call.json()
    name = text_of(resource, "name")
    if name is None:
        raise Invalid("Required parameter: name")
    bucket = storage.create_bucket(
        name,
        # Google's default for a bucket made without a location is the US.
        location=text_of(resource, "location") or "US",
        project=call.params.get("project", DEFAULT_PROJECT),
        config=bucket_config(resource),
    )
    return json_reply(bucket_json(bucket, call.base))


def list_all(storage: Storage, call: Call) -> Reply:
    """List buckets by name, in pages; a local cloud has one owner, so every project sees all."""
    prefix, token = call.params.get("prefix", ""), call.params.get("pageToken", "")
    limit = call.number("maxResults") or 1000
    found = [
        bucket for bucket in storage.buckets() if bucket.name.startswith(prefix) and bucket.name >= token
    ]
    page: Json = {
        "kind": "storage#buckets",
        "items": [bucket_json(bucket, call.base) for bucket in found[:limit]],
    }
    if len(found) > limit:
        page["nextPageToken"] = found[limit].name
    return json_reply(page)


def get(storage: Storage, call: Call, name: str) -> Reply:
    """Return one bucket."""
    bucket = storage.bucket(name)
    _require(bucket, call)
    return json_reply(bucket_json(bucket, call.base))


def update(storage: Storage, call: Call, name: str) -> Reply:
    """Replace a bucket's configuration."""
    config = bucket_config(call.json())

    def changed(bucket: Bucket) -> Bucket:
        _require(bucket, call)
        return replace(bucket, config=config)

    return json_reply(bucket_json(storage.change_bucket(name, changed), call.base))


def patch(storage: Storage, call: Call, name: str) -> Reply:
    """Merge into a bucket's configuration; null removes."""
    resource = call.json()
    config = bucket_config(resource)

    def changed(bucket: Bucket) -> Bucket:
        _require(bucket, call)
        kept = {key: value for key, value in bucket.config.items() if key not in resource}
        labels = resource.get("labels")
        if isinstance(labels, dict):
            old = bucket.config.get("labels")
            both = {**(old if isinstance(old, dict) else {}), **labels}
            config["labels"] = {key: value for key, value in both.items() if value is not None}
        return replace(bucket, config={**kept, **config})

    return json_reply(bucket_json(storage.change_bucket(name, changed), call.base))


def delete(storage: Storage, call: Call, name: str) -> Reply:
    """Delete an empty bucket."""
    _require(storage.bucket(name), call)
    storage.delete_bucket(name)
    return Reply(status=204)


def layout(storage: Storage, call: Call, name: str) -> Reply:
    """Tell a client that this is a flat bucket."""
    resource = bucket_json(storage.bucket(name), call.base)
    return json_reply(
        {
            "kind": "storage#storageLayout",
            "bucket": name,
            "location": resource["location"],
            "locationType": resource["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }
    )


def no_folders(storage: Storage, call: Call, name: str) -> Reply:
    """Tell a client that a flat bucket has no folders of its own."""
    storage.bucket(name)
    return json_reply({"kind": f"storage#{call.path[2]}", "items": []})


def no_folder(storage: Storage, _call: Call, name: str, folder: str) -> Reply:
    """Tell a client that this folder, as any, does not exist."""
    storage.bucket(name)
    raise NotFound(f"No such folder: {name}/{folder}")


def service_account(_storage: Storage, _call: Call, project: str) -> Reply:
    """Name the account by which Cloud Storage would act for a project."""
    email = f"service-{project}@gs-project-accounts.iam.gserviceaccount.com"
    return json_reply({"kind": "storage#serviceAccount", "email_address": email})


def _require(bucket: Bucket, call: Call) -> None:
    wanted = call.conditions()
    if wanted.metageneration_match not in (None, bucket.metageneration) or (
        wanted.metageneration_not_match == bucket.metageneration
    ):
        raise PreconditionFailed("At least one of the pre-conditions you specified did not hold.")
