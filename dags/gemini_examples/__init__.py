"""What the example DAGs share: the settings of the Trigger form, and rows to work on."""
