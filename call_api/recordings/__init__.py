"""Cloud Storage: signed links to the recordings."""
