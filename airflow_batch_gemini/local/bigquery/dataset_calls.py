"""The API's datasets and projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .calls import Call, Reply, page_token, patched
from .errors import invalid, unsupported
from .resources import SERVICE_ACCOUNT, dataset_resource, dataset_summary
from .warehouse import Warehouse

_OPTIONS = frozenset(
    {
        "description",
        "friendlyName",
        "labels",
        "defaultTableExpirationMs",
        "defaultPartitionExpirationMs",
        "maxTimeTravelHours",
    }
)
_GIVEN = frozenset(
    {
        "kind",
        "etag",
        "id",
        "selfLink",
        "datasetReference",
        "location",
        "creationTime",
        "lastModifiedTime",
        "type",
        "access",
    }
)
_DEFAULT_PAGE = 1000


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    unknown = {key for key, value in body.items() if value is not None} - _OPTIONS - _GIVEN
    if unknown:
        raise unsupported(f"the field {sorted(unknown)[0]} of a dataset")
    return {key: value for key, value in body.items() if key in _OPTIONS}


def list_projects(warehouse: Warehouse, _call: Call) -> Reply:
    """List the projects that have datasets."""
    with warehouse.session() as session:
        names = session.catalog.projects()
    projects = [
        {
            "kind": "bigquery#project",
            "id": name,
            "numericId": "0",
            "projectReference": {"projectId": name},
            "friendlyName": name,
        }
        for name in names
    ]
    return {"kind": "bigquery#projectList", "projects": projects, "totalItems": len(projects)}


def service_account(_warehouse: Warehouse, _call: Call) -> Reply:
    """Name the service account."""
    return {"kind": "bigquery#getServiceAccountResponse", "email": SERVICE_ACCOUNT}


def list_all(warehouse: Warehouse, call: Call) -> Reply:
    """List the datasets of a project."""
    if call.query.get("filter"):
        raise unsupported("filters of the list of datasets")
    with warehouse.session() as session:
        datasets = session.catalog.datasets(call.project)
    size = call.number("maxResults") or _DEFAULT_PAGE
    shown = datasets[call.start : call.start + size]
    reply: dict[str, Any] = {
        "kind": "bigquery#datasetList",
        "datasets": [dataset_summary(one) for one in shown],
    }
    if call.start + size < len(datasets):
        reply["nextPageToken"] = page_token(call.start + size)
    return reply


def insert(warehouse: Warehouse, call: Call) -> Reply:
    """Create a dataset."""
    name = (call.body.get("datasetReference") or {}).get("datasetId")
    if not name:
        raise invalid("Required parameter is missing: datasetReference.datasetId")
    location = call.body.get("location")
    options = patched({}, _options(call.body))
    return dataset_resource(
        warehouse.create_dataset(call.project, str(name), location=location, options=options)
    )


def get(warehouse: Warehouse, call: Call) -> Reply:
    """Return a dataset."""
    with warehouse.session() as session:
        return dataset_resource(session.catalog.dataset(call.project, call.names["dataset"]))


def _change(warehouse: Warehouse, call: Call, *, whole: bool) -> Reply:
    with warehouse.session() as session, session.transaction() as catalog:
        dataset = catalog.dataset(call.project, call.names["dataset"])
        call.require_match(str(dataset_resource(dataset)["etag"]))
        location = call.body.get("location")
        if location is not None and str(location).lower() != dataset.location.lower():
            raise invalid(f"Cannot change the location of a dataset from {dataset.location} to {location}")
        options = patched({} if whole else dataset.options, _options(call.body))
        return dataset_resource(catalog.update_dataset(replace(dataset, options=options)))


def patch(warehouse: Warehouse, call: Call) -> Reply:
    """Change some fields of a dataset."""
    return _change(warehouse, call, whole=False)


def update(warehouse: Warehouse, call: Call) -> Reply:
    """Replace the fields of a dataset."""
    return _change(warehouse, call, whole=True)


def delete(warehouse: Warehouse, call: Call) -> Reply:
    """Delete a dataset."""
    with warehouse.session() as session, session.transaction() as catalog:
        catalog.drop_dataset(call.project, call.names["dataset"], contents=call.flag("deleteContents"))
    return None
