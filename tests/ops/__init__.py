"""The operator's tools: deployment, keys, smoke test."""
