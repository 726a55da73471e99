"""The calls on objects that carry no bytes; uploads and downloads are apart."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace

from .calls import Call, Json, Reply, json_reply
from .copying import Source, compose, copy
from .errors import Invalid
from .listing import Query
from .model import DEFAULT_CONTENT_TYPE, WRITABLE_FIELDS, Conditions, Draft, StoredObject
from .resources import fields_of, metadata_of, object_json, text_of
from .store import Storage

_MAX_RESULTS = 1000


def list_page(storage: Storage, call: Call, bucket: str) -> Reply:
    """List a page of objects and of rolled-up prefixes."""
    params = call.params
    limit = call.number("maxResults")
    found, page = storage.page(
        bucket,
        Query(
            prefix=params.get("prefix", ""),
            delimiter=params.get("delimiter", ""),
            start=max(params.get("startOffset", ""), _start(params.get("pageToken", ""))),
            end=params.get("endOffset", ""),
            glob=params.get("matchGlob", ""),
            limit=min(limit or _MAX_RESULTS, _MAX_RESULTS),
            trailing_delimiter=call.flag("includeTrailingDelimiter"),
        ),
    )
    reply: Json = {"kind": "storage#objects"}
    if found:
        reply["items"] = [object_json(stored, call.base) for stored in found]
    if page.prefixes:
        reply["prefixes"] = page.prefixes
    if page.next_start is not None:
        reply["nextPageToken"] = base64.urlsafe_b64encode(page.next_start.encode()).decode()
    return json_reply(reply)


def _start(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Invalid(f"Invalid value for parameter pageToken: {token!r}") from None


def get(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    """Return an object's resource."""
    stored = storage.stat(bucket, name, generation=call.number("generation"))
    call.conditions().require(stored, reading=True)
    return json_reply(object_json(stored, call.base))


def patch(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    """Merge into an object's metadata; null removes."""
    resource = call.json()
    return _changed(storage, call, bucket, name, lambda old: _merged(old, resource))


def update(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    """Replace all of an object's metadata that can be written."""
    resource = call.json()
    return _changed(storage, call, bucket, name, lambda old: _replaced(old, resource))


def _changed(
    storage: Storage, call: Call, bucket: str, name: str, change: Callable[[StoredObject], StoredObject]
) -> Reply:
    stored = storage.change(
        bucket, name, change, conditions=call.conditions(), generation=call.number("generation")
    )
    return json_reply(object_json(stored, call.base))


def _merged(old: StoredObject, resource: Mapping[str, object]) -> StoredObject:
    fields: Json = {**old.fields, **{key: resource[key] for key in WRITABLE_FIELDS if key in resource}}
    content_type = text_of(resource, "contentType") if "contentType" in resource else old.content_type
    return replace(
        old,
        content_type=content_type or DEFAULT_CONTENT_TYPE,
        metadata=metadata_of(resource, old.metadata),
        fields=fields_of(fields),
    )


def _replaced(old: StoredObject, resource: Mapping[str, object]) -> StoredObject:
    return replace(
        old,
        content_type=text_of(resource, "contentType") or DEFAULT_CONTENT_TYPE,
        metadata=metadata_of(resource),
        fields=fields_of(resource),
    )


def delete(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    """Delete an object."""
    storage.remove(bucket, name, conditions=call.conditions(), generation=call.number("generation"))
    return Reply(status=204)


def compose_into(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    """Concatenate the named objects of the bucket."""
    body = call.json()
    named = body.get("sourceObjects")
    resource = body.get("destination") or {}
    if not isinstance(named, list) or not isinstance(resource, dict):
        raise Invalid("compose: expected sourceObjects, a list, and destination, an object resource")
    sources = [_compose_source(bucket, source) for source in named]
    content_type = text_of(resource, "contentType")
    if content_type is None and sources:
        content_type = storage.stat(bucket, sources[0].name).content_type
    draft = Draft(
        bucket=bucket,
        name=name,
        content_type=content_type or DEFAULT_CONTENT_TYPE,
        metadata=metadata_of(resource),
        fields=fields_of(resource),
        conditions=call.conditions(),
    )
    return json_reply(object_json(compose(storage, sources, draft), call.base))


def _compose_source(bucket: str, source: object) -> Source:
    if not isinstance(source, dict) or not isinstance(source.get("name"), str):
        raise Invalid("compose: every source object needs a name")
    wanted = source.get("objectPreconditions") or {}
    try:
        generation = int(source["generation"]) if source.get("generation") else None
        match = wanted.get("ifGenerationMatch")
        conditions = Conditions(generation_match=None if match is None else int(match))
    except (ValueError, TypeError, AttributeError):
        raise Invalid("compose: generation and ifGenerationMatch are whole numbers") from None
    return Source(bucket=bucket, name=source["name"], generation=generation, conditions=conditions)


def copy_to(storage: Storage, call: Call, *places: str) -> Reply:
    """Copy an object; the reply is the new object's resource."""
    return json_reply(object_json(_copied(storage, call, *places), call.base))


def rewrite_to(storage: Storage, call: Call, *places: str) -> Reply:
    """Copy an object in one go: no client ever has to come back with a rewrite token."""
    stored = _copied(storage, call, *places)
    return json_reply(
        {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(stored.size),
            "objectSize": str(stored.size),
            "done": True,
            "resource": object_json(stored, call.base),
        }
    )


def _copied(storage: Storage, call: Call, *places: str) -> StoredObject:
    """Copy between the places of the path: source bucket and object, target bucket and object."""
    bucket, name, target_bucket, target = places
    source = Source(
        bucket=bucket,
        name=name,
        generation=call.number("sourceGeneration"),
        conditions=call.conditions(source=True),
    )
    storage.bucket(target_bucket)
    return copy(storage, source, _describe(call.json(), call.conditions(), (target_bucket, target)))


def _describe(
    resource: Mapping[str, object], conditions: Conditions, target: tuple[str, str]
) -> Callable[[StoredObject], Draft]:
    """Describe a copy: as its source, but for what the request states."""

    def describe(source: StoredObject) -> Draft:
        return Draft(
            bucket=target[0],
            name=target[1],
            content_type=text_of(resource, "contentType") or source.content_type,
            metadata=metadata_of(resource) if resource.get("metadata") else source.metadata,
            fields={**source.fields, **fields_of(resource)},
            conditions=conditions,
        )

    return describe


def move_to(storage: Storage, call: Call, bucket: str, name: str, target: str) -> Reply:
    """Rename an object within its bucket."""
    stored = storage.move(
        bucket,
        name,
        target,
        conditions=call.conditions(),
        source_conditions=call.conditions(source=True),
        generation=call.number("sourceGeneration"),
    )
    return json_reply(object_json(stored, call.base))
