"""Links from a task to the Google Cloud console."""
