"""Requests through the function: in process over fakes, or served as on the platform."""
