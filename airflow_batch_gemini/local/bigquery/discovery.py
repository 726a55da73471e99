"""The discovery document: the methods that are served here, and no others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NAMES = {"project": "projectId", "dataset": "datasetId", "table": "tableId", "job": "jobId"}
_SCHEMAS = ("Dataset", "Job", "QueryRequest", "Table", "TableDataInsertAllRequest")
_QUERY: dict[str, tuple[str, ...]] = {
    "datasets.list": ("maxResults", "pageToken", "all", "filter"),
    "datasets.delete": ("deleteContents",),
    "datasets.get": ("accessPolicyVersion", "datasetView"),
    "tables.list": ("maxResults", "pageToken"),
    "tables.get": ("selectedFields", "view"),
    "tables.patch": ("autodetect_schema",),
    "tables.update": ("autodetect_schema",),
    "tabledata.list": ("maxResults", "pageToken", "selectedFields", "startIndex", "formatOptions.useInt64Timestamp"),
    "jobs.list": (
        "allUsers", "maxResults", "pageToken", "projection", "stateFilter", "parentJobId", "minCreationTime",
        "maxCreationTime",
    ),
    "jobs.get": ("location",),
    "jobs.cancel": ("location",),
    "jobs.delete": ("location",),
    "jobs.getQueryResults": (
        "location", "maxResults", "pageToken", "startIndex", "timeoutMs", "formatOptions.useInt64Timestamp",
    ),
    "projects.list": ("maxResults", "pageToken"),
}  # fmt: skip
_INTEGERS = frozenset({"maxResults", "timeoutMs"})
_BOOLEANS = frozenset(
    {"deleteContents", "allUsers", "all", "formatOptions.useInt64Timestamp", "autodetect_schema"}
)
_REPEATED = frozenset({"stateFilter"})


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API: where it is found and what it takes."""

    resource: str
    name: str
    verb: str
    path: str
    request: str | None = None


def document(base: str, methods: Sequence[Method]) -> dict[str, Any]:
    """Render the discovery document for a server at this address."""
    resources: dict[str, dict[str, Any]] = {}
    for method in methods:
        resources.setdefault(method.resource, {"methods": {}})["methods"][method.name] = _method(method)
    return {
        "kind": "discovery#restDescription",
        "id": "bigquery:v2",
        "name": "bigquery",
        "version": "v2",
        "title": "BigQuery API (local stand-in)",
        "description": "The part of the BigQuery API that the local cloud serves.",
        "protocol": "rest",
        "rootUrl": base,
        "servicePath": "bigquery/v2/",
        "basePath": "/bigquery/v2/",
        "baseUrl": f"{base}bigquery/v2/",
        "batchPath": "batch/bigquery/v2",
        "auth": {
            "oauth2": {"scopes": {"https://www.googleapis.com/auth/bigquery": {"description": "BigQuery"}}}
        },
        "parameters": {
            name: {"type": "string", "location": "query"}
            for name in ("alt", "fields", "key", "prettyPrint", "quotaUser", "userIp")
        },
        "schemas": {
            name: {"id": name, "type": "object", "additionalProperties": {"type": "any"}}
            for name in (*_SCHEMAS, "Reply")
        },
        "resources": resources,
    }


def _method(method: Method) -> dict[str, Any]:
    path_names = re.findall(r"{(\w+)}", method.path)
    parameters: dict[str, Any] = {
        _NAMES[name]: {"type": "string", "location": "path", "required": True} for name in path_names
    }
    for name in _QUERY.get(f"{method.resource}.{method.name}", ()):
        kind = "integer" if name in _INTEGERS else "boolean" if name in _BOOLEANS else "string"
        parameters[name] = {"type": kind, "location": "query"}
        if name in _REPEATED:
            parameters[name]["repeated"] = True
    path = re.sub(r"{(\w+)}", lambda found: f"{{+{_NAMES[found[1]]}}}", method.path)
    described: dict[str, Any] = {
        "id": f"bigquery.{method.resource}.{method.name}",
        "path": path,
        "httpMethod": method.verb,
        "parameters": parameters,
        "parameterOrder": [_NAMES[name] for name in path_names],
    }
    if method.verb != "DELETE":
        described["response"] = {"$ref": "Reply"}
    if method.request is not None:
        described["request"] = {"$ref": method.request}
    if described["id"] == "bigquery.jobs.insert":
        protocols = {
            kind: {"multipart": True, "path": f"/{prefix}bigquery/v2/{path}"}
            for kind, prefix in (("simple", "upload/"), ("resumable", "resumable/upload/"))
        }
        described |= {"supportsMediaUpload": True, "mediaUpload": {"accept": ["*/*"], "protocols": protocols}}
    return described
