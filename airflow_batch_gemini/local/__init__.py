"""The local cloud: Vertex AI, Cloud Storage and BigQuery in one process, for demo and tests."""
