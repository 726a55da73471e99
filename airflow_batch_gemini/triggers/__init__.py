"""What waits in the triggerer: looks only, never creates anything."""
