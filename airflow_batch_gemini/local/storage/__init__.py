"""Cloud Storage on plain files: the store itself (`store`) and its JSON API (`api`)."""
