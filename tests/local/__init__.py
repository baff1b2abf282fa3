"""The local stack: `make run`, its installation and its recordings server."""
