"""The translator from GoogleSQL to DuckDB's SQL: names and types are resolved here, the unknown is refused."""
