"""The API's tables and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import coercion
from .calls import Call, Reply, page_token, patched
from .catalog import ANONYMOUS, Catalog
from .datatypes import Field, fields_from_rest
from .errors import invalid, unsupported
from .load import insert_rows
from .records import Table
from .resources import table_etag, table_resource, table_summary
from .schema_change import with_schema
from .sql.dialect import parse
from .sql.scope import Context
from .sql.translator import query
from .tables import JobTables
from .values import encode_row
from .warehouse import Warehouse
from .writing import Destination, check_options, result_fields

_OPTIONS = frozenset(
    {
        "description",
        "friendlyName",
        "labels",
        "timePartitioning",
        "rangePartitioning",
        "clustering",
        "expirationTime",
        "requirePartitionFilter",
    }
)
_GIVEN = frozenset(
    {
        "kind",
        "etag",
        "id",
        "selfLink",
        "tableReference",
        "schema",
        "numRows",
        "numBytes",
        "numLongTermBytes",
        "creationTime",
        "lastModifiedTime",
        "type",
        "location",
        "view",
        "numPhysicalBytes",
        "numTotalLogicalBytes",
    }
)
_DEFAULT_PAGE = 1000
_PAGE_BYTES = 10 << 20
_PAGE_ROWS = 100_000


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    unknown = {key for key, value in body.items() if value not in (None, {}, [])} - _OPTIONS - _GIVEN
    if unknown:
        raise unsupported(f"the field {sorted(unknown)[0]} of a table")
    check_options(body)
    return {key: value for key, value in body.items() if key in _OPTIONS}


def _resource(warehouse: Warehouse, table: Table) -> dict[str, Any]:
    location = warehouse.default_location
    if table.dataset != ANONYMOUS:
        location = warehouse.dataset_location(table.project, table.dataset)
    rows, size = warehouse.row_count(table), warehouse.byte_count(table)
    return table_resource(table, location=location, rows=rows, size=size)


def list_all(warehouse: Warehouse, call: Call) -> Reply:
    """List the tables of a dataset."""
    with warehouse.session() as session:
        session.catalog.dataset(call.project, call.names["dataset"])
        tables = session.catalog.tables(call.project, call.names["dataset"])
    size = call.number("maxResults") or _DEFAULT_PAGE
    shown = tables[call.start : call.start + size]
    reply: dict[str, Any] = {
        "kind": "bigquery#tableList", "tables": [table_summary(one) for one in shown], "totalItems": len(tables),
    }  # fmt: skip
    if call.start + size < len(tables):
        reply["nextPageToken"] = page_token(call.start + size)
    return reply


def insert(warehouse: Warehouse, call: Call) -> Reply:
    """Create a table or a view."""
    reference = call.body.get("tableReference") or {}
    dataset, name = call.names["dataset"], str(reference.get("tableId") or "")
    options = patched({}, _options(call.body))
    with warehouse.session() as session, session.transaction() as catalog:
        view = call.body.get("view")
        fields, text = fields_from_rest((call.body.get("schema") or {}).get("fields") or []), None
        if view is not None:
            fields, text = _view(catalog, call.project, dataset, view)
        table = catalog.create(call.project, dataset, name, fields, options=options, view=text)
    return _resource(warehouse, table)


def _view(
    catalog: Catalog, project: str, dataset: str, view: Mapping[str, Any]
) -> tuple[tuple[Field, ...], str]:
    if view.get("useLegacySql", True) is not False:
        raise unsupported("views in legacy SQL; set useLegacySql to false")
    text = str(view.get("query") or "")
    tables = JobTables(catalog, project, catalog.dataset(project, dataset).location, (project, dataset))
    return tuple(result_fields(query(parse(text), None, Context(tables)).outputs)), text


def get(warehouse: Warehouse, call: Call) -> Reply:
    """Return a table."""
    return _resource(warehouse, warehouse.table(call.project, call.names["dataset"], call.names["table"]))


def _change(warehouse: Warehouse, call: Call, *, whole: bool) -> Reply:
    with warehouse.session() as session, session.transaction() as catalog:
        table = catalog.table(call.project, call.names["dataset"], call.names["table"])
        call.require_match(table_etag(table))
        options = patched({} if whole else table.options, _options(call.body))
        schema = call.body.get("schema")
        if schema is not None and table.view is None:
            table = with_schema(catalog, table, fields_from_rest(schema.get("fields") or []), session.execute)
        if table.view is not None and call.body.get("view"):
            fields, text = _view(catalog, table.project, table.dataset, call.body["view"])
            table = replace(table, fields=fields, view=text)
        table = catalog.touch(replace(table, options=options))
    return _resource(warehouse, table)


def patch(warehouse: Warehouse, call: Call) -> Reply:
    """Change some fields of a table."""
    return _change(warehouse, call, whole=False)


def update(warehouse: Warehouse, call: Call) -> Reply:
    """Replace the fields of a table."""
    return _change(warehouse, call, whole=True)


def delete(warehouse: Warehouse, call: Call) -> Reply:
    """Delete a table or a view."""
    with warehouse.session() as session, session.transaction() as catalog:
        catalog.drop(catalog.table(call.project, call.names["dataset"], call.names["table"]))
    return None


def selected(table: Table, names: str) -> list[Field]:
    """Choose top-level columns by name; none named means all."""
    if not names:
        return list(table.fields)
    known = {field.name.lower(): field for field in table.fields}
    found = []
    for name in names.split(","):
        if "." in name:
            raise unsupported("selectedFields inside a RECORD")
        if name.strip().lower() not in known:
            raise invalid(f"Field {name} in selectedFields does not exist")
        found.append(known[name.strip().lower()])
    return found


def rows_page(
    warehouse: Warehouse, call: Call, table: Table, fields: Sequence[Field]
) -> tuple[list[Any], str | None]:
    """Read one page of rows; it ends after maxResults rows or about 10 MB, whichever comes first."""
    limit = call.number("maxResults")
    limit = _PAGE_ROWS if limit is None else min(limit, _PAGE_ROWS)
    int64 = call.flag("formatOptions.useInt64Timestamp")
    rows: list[Any] = []
    size = 0
    if limit:
        for row in warehouse.page(table, start=call.start, count=limit, fields=fields):
            rows.append(encode_row(row, fields, int64_timestamps=int64))
            size += sum(len(value) if isinstance(value, str) else 16 for value in row)
            if size >= _PAGE_BYTES:
                break
    more = limit > 0 and call.start + len(rows) < warehouse.row_count(table)
    return rows, page_token(call.start + len(rows)) if more else None


def list_rows(warehouse: Warehouse, call: Call) -> Reply:
    """List the rows of a table."""
    table = warehouse.table(call.project, call.names["dataset"], call.names["table"])
    if table.view is not None:
        raise invalid(f"Cannot list a table of type VIEW: {table.full_name}")
    rows, token = rows_page(warehouse, call, table, selected(table, call.query.get("selectedFields") or ""))
    reply: dict[str, Any] = {
        "kind": "bigquery#tableDataList", "etag": table_etag(table), "totalRows": str(warehouse.row_count(table)),
    }  # fmt: skip
    if rows:
        reply["rows"] = rows
    if token is not None:
        reply["pageToken"] = token
    return reply


def insert_all(warehouse: Warehouse, call: Call) -> Reply:
    """Stream rows into a table: all that are good when invalid ones may be skipped, else all or none."""
    if call.body.get("templateSuffix"):
        raise unsupported("templateSuffix")
    table = warehouse.table(call.project, call.names["dataset"], call.names["table"])
    reader = coercion.RecordReader(
        table.fields, ignore_unknown=bool(call.body.get("ignoreUnknownValues")), json_as_text=True
    )
    good, errors = [], []
    for index, row in enumerate(call.body.get("rows") or []):
        try:
            good.append((reader.read(row.get("json") or {}), 1024))
        except coercion.BadValueError as error:
            errors.append(
                {
                    "index": index,
                    "errors": [{"reason": "invalid", "location": "", "debugInfo": "", "message": str(error)}],
                }
            )
    if errors and not call.body.get("skipInvalidRows"):
        bad = {error["index"] for error in errors}
        stopped = [{"reason": "stopped", "location": "", "debugInfo": "", "message": ""}]
        errors += [
            {"index": i, "errors": stopped} for i in range(len(call.body.get("rows") or [])) if i not in bad
        ]
        good = []
    if good:
        target = Destination(table.project, table.dataset, table.name, "WRITE_APPEND")
        with warehouse.session() as session:
            insert_rows(session, target, table.fields, iter(good))
    reply: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
    return reply | {"insertErrors": errors} if errors else reply
