"""The BigQuery statements, rendered from checked names and values. Text in, text out."""
