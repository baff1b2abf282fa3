"""The function over HTTP semantics: the order of checks, what is in flight, what is sent."""
