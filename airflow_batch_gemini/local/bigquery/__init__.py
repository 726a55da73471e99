"""BigQuery's REST API over DuckDB: in one process, offline, refusing loudly what it cannot do."""

from __future__ import annotations

from .api import routes
from .datatypes import Column
from .errors import BigQueryError, NotFound
from .warehouse import Warehouse

__all__ = ["BigQueryError", "Column", "NotFound", "Warehouse", "routes"]
