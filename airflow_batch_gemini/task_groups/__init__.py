"""A whole batch in one call."""
