"""The least that any function here must do."""
