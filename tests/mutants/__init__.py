"""Mutation testing of call_api, which `make mutants` runs with mutmut."""
