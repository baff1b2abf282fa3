"""What the repository promises: its pages, openapi.yaml, its locks and its layout."""
