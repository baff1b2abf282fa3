"""The bare framework."""
