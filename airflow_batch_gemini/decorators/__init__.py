"""Python functions as tasks of a batch."""
