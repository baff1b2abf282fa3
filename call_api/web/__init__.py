"""HTTP: a request in, its answer out. Knows the rules, and nothing of Google."""
