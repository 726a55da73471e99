"""What a DAG is made of: prepare, submit, load, cancel."""
